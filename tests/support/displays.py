"""Displays for tests of the scheduler."""

from collections.abc import Callable, Sequence

from harness.jobs import Job
from harness.outcome import Outcome
from harness.scheduling.executors.base import WorkerStatus
from harness.scheduling.progress import RunProgress


class RecordingDisplay:
    """A display that keeps what it is shown.

    Args:
        on_note: called after each note, so that a test can act at that moment.
    """

    def __init__(self, on_note: Callable[[], object] = lambda: None) -> None:
        self.notes: list[str] = []
        self.finished_digests: list[str] = []
        self.worker_counts: set[int] = set()
        self._on_note = on_note

    def show(self, progress: RunProgress, workers: Sequence[WorkerStatus]) -> None:
        assert progress.left >= 0
        self.worker_counts.add(len(workers))

    def finished(self, job: Job, outcome: Outcome, progress: RunProgress) -> None:
        assert outcome.digest == job.digest
        assert progress.done + progress.failed
        self.finished_digests.append(job.digest)

    def note(self, text: str) -> None:
        self.notes.append(text)
        self._on_note()
