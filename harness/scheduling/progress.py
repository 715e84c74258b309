"""How far a run has come, how long the rest will take, and the interface of its display."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from harness.jobs import Job
from harness.outcome import Outcome
from harness.scheduling.executors.base import SlotStatus

MEASURED_STEPS = 20  # before the first estimate


@dataclass
class RunProgress:
    """Counts for the display and the exit code."""

    total: int
    ended_before: int  # by earlier runs
    done: int = 0
    failed: int = 0  # or diverged, in this run
    elsewhere: int = 0  # ended by other runs meanwhile
    started: float = field(default_factory=monotonic)
    seconds_per_job: float | None = None  # in one slot; None: not measured yet
    stopped: bool = False  # too many jobs failed
    locked: bool = False  # the run was stopped before it could write its results

    @property
    def left(self) -> int:
        """Number of jobs without an outcome."""
        return self.total - self.ended_before - self.done - self.failed - self.elsewhere

    def seconds_left(self, slots: int) -> float | None:
        """Return the estimated seconds for the jobs that are left; None before anything was measured."""
        if self.seconds_per_job is None:
            return None
        return self.left * self.seconds_per_job / max(1, slots)


class Display(Protocol):
    """Shows a run to the user."""

    def show(self, progress: RunProgress, slots: Sequence[SlotStatus]) -> None:
        """Show how far the run is; called several times a second."""

    def finished(self, job: Job, outcome: Outcome, progress: RunProgress) -> None:
        """Show an outcome that was recorded."""

    def note(self, text: str) -> None:
        """Show a message."""


class JobTimeEstimator:
    """Estimates how long a job takes: from the jobs that ended, and before that from the steps of running ones."""

    def __init__(self) -> None:
        # Step, seconds and number of steps when a slot's first job was first seen to move: the
        # start of a worker is not measured.
        self._first: dict[str, tuple[int, float, int]] = {}

    def update(self, progress: RunProgress, slots: Sequence[SlotStatus]) -> None:
        """Set the seconds that a job takes in one slot, if anything was measured."""
        ended = progress.done + progress.failed
        if ended >= max(1, len(slots)):
            running = sum(slot.jobs for slot in slots if slot.digest is not None)
            slot_seconds = (monotonic() - progress.started) * len(slots)
            progress.seconds_per_job = slot_seconds / (ended + 0.5 * running)
            return
        if measured := [s for slot in slots if (s := self._seconds(slot)) is not None]:
            progress.seconds_per_job = max(measured)

    def _seconds(self, slot: SlotStatus) -> float | None:
        if slot.digest is None or not slot.step:
            return None
        now = slot.step, slot.seconds, slot.steps
        step, seconds, steps = self._first.setdefault(slot.digest, now)
        if slot.seconds < seconds or slot.step < step or slot.steps != steps:
            self._first[slot.digest] = now  # the pack was started again, or entered another phase
            return None
        if slot.step - step < MEASURED_STEPS:
            return None
        seconds_per_step = (slot.seconds - seconds) / (slot.step - step)
        # The steps of a pack are those of all its jobs.
        return seconds_per_step * slot.steps / slot.jobs
