"""`bench demo`: compare two methods on two toy tasks with the embedded model, and print a short report."""

import math
from pathlib import Path
from statistics import fmean
from typing import Final

from rich.console import Console
from rich.table import Table

from harness.commands.run import run_grid
from harness.errors import ExitCode, UsageError
from harness.ledger import Ledger
from harness.results.query import ResultQuery
from harness.results.runs import comparison_of
from harness.scheduling.run_options import RunOptions
from harness.scheduling.summary import print_line
from harness.study import planning, request
from harness.study.grid_options import GridOptions
from harness.wording import plural
from reports.analysis.cells import Cell
from reports.analysis.comparison import Comparison
from reports.analysis.verdict import p_value, points, verdict

DB: Final = "demo.db"
GRID: Final = GridOptions(
    model="tiny",
    methods="prefix,simplex",
    tasks="toy-sentiment,toy-entailment",
    sizes="100",
    draws="2",
    set_=["lr=1e-3"],
    steps="120",
    eval_every="40",
    test_limit="200",
)
OPTIONS: Final = RunOptions(db=DB, yes=True)
NEXT: Final = (
    ("your own data", "bench advise FILE.csv"),
    ("GLUE", "bench run --tasks glue --methods prefix,simplex"),
    ("the full report", f"bench report --db {DB} --format html --open"),
)


def run_demo() -> int:
    """Run what the demo's database lacks, print the report, and return the exit code.

    Raises:
        BenchError: The database holds other results, or the jobs cannot run.
    """
    if Path(DB).exists():
        jobs = planning.plan(request.read(GRID)[0]).jobs
        with Ledger(DB) as ledger:
            others = {entry.digest for entry in ledger.entries()} - {job.digest for job in jobs}
        if others:
            raise UsageError(
                f"{DB} has {plural(len(others), 'result')} of another study: "
                "move the file, or start the demo in another folder"
            )
    code = run_grid(GRID, OPTIONS)
    if code == ExitCode.SUCCESS:
        _print_report(Console())
    return code


def _print_report(out: Console) -> None:
    """Print the verdict, the scores beside those of the majority class, and what to do next."""
    comparison = comparison_of(ResultQuery(db=DB), "prefix")
    (test,) = comparison.family("overall")
    out.print()
    print_line(out, verdict(comparison)[0])
    out.print()
    out.print(_table(comparison))
    draws = plural(test.draws[0], "draw")
    print_line(
        out,
        f"Accuracy in %, mean; ± is the distance to the farther bound of the 95 % interval, {draws} of "
        f"{comparison.sizes[0]} training examples.",
    )
    low, high = test.these.low, test.these.high
    print_line(
        out,
        f"simplex minus prefix: {points(test.effect)} points [{low:z.1f}, {high:z.1f}], "
        f"{p_value(test.these.p_adj)} on these tasks; a study takes more draws and more tasks.",
    )
    out.print()
    for purpose, command in NEXT:
        print_line(out, f"Next, {purpose}:".ljust(23) + command)


def _table(comparison: Comparison) -> Table:
    """Return the scores of the methods and of the majority class, by task and on average."""
    table = Table(box=None, pad_edge=False)
    table.add_column("method")
    for task in (*comparison.tasks, "average"):
        table.add_column(task, justify="right")
    majority = comparison.majority
    scores = [*(majority[task] for task in comparison.tasks), fmean(majority.values())]
    table.add_row("majority class", *(f"{score:.1f}" for score in scores))
    for method in comparison.methods:
        cells = [
            comparison.cell(method, task, comparison.sizes[0]) for task in (*comparison.tasks, None)
        ]
        table.add_row(method, *map(_score, cells))
    return table


def _score(cell: Cell) -> str:
    half = max(cell.high - cell.mean, cell.mean - cell.low)
    return f"{cell.mean:.1f}" if math.isnan(half) else f"{cell.mean:.1f} ± {half:.1f}"
