"""How far a run has come, how long the rest will take, and the interface of its display."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from harness.jobs import Job
from harness.outcome import Outcome
from harness.scheduling.executors.base import WorkerStatus

MEASURED_STEPS = 20  # the first estimate needs this many steps of a pack


@dataclass
class RunProgress:
    """Counts of the jobs in the requested grid, for the display and the exit code."""

    total: int
    ended_before: int  # before this run began
    done: int = 0  # in this run
    failed: int = 0  # or diverged, in this run
    ended_by_other_runs: int = 0  # while this run was running
    started: float = field(default_factory=monotonic)  # a value of `monotonic`
    seconds_per_job: float | None = None  # of one worker; None: not measured yet
    declined: bool = False  # the user did not confirm a long run
    too_many_failures: bool = False  # so the run starts no further jobs
    unwritten_results: bool = False  # a signal ended the run while the ledger was locked

    @property
    def left(self) -> int:
        """Number of jobs without an outcome."""
        return self.total - self.ended_before - self.done - self.failed - self.ended_by_other_runs

    def seconds_left(self, workers: int) -> float | None:
        """Return the estimated seconds for the jobs that are left; None if nothing has been measured yet."""
        if self.seconds_per_job is None:
            return None
        return self.left * self.seconds_per_job / max(1, workers)


class Display(Protocol):
    """Shows a run to the user."""

    def show(self, progress: RunProgress, workers: Sequence[WorkerStatus]) -> None:
        """Show how far the run is. The scheduler calls it several times a second."""

    def finished(self, job: Job, outcome: Outcome, progress: RunProgress) -> None:
        """Show an outcome that the ledger has recorded."""

    def note(self, text: str) -> None:
        """Show a message."""


class JobTimeEstimator:
    """Estimates the seconds of a job from jobs that ended or, until enough have ended, from steps of running packs."""

    def __init__(self) -> None:
        # Step, seconds and number of steps when the estimator first saw steps of a pack, by digest
        # of its first job. It measures from there, so the start of a worker does not count.
        self._first_seen: dict[str, tuple[int, float, int]] = {}

    def update(self, progress: RunProgress, workers: Sequence[WorkerStatus]) -> None:
        """Set `progress.seconds_per_job` if there is something to measure."""
        ended = progress.done + progress.failed
        if ended >= max(1, len(workers)):
            running = sum(worker.jobs for worker in workers if worker.digest is not None)
            worker_seconds = (monotonic() - progress.started) * len(workers)
            # A running job counts as half a job: on average, half of its work is done.
            progress.seconds_per_job = worker_seconds / (ended + 0.5 * running)
            return
        if measured := [
            s for worker in workers if (s := self._seconds_per_job(worker)) is not None
        ]:
            progress.seconds_per_job = max(measured)

    def _seconds_per_job(self, worker: WorkerStatus) -> float | None:
        """Return the estimated seconds of a job from the steps of one worker; None if it has taken too few."""
        if worker.digest is None or not worker.step:
            return None
        now = worker.step, worker.seconds, worker.steps
        step, seconds, steps = self._first_seen.setdefault(worker.digest, now)
        if worker.seconds < seconds or worker.step < step or worker.steps != steps:
            self._first_seen[worker.digest] = now  # the pack began again or entered another phase
            return None
        if worker.step - step < MEASURED_STEPS:
            return None
        seconds_per_step = (worker.seconds - seconds) / (worker.step - step)
        # These steps are the work of all jobs in the pack.
        return seconds_per_step * worker.steps / worker.jobs
