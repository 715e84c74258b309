"""What a terminal or a log shows while jobs run: a live board on a terminal, plain lines elsewhere."""

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
from harness.scheduling.executors.base import SlotStatus
from harness.scheduling.progress import RunProgress
from harness.wording import duration, plural

REDRAW_INTERVAL = 0.25  # seconds


def job_line(job: Job) -> str:
    """Return the name of a job for people."""
    seed = f" seed {job.seed}" if job.seed else ""
    return f"{job.label} · {job.draw.task} · {job.draw.size} · draw {job.draw.number}{seed}"


def outcome_line(outcome: Outcome) -> str:
    """Return the score of an outcome for people, or the first line of its error."""
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

    def show(self, progress: RunProgress, slots: Sequence[SlotStatus]) -> None:
        """Print nothing: lines appear when jobs end."""

    def finished(self, job: Job, outcome: Outcome, progress: RunProgress) -> None:
        """Print one line."""
        number = progress.ended_before + progress.done + progress.failed
        seconds = duration(outcome.seconds_training + outcome.seconds_evaluation)
        self.note(
            f"[{number}/{progress.total}] {job_line(job)}: {outcome_line(outcome)}  ({seconds})"
        )

    def note(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveDisplay:
    """A board that is redrawn in place: a bar for the run, a line for each slot, and outcomes above it."""

    def __init__(self, console: Console, jobs: Mapping[str, Job]) -> None:
        self._console, self._jobs = console, jobs
        self._live = Live(console=console, refresh_per_second=4, transient=True, auto_refresh=False)
        self._redrawn = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def pause(self) -> None:
        """Remove the board, so that the terminal can show a question."""
        self._live.stop()

    def resume(self) -> None:
        """Show the board again."""
        self._live.start()

    def show(self, progress: RunProgress, slots: Sequence[SlotStatus]) -> None:
        """Redraw the board, at most four times a second."""
        if monotonic() - self._redrawn >= REDRAW_INTERVAL:
            self._redrawn = monotonic()
            self._live.update(self._board(progress, slots), refresh=True)

    def finished(self, job: Job, outcome: Outcome, progress: RunProgress) -> None:  # noqa: ARG002  # the board shows the counts
        """Print a line above the board."""
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
        """Print a line above the board."""
        self._live.console.print(f"! {text}", markup=False, style="yellow")

    def _board(self, progress: RunProgress, slots: Sequence[SlotStatus]) -> RenderableType:
        ended = progress.ended_before + progress.done + progress.failed
        parts: list[Any] = [(f"{ended}", "bold"), f" of {progress.total} done"]
        parts += [" · ", (f"{progress.failed} failed", "red")] if progress.failed else []
        parts += [f" · {plural(progress.left, 'job')} to do{_time_left(progress, len(slots))}"]
        head = Table.grid(padding=(0, 1))
        head.add_row(
            ProgressBar(
                total=max(1, progress.total), completed=ended, width=24, complete_style="cyan"
            ),
            Text.assemble(*parts),
        )
        lines = Table.grid(padding=(0, 1))
        for slot in slots:
            self._add_slot(lines, slot)
        return Group(head, lines)

    def _add_slot(self, table: Table, slot: SlotStatus) -> None:
        bar = ProgressBar(
            total=max(1, slot.steps), completed=slot.step, width=12, complete_style="cyan"
        )
        if slot.digest is None:
            phase, work = "", "idle"
        else:
            step = f"{slot.step} of {slot.steps}" if slot.step else "starting"
            phase = "testing" if slot.testing else step
            more = f" and {slot.jobs - 1} more" if slot.jobs > 1 else ""
            work = job_line(self._jobs[slot.digest]) + more
        table.add_row(
            Text(slot.device, "cyan"), bar, Text(phase.ljust(10), "dim"), Text(work, no_wrap=True)
        )


def _time_left(progress: RunProgress, slots: int) -> str:
    """Return the estimated time for the jobs that are left, as a suffix."""
    seconds = progress.seconds_left(slots)
    if not progress.left:
        return ""
    return " · measuring" if seconds is None else f" · about {duration(seconds)} left"
