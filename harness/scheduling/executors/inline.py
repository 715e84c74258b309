"""Runs packs in this process, one after the other: for debuggers, and as the plainest executor that can be compared with."""

from collections.abc import Sequence
from time import monotonic

from harness.errors import DiskTrouble
from harness.redaction import told
from harness.scheduling.executors.base import Finished, Lost, Where, Work
from harness.training.ticket import Ticket
from harness.training.worker import run_pack


class InlineExecutor:
    """One slot, in this process. `events` runs the pack."""

    def __init__(self, device: str, work: Work = run_pack) -> None:
        self.devices = (device,)
        self._work = work
        self._tickets: tuple[Ticket, ...] = ()
        self._at = (0, 0, False)
        self._started = 0.0

    def idle(self) -> list[int]:
        """The slot, unless a pack waits for `events`."""
        return [] if self._tickets else [0]

    def submit(self, slot: int, tickets: Sequence[Ticket]) -> None:  # noqa: ARG002  # there is one slot
        """Keep the pack for the next `events`."""
        self._tickets, self._started, self._at = tuple(tickets), monotonic(), (0, 0, False)

    def events(self, timeout: float) -> list[Finished | Lost]:  # noqa: ARG002  # the work is done here
        """Run the pack."""
        if not self._tickets:
            return []

        def note(_digest: str, step: int, steps: int, phase: str) -> None:
            self._at = (step, steps, phase == "testing")

        tickets, self._tickets = self._tickets, ()
        try:
            return [Finished(0, tuple(self._work(tickets, self.devices[0], note)))]
        except DiskTrouble:
            raise
        except (Exception, SystemExit) as error:
            return [Lost(0, tuple(ticket.job.digest for ticket in tickets), told(error))]

    def where(self) -> list[Where]:
        """How far the pack is."""
        if not self._tickets:
            return [Where(self.devices[0], None, 0, 0, False, 0.0)]
        return [
            Where(
                self.devices[0],
                self._tickets[0].job.digest,
                *self._at,
                since=monotonic() - self._started,
            )
        ]

    def stop(self, slot: int) -> None:
        """There is nobody who could."""

    def close(self, *, kill: bool) -> None:
        """There is nothing to let go of."""
