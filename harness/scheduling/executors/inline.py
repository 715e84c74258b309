"""Runs packs in this process, one after the other, for debuggers and for tests of other executors."""

from collections.abc import Sequence

from harness.errors import DiskTrouble
from harness.redaction import error_message
from harness.scheduling.executors.base import PackFinished, PackLost, SlotStatus, Work
from harness.training.ticket import Ticket
from harness.training.worker import run_pack


class InlineExecutor:
    """One slot, in this process. `events` runs the pack."""

    def __init__(self, device: str, work: Work = run_pack) -> None:
        self.devices = (device,)
        self._work = work
        self._tickets: tuple[Ticket, ...] = ()

    def idle(self) -> list[int]:
        """Return the slot, unless a pack waits for `events`."""
        return [] if self._tickets else [0]

    def submit(self, slot: int, tickets: Sequence[Ticket]) -> None:  # noqa: ARG002  # there is one slot
        """Keep the pack for the next call of `events`."""
        self._tickets = tuple(tickets)

    def events(self, timeout: float) -> list[PackFinished | PackLost]:  # noqa: ARG002  # the work is done here
        """Run the pack."""
        if not self._tickets:
            return []
        tickets, self._tickets = self._tickets, ()
        try:
            return [PackFinished(0, tuple(self._work(tickets, self.devices[0], lambda *_: None)))]
        except DiskTrouble:
            raise
        except (Exception, SystemExit) as error:
            return [
                PackLost(0, tuple(ticket.job.digest for ticket in tickets), error_message(error))
            ]

    def status(self) -> list[SlotStatus]:
        """Return an idle slot: a pack is submitted and run between two calls."""
        return [SlotStatus.idle(self.devices[0])]

    def stop(self, slot: int) -> None:
        """Do nothing: the work is done in this process."""

    def close(self, *, kill: bool) -> None:
        """Do nothing: there are no workers."""
