"""What is seen while jobs run: a live board on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from harness.jobs import Job
    from harness.outcome import Outcome
    from harness.scheduling.executors.base import Where
    from harness.scheduling.progress import Progress


def duration(seconds: float) -> str:
    """A length of time for people: `8 s`, `2 min 05 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def job_line(job: Job) -> str:
    """A job for people."""
    seed = f" seed {job.seed}" if job.seed else ""
    return f"{job.label} · {job.rows.task} · {job.rows.size} · draw {job.rows.draw}{seed}"


def outcome_line(outcome: Outcome) -> str:
    """What came of a job, for people."""
    if outcome.status == "done" and outcome.score is not None:
        collapsed = " (one answer for every row)" if outcome.collapsed else ""
        return f"{100 * outcome.score:5.1f}{collapsed}"
    return (
        f"{outcome.status}: {outcome.error.splitlines()[0] if outcome.error else 'no reason given'}"
    )


class PlainDisplay:
    """Lines that a log file can hold."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, progress: Progress, where: Sequence[Where]) -> None:
        """Lines come when jobs end."""

    def finished(self, job: Job, outcome: Outcome, progress: Progress) -> None:
        """One line a job."""
        number = progress.before + progress.done + progress.bad
        seconds = duration(outcome.seconds_training + outcome.seconds_evaluation)
        self._print(
            f"[{number}/{progress.total}] {job_line(job)}: {outcome_line(outcome)}  ({seconds})"
        )

    def note(self, text: str) -> None:
        """One line."""
        self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveDisplay:
    """A board that is redrawn in place: a bar for the whole, a line for each slot, the last outcomes above it."""

    def __init__(self, console: Console, jobs: Mapping[str, Job]) -> None:
        from rich.live import Live

        self._console, self._jobs = console, jobs
        self._live = Live(console=console, refresh_per_second=4, transient=True, auto_refresh=False)
        self._last = 0.0

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def pause(self) -> None:
        """Take the board away, to ask something."""
        self._live.stop()

    def resume(self) -> None:
        """Bring the board back."""
        self._live.start()

    def show(self, progress: Progress, where: Sequence[Where]) -> None:
        """Redraw the board, four times a second at most."""
        if monotonic() - self._last < 0.25:
            return
        self._last = monotonic()
        self._live.update(self._board(progress, where), refresh=True)

    def finished(self, job: Job, outcome: Outcome, progress: Progress) -> None:  # noqa: ARG002  # the board shows the counts
        """A line above the board."""
        from rich.text import Text

        mark, style = ("✓", "green") if outcome.status == "done" else ("✗", "red")
        line = Text.assemble(
            (f"{mark} ", style),
            job_line(job),
            "  ",
            (outcome_line(outcome), "bold" if style == "green" else style),
        )
        self._live.console.print(line, no_wrap=True, overflow="ellipsis")

    def note(self, text: str) -> None:
        """A line above the board."""
        self._live.console.print(f"! {text}", markup=False, style="yellow")

    def _board(self, progress: Progress, where: Sequence[Where]) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        ended = progress.before + progress.done + progress.bad
        seconds = progress.seconds_left(len(where))
        left = (
            ""
            if not progress.left
            else f" · about {duration(seconds)} left"
            if seconds is not None
            else " · measuring"
        )
        parts: list[Any] = [(f"{ended}", "bold"), f" of {progress.total} done"]
        parts += [" · ", (f"{progress.bad} failed", "red")] if progress.bad else []
        parts += [f" · {progress.left} to do{left}"]
        head = Table.grid(padding=(0, 1))
        whole = ProgressBar(
            total=max(1, progress.total), completed=ended, width=24, complete_style="cyan"
        )
        head.add_row(whole, Text.assemble(*parts))
        slots = Table.grid(padding=(0, 1))
        for one in where:
            job = self._jobs[one.digest] if one.digest else None
            doing = (
                "testing"
                if one.testing
                else f"{one.step} of {one.steps}"
                if one.step
                else "starting"
            )
            held = (
                "idle"
                if job is None
                else f"{job_line(job)} and {one.jobs - 1} more"
                if one.jobs > 1
                else job_line(job)
            )
            bar = ProgressBar(
                total=max(1, one.steps), completed=one.step, width=12, complete_style="cyan"
            )
            slots.add_row(
                Text(one.device, "cyan"),
                bar,
                Text((doing if job else "").ljust(10), "dim"),
                Text(held, no_wrap=True),
            )
        return Group(head, slots)
