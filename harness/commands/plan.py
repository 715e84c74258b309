"""`bench plan`: print what a run would do."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.jobs import Job
from harness.ledger import Ledger
from harness.ledger.database import is_url
from harness.scheduling.display import job_line
from harness.scheduling.executors import devices
from harness.scheduling.summary import print_line, progress_printer
from harness.study import automatic, data_findings, estimate, planning, request, row_lengths
from harness.study.estimate import JobEstimate
from harness.study.grid_options import GridOptions
from harness.study.planning import Plan
from harness.wording import duration, listed, plural

STATES = ("done", "planned", "claimed", "failed", "diverged", "infeasible")
HEADINGS = {"planned": "to do", "claimed": "running"}


def show_plan(grid: GridOptions, db: str, *, as_json: bool) -> None:
    """Print the jobs of a grid with their states.

    Raises:
        BenchError: The request is wrong, or the model or the data are not available.
    """
    out, log = Console(), Console(stderr=True)
    checked, notices = request.read(grid)
    for notice in notices:
        print_line(log, f"note: {notice}")
    checked = automatic.resolve(checked, progress_printer(log))
    plan = planning.plan(checked, progress_printer(log))
    states = {}
    if is_url(db) or Path(db).exists():
        with Ledger(db) as ledger:
            for note in data_findings.check_names(ledger, *plan.tasks_at_revisions()):
                print_line(log, f"note: {note}")
            states = ledger.states([job.digest for job in plan.jobs])
    missing = [job for job in plan.jobs if states.get(job.digest) != "done"]
    estimates = {}
    if missing and devices.is_cpu("auto"):  # on a GPU nothing is measured yet
        estimates = estimate.estimate(checked, plan, progress_printer(log))
        # The estimate has fetched the backbone.
        for note in row_lengths.describe(checked, plan):
            print_line(log, f"note: {note}")
    if as_json:
        jobs = [
            _as_json(job, states.get(job.digest, "planned"), "", estimates.get(job.digest))
            for job in plan.jobs
        ]
        jobs += [_as_json(cell.job, "infeasible", cell.reason) for cell in plan.infeasible]
        out.print_json(data={"schema": 1, "jobs": jobs})
        return
    print_line(out, f"{checked.recipe.line()}; {plan.backbone.line()}")
    out.print(_table(plan, states, estimates))
    for remark in remarks(plan):
        print_line(out, remark)
    done = sum(state == "done" for state in states.values())
    total = plural(len(plan.jobs), "job")
    print_line(
        out, f"{total}, {done:,} done, {len(missing):,} to do, {len(plan.infeasible):,} infeasible"
    )
    if left := [estimates[job.digest] for job in missing if job.digest in estimates]:
        workers = len(devices.choose(["cpu"], 0, len(left)))  # as many as `bench run` starts
        print_line(out, estimate.describe(left, workers))
    for reason in reasons(plan):
        print_line(out, f"infeasible: {reason}")
    if missing:
        print_line(out, f"next: {job_line(missing[0])}  {missing[0].digest}")


def reasons(plan: Plan) -> list[str]:
    """Return the distinct reasons why cells of a plan are infeasible."""
    return list(dict.fromkeys(cell.reason for cell in plan.infeasible))


def remarks(plan: Plan) -> Iterator[str]:
    """Yield sentences on what is unusual about the draws of a plan."""
    draws = {(job.draw.task, job.draw.size, job.draw.number): job.draw for job in plan.jobs}
    if redrawn := [draw for draw in draws.values() if draw.redrawn]:
        tasks = ", ".join(sorted({draw.task for draw in redrawn}))
        yield f"redrawn because a class was missing: {plural(len(redrawn), 'draw')} ({tasks})"
    if shared := [draw for draw in draws.values() if draw.shared]:
        tasks = ", ".join(sorted({draw.task for draw in shared}))
        count = plural(sum(draw.shared for draw in shared), "training or dev row")
        yield f"the test rows include {count}, in {plural(len(shared), 'draw')} ({tasks}): kept"
    for task in dict.fromkeys(draw.task for draw in draws.values() if draw.absent):
        lacking = [draw for draw in draws.values() if draw.task == task and draw.absent]
        names = dict.fromkeys(name for draw in lacking for name in draw.absent)
        yield f"no test row of {listed(map(repr, names))} in {plural(len(lacking), 'draw')} ({task})"


def _as_json(
    job: Job, state: str, reason: str, estimated: JobEstimate | None = None
) -> dict[str, Any]:
    draw = job.draw
    return {
        "task": draw.task,
        "size": draw.size,
        "draw": draw.number,
        "seed": job.seed,
        "method": job.label,
        "digest": None if reason else job.digest,
        "state": state,
        "reason": reason,
        "rows": draw.fingerprint,
        "seconds": estimated and round(estimated.seconds, 1),
        "bytes": estimated and round(estimated.bytes),
    }


def _between(low: float, high: float) -> str:
    """Return `40 s to 2 min`, or one of the two if they read alike."""
    return " to ".join(dict.fromkeys([duration(low), duration(high)]))


def _table(plan: Plan, states: Mapping[str, str], estimates: Mapping[str, JobEstimate]) -> Table:
    """Return the number of jobs in each state by method, and how long one takes."""
    counts: dict[str, Counter[str]] = {}
    seconds: dict[str, list[float]] = {}
    for job in plan.jobs:
        counts.setdefault(job.label, Counter())[states.get(job.digest, "planned")] += 1
        if job.digest in estimates:
            seconds.setdefault(job.label, []).append(estimates[job.digest].seconds)
    for cell in plan.infeasible:
        counts.setdefault(cell.job.label, Counter())["infeasible"] += 1
    columns = [
        state
        for state in STATES
        if state in ("done", "planned") or any(count[state] for count in counts.values())
    ]
    table = Table("method", box=None, pad_edge=False)
    for state in columns:
        table.add_column(HEADINGS.get(state, state), justify="right")
    if seconds:
        table.add_column("a job takes", justify="right")
    for label, count in counts.items():
        times = seconds.get(label, [])
        took = [_between(min(times), max(times))] if times else ["·"] if seconds else []
        table.add_row(label, *(str(count[state] or "·") for state in columns), *took)
    return table
