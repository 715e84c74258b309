"""How far a run has come, how long the rest will take, and who is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from harness.jobs import Job
    from harness.outcome import Outcome
    from harness.scheduling.executors.base import Where

MEASURED = 20  # steps before the first estimate


class Display(Protocol):
    """Who is told what happens."""

    def show(self, progress: Progress, where: Sequence[Where]) -> None:
        """Called several times a second."""
        ...

    def finished(self, job: Job, outcome: Outcome, progress: Progress) -> None:
        """Called for every outcome that was kept."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should know."""
        ...


@dataclass
class Progress:
    """Counts for the display and the exit code."""

    total: int
    before: int  # done by earlier runs
    done: int = 0
    bad: int = 0  # failed or diverged in this run
    elsewhere: int = 0  # ended by other runs meanwhile
    started: float = field(default_factory=monotonic)
    seconds_a_job: float | None = None  # of one slot
    stopped: bool = False  # because too much failed
    locked: bool = False  # and was told to stop before the ledger could be written

    @property
    def left(self) -> int:
        """Jobs without an outcome."""
        return self.total - self.before - self.done - self.bad - self.elsewhere

    def seconds_left(self, slots: int) -> float | None:
        """Estimated; None before anything was measured."""
        return (
            None if self.seconds_a_job is None else self.left * self.seconds_a_job / max(1, slots)
        )


class Pace:
    """How long a job takes: as the jobs that are done took; before that, as the steps of those at hand do."""

    def __init__(self) -> None:
        # Where and when a job was first seen to move, and how far it had to go: starting is no
        # pace.
        self._first: dict[str, tuple[int, float, int]] = {}

    def estimate(self, progress: Progress, where: Sequence[Where]) -> None:
        """Note the seconds that a job takes in one slot, if anything is known."""
        slots = max(1, len(where))
        finished = progress.done + progress.bad
        if finished >= slots:
            busy = sum(one.jobs for one in where if one.digest is not None)
            progress.seconds_a_job = (
                (monotonic() - progress.started) * slots / (finished + 0.5 * busy)
            )
            return
        measured = [seconds for one in where if (seconds := self._seconds(one)) is not None]
        if measured:
            progress.seconds_a_job = max(measured)

    def _seconds(self, one: Where) -> float | None:
        if one.digest is None or not one.step:
            return None
        step, since, steps = self._first.setdefault(one.digest, (one.step, one.since, one.steps))
        if (
            one.since < since or one.step < step or one.steps != steps
        ):  # began again, or something else
            self._first[one.digest] = one.step, one.since, one.steps
            return None
        if one.step - step < MEASURED:
            return None
        return (
            (one.since - since) / (one.step - step) * one.steps / one.jobs
        )  # a pack's steps are those of all its jobs
