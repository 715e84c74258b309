"""The interface between the scheduler and an executor."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.outcome import Outcome, ProgressCallback
from harness.training.ticket import Ticket

Work = Callable[[Sequence[Ticket], str, ProgressCallback], list[Outcome]]  # the type of `run_pack`
# The signals that ask a run to stop, as far as the system has them.
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
# Environment variables that set the number of threads of a numerical library.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


@dataclass(frozen=True)
class PackFinished:
    """A pack ended with an outcome for each of its jobs."""

    slot: int
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class PackLost:
    """A worker died with its pack; the slot can be used again."""

    slot: int
    digests: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class SlotStatus:
    """How far a slot is."""

    device: str
    digest: str | None  # the first job of its pack; None: idle
    step: int
    steps: int
    testing: bool
    seconds: float  # since the pack was submitted
    jobs: int = 1  # in the pack

    @classmethod
    def idle(cls, device: str) -> "SlotStatus":
        """Return the status of a slot without a pack."""
        return cls(device, None, step=0, steps=0, testing=False, seconds=0.0)


class Executor(Protocol):
    """Slots, each with one device and room for one pack at a time."""

    @property
    def devices(self) -> Sequence[str]:
        """The device of each slot."""

    def idle(self) -> list[int]:
        """Return the slots without a pack."""

    def submit(self, slot: int, tickets: Sequence[Ticket]) -> None:
        """Give a pack to an idle slot and return at once; an error in a job never raises here."""

    def events(self, timeout: float) -> list[PackFinished | PackLost]:
        """Return what happened; wait at most `timeout` seconds for something to happen.

        Raises:
            DiskTrouble: a disk is full or broken. No job is at fault: the run must end.
        """

    def status(self) -> list[SlotStatus]:
        """Return how far each slot is."""

    def stop(self, slot: int) -> None:
        """Kill the worker of a slot; `events` reports its pack as lost. Does nothing if jobs run in this process."""

    def close(self, *, kill: bool) -> None:
        """End all workers: idle ones at once, busy ones when their pack ends or, with `kill`, now."""
