"""Runs packs in this process, one after the other: for debuggers, and as the plainest executor that can be compared with."""

from collections.abc import Sequence
from time import monotonic

from harness.executors.base import Finished, Lost, Where
from harness.worker import Ticket, run_pack


class InlineExecutor:
    """One slot, in this process. `events` runs the pack."""

    def __init__(self, device: str) -> None:
        self.devices = (device,)
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

        outcomes = run_pack(self._tickets, self.devices[0], note)
        self._tickets = ()
        return [Finished(0, tuple(outcomes))]

    def where(self) -> list[Where]:
        """How far the pack is."""
        digest = self._tickets[0].job.digest if self._tickets else None
        return [Where(self.devices[0], digest, *self._at, since=monotonic() - self._started)]

    def close(self, *, kill: bool) -> None:
        """There is nothing to let go of."""
