"""What the user sees while jobs run: a board that changes on a terminal, lines in a log file."""

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.jobs import Job
from harness.outcome import Outcome
from harness.scheduling.executors.base import WorkerStatus
from harness.scheduling.progress import RunProgress
from harness.wording import duration, plural

REDRAW_INTERVAL = 0.25  # seconds between two updates of the board


def job_line(job: Job) -> str:
    """Return a readable name of a job."""
    seed = f" seed {job.seed}" if job.seed else ""
    return f"{job.label} · {job.draw.task} · {job.draw.size} · draw {job.draw.number}{seed}"


def outcome_line(outcome: Outcome) -> str:
    """Return the score of an outcome in percent, or the first line of its error."""
    if outcome.status == "done" and outcome.score is not None:
        collapsed = " (same answer for every row)" if outcome.collapsed else ""
        return f"{100 * outcome.score:5.1f}{collapsed}"
    reason = outcome.error.splitlines()[0] if outcome.error else "no reason given"
    return f"{outcome.status}: {reason}"


class PlainDisplay:
    """Lines for a log file."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, progress: RunProgress, workers: Sequence[WorkerStatus]) -> None:
        """Print nothing: a log gets one line for each job that ends."""

    def finished(self, job: Job, outcome: Outcome, progress: RunProgress) -> None:
        """Print one line for a job."""
        number = progress.ended_before + progress.done + progress.failed
        seconds = duration(outcome.seconds_training + outcome.seconds_evaluation)
        self.note(
            f"[{number}/{progress.total}] {job_line(job)}: {outcome_line(outcome)}  ({seconds})"
        )

    def note(self, text: str) -> None:
        """Print a message as one line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveDisplay:
    """A board that is redrawn in place: a bar for the run and a line for each worker. Outcomes appear above it."""

    def __init__(self, console: Console, jobs: Mapping[str, Job]) -> None:
        self._console, self._jobs = console, jobs
        self._live = Live(console=console, refresh_per_second=4, transient=True, auto_refresh=False)
        self._last_redraw = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def pause(self) -> None:
        """Remove the board while the terminal shows a question."""
        self._live.stop()

    def resume(self) -> None:
        """Show the board again."""
        self._live.start()

    def show(self, progress: RunProgress, workers: Sequence[WorkerStatus]) -> None:
        """Redraw the board, at most four times a second."""
        if monotonic() - self._last_redraw >= REDRAW_INTERVAL:
            self._last_redraw = monotonic()
            self._live.update(self._board(progress, workers), refresh=True)

    def finished(self, job: Job, outcome: Outcome, progress: RunProgress) -> None:  # noqa: ARG002  # the board shows the counts
        """Print a line for a job above the board."""
        done = outcome.status == "done"
        self._live.console.print(
            Text.assemble(
                ("✓ ", "green") if done else ("✗ ", "red"),
                job_line(job),
                "  ",
                (outcome_line(outcome), "bold" if done else "red"),
            ),
            no_wrap=True,
            overflow="ellipsis",
        )

    def note(self, text: str) -> None:
        """Print a message above the board."""
        self._live.console.print(f"! {text}", markup=False, style="yellow")

    def _board(self, progress: RunProgress, workers: Sequence[WorkerStatus]) -> RenderableType:
        ended = progress.ended_before + progress.done + progress.failed
        parts: list[Any] = [(f"{ended}", "bold"), f" of {progress.total} done"]
        parts += [" · ", (f"{progress.failed} failed", "red")] if progress.failed else []
        parts += [f" · {plural(progress.left, 'job')} to do{_time_left(progress, len(workers))}"]
        summary = Table.grid(padding=(0, 1))
        summary.add_row(
            ProgressBar(
                total=max(1, progress.total), completed=ended, width=24, complete_style="cyan"
            ),
            Text.assemble(*parts),
        )
        worker_lines = Table.grid(padding=(0, 1))
        for worker in workers:
            self._add_worker(worker_lines, worker)
        return Group(summary, worker_lines)

    def _add_worker(self, table: Table, worker: WorkerStatus) -> None:
        bar = ProgressBar(
            total=max(1, worker.steps), completed=worker.step, width=12, complete_style="cyan"
        )
        if worker.digest is None:
            phase, work = "", "idle"
        else:
            step = f"{worker.step} of {worker.steps}" if worker.step else "starting"
            phase = "testing" if worker.testing else step
            more = f" and {worker.jobs - 1} more" if worker.jobs > 1 else ""
            work = job_line(self._jobs[worker.digest]) + more
        table.add_row(
            Text(worker.device, "cyan"), bar, Text(phase.ljust(10), "dim"), Text(work, no_wrap=True)
        )


def _time_left(progress: RunProgress, workers: int) -> str:
    """Return text with the estimated time for the jobs that are left; empty if none is left."""
    seconds = progress.seconds_left(workers)
    if not progress.left:
        return ""
    return " · measuring" if seconds is None else f" · about {duration(seconds)} left"
