"""How a run went: in words, and in its exit code."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING

from harness.ledger.database import shown
from harness.scheduling.display import duration

if TYPE_CHECKING:
    from rich.console import Console

    from harness.ledger import Ledger
    from harness.scheduling.progress import Progress
    from harness.scheduling.signals import Stop
    from harness.study.planning import Plan


def summary(
    out: Console, ledger: Ledger, the_plan: Plan, progress: Progress, stop: Stop, db: str
) -> int:
    """Say how a run went; gives its exit code."""
    counts = [f"{progress.done} done"]
    counts += [f"{progress.bad} failed"] if progress.bad else []
    counts += [f"{progress.elsewhere} by other runs"] if progress.elsewhere else []
    counts += [f"{progress.left} left"] if progress.left else []
    out.print(f"{', '.join(counts)} in {duration(monotonic() - progress.started)}", highlight=False)
    if stop.times:
        kept = (
            "what could not be written is computed again"
            if progress.locked
            else "nothing that finished is lost"
        )
        out.print(f"stopped; {kept}: the same command goes on from here", highlight=False)
        return stop.exit_code
    return code(out, ledger, the_plan, bad=progress.bad, db=db)


def code(out: Console, ledger: Ledger, the_plan: Plan, *, bad: int, db: str) -> int:
    """0 if every cell of the plan that can be filled is."""
    states = Counter(ledger.states([job.digest for job in the_plan.jobs]).values())
    unfilled = states["failed"] + states["diverged"]
    if unfilled:
        again = "" if bad else "; `--retry-failed` tries them again"
        out.print(
            f"{unfilled} cells failed: `bench status` says why{again}",
            highlight=False,
            soft_wrap=True,
        )
        return 1
    if states["planned"]:
        out.print(f"{states['planned']} jobs are left: run the same command again", highlight=False)
        return 1
    if states["claimed"]:  # which this run had not to do, or would have waited for
        out.print(
            f"{states['claimed']} jobs are in the hands of another run: `bench status` counts them",
            highlight=False,
        )
        return 1
    if "smoke.db" in db:
        out.print("every cell is filled", highlight=False)
    else:
        out.print(
            f"results in {shown(db)}: `bench report{'' if db == 'results.db' else f' --db {shown(db)}'}` shows them",
            highlight=False,
            soft_wrap=True,
        )
    return 0
