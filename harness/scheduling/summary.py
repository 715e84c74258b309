"""What `bench run` prints when it ends, and its exit code."""

import shlex
from collections import Counter
from collections.abc import Callable
from time import monotonic

from rich.console import Console

from harness.errors import ExitCode
from harness.ledger import Ledger
from harness.ledger.database import display_name
from harness.scheduling.progress import RunProgress
from harness.scheduling.signals import StopSignals
from harness.study.planning import Plan
from harness.wording import duration, plural
from reports.escape import plain


def progress_printer(log: Console) -> Callable[[str], None]:
    """Return a function that prints what a command is waiting for, on a terminal only."""

    def print_progress(text: str) -> None:
        if log.is_terminal:
            log.print(f"… {text}", markup=False, highlight=False, style="dim")

    return print_progress


def print_line(console: Console, text: str) -> None:
    """Print text without markup, line breaks and control characters, which names from files may contain."""
    console.print(plain(text), markup=False, highlight=False, emoji=False, soft_wrap=True)


def summarise_run(
    out: Console,
    ledger: Ledger,
    plan: Plan,
    progress: RunProgress,
    stop: StopSignals,
    db: str | None,
) -> int:
    """Print how a run went, and return its exit code.

    Args:
        out: The console.
        ledger: The ledger of the run.
        plan: Every job of the grid.
        progress: The counts of this run.
        stop: The signals that the run received.
        db: Name of the database; None if it is temporary.
    """
    counts = [f"{progress.done:,} done"]
    counts += [f"{progress.failed:,} failed"] if progress.failed else []
    counts += (
        [f"{progress.ended_by_other_runs:,} by other runs"] if progress.ended_by_other_runs else []
    )
    counts += [f"{progress.left:,} left"] if progress.left else []
    print_line(out, f"{', '.join(counts)} in {duration(monotonic() - progress.started)}")
    if progress.declined:
        print_line(out, "not confirmed: finished results are kept, the other jobs are forgotten")
        return stop.exit_code
    if stop.count:
        consequence = (
            "results that could not be written will be computed again"
            if progress.unwritten_results
            else "every finished result is kept"
        )
        print_line(out, f"stopped; {consequence}; the same command goes on from here")
        return stop.exit_code
    return finish(out, ledger, plan, db, failed_now=progress.failed > 0)


def finish(out: Console, ledger: Ledger, plan: Plan, db: str | None, *, failed_now: bool) -> int:
    """Print which results are missing, or where the results are, and return the exit code.

    Args:
        out: The console.
        ledger: The ledger of the run.
        plan: Every job of the grid.
        db: Name of the database; None if it is temporary.
        failed_now: whether jobs failed in this run, and not only in earlier ones.
    """
    states = Counter(ledger.states([job.digest for job in plan.jobs]).values())
    if failed := states["failed"] + states["diverged"]:
        retry = "" if failed_now else "; `--retry-failed` runs them again"
        print_line(out, f"{plural(failed, 'cell')} failed: `bench status` shows the errors{retry}")
        return ExitCode.NEGATIVE
    if left := states["planned"]:
        print_line(out, f"{plural(left, 'job')} left: run the same command again")
        return ExitCode.NEGATIVE
    # Another run retries these jobs. They had failed when this run began, so this run did not wait.
    if claimed := states["claimed"]:
        print_line(
            out,
            f"{plural(claimed, 'job')} claimed by another run: `bench status` counts them",
        )
        return ExitCode.NEGATIVE
    if plan.infeasible and not plan.jobs:
        print_line(out, "nothing can be run")
        return ExitCode.NEGATIVE
    if db is None:
        print_line(out, "every cell is filled")
    else:
        command = (
            "bench report"
            if db == "results.db"
            else f"bench report --db {shlex.quote(display_name(db))}"
        )
        print_line(out, f"results in {display_name(db)}: `{command}` shows them")
    return ExitCode.SUCCESS
