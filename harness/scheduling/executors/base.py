"""What the scheduler expects of an executor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.outcome import Outcome, Progress
from harness.training.ticket import Ticket

Work = Callable[[Sequence[Ticket], str, Progress], list[Outcome]]  # what `run_pack` is


@dataclass(frozen=True)
class Finished:
    """A pack came back."""

    slot: int
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class Lost:
    """A worker died with the pack that it held; the slot works again."""

    slot: int
    digests: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Where:
    """How far a slot is."""

    device: str
    digest: str | None  # the job at hand; None: idle
    step: int
    steps: int
    testing: bool
    since: float  # seconds since it was given its pack
    jobs: int = 1  # in the pack


class Executor(Protocol):
    """Slots, each one device with room for one pack at a time."""

    @property
    def devices(self) -> Sequence[str]:
        """The device of each slot."""
        ...

    def idle(self) -> list[int]:
        """The slots that have nothing to do."""
        ...

    def submit(self, slot: int, tickets: Sequence[Ticket]) -> None:
        """Give a pack to an idle slot; returns at once, and never raises for what is wrong with a job."""
        ...

    def events(self, timeout: float) -> list[Finished | Lost]:
        """What happened; waits up to `timeout` seconds for something to happen.

        Raises:
            DiskTrouble: a disk is full or broken, which is no job's fault: the run must end.
        """
        ...

    def where(self) -> list[Where]:
        """How far each slot is."""
        ...

    def stop(self, slot: int) -> None:
        """End what a slot is doing; `events` tells of it as lost. Nothing where the work is done in this process."""
        ...

    def close(self, *, kill: bool) -> None:
        """Let go of all workers: idle ones are told to end; with `kill`, busy ones are ended now."""
        ...
