"""The interface between the scheduler and an executor."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.outcome import Outcome, ProgressCallback
from harness.training.ticket import Ticket

# The type of `run_pack`: it runs a pack on a device, reports the progress and returns the outcomes.
Work = Callable[[Sequence[Ticket], str, ProgressCallback], list[Outcome]]
# The signals that ask a run to stop. Windows does not have all of them.
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
    """A worker ended its pack and returned an outcome for each job."""

    worker: int
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class PackLost:
    """A worker died or raised an error before it returned the outcomes of its pack. It can be used again."""

    worker: int
    digests: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class WorkerStatus:
    """What a worker runs, and how far it is."""

    device: str
    digest: str | None  # of the first job in its pack; None: the worker is idle
    step: int
    steps: int  # of the current phase, for the whole pack
    testing: bool
    seconds: float  # since the scheduler submitted the pack
    jobs: int = 1  # in the pack

    @classmethod
    def idle(cls, device: str) -> "WorkerStatus":
        """Return the status of an idle worker."""
        return cls(device, None, step=0, steps=0, testing=False, seconds=0.0)


class Executor(Protocol):
    """Workers, numbered from 0. Each has one device, runs one pack at a time, and is replaced if it dies."""

    @property
    def devices(self) -> Sequence[str]:
        """The device of each worker."""

    def idle(self) -> list[int]:
        """Return the numbers of the workers that can take a pack."""

    def submit(self, worker: int, tickets: Sequence[Ticket]) -> None:
        """Give a pack to an idle worker and return at once. An error in a job is not raised here."""

    def events(self, timeout: float) -> list[PackFinished | PackLost]:
        """Return the packs that ended. If none has ended, wait at most `timeout` seconds for one.

        Raises:
            DiskTrouble: a disk is full or broken. Every job would fail, so the run must end.
        """

    def status(self) -> list[WorkerStatus]:
        """Return the status of each worker."""

    def kill_worker(self, worker: int) -> None:
        """Kill a worker; `events` then returns its pack as lost. Do nothing if jobs run in this process."""

    def close(self, *, kill: bool) -> None:
        """End all workers: idle ones at once, busy ones when their pack ends or, with `kill`, at once."""
