"""The tables in the appendix of a report: further estimates, ranks, all pairs and costs."""

import math
from collections.abc import Sequence
from statistics import fmean

from reports.analysis.comparison import Comparison
from reports.analysis.contrasts import Contrast
from reports.analysis.inferences import FEWEST_TASKS
from reports.analysis.rankings import Ranking
from reports.analysis.run import has_score
from reports.analysis.secondary import SecondaryEstimates
from reports.analysis.verdict import points, probability
from reports.document import DASH, Table, TableCell, interval, number, plural
from reports.statistics.random_effects import PREDICTION_COVERS
from reports.tables.classification import probability_table
from reports.tables.texts import text_tables


def appendix(comparison: Comparison) -> list[Table]:
    """Return the tables of the appendix for which there is data."""
    tables = [
        _further_estimates(comparison),
        *_rankings(comparison.ranking),
        probability_table(comparison),
        *text_tables(comparison),
        _costs(comparison),
    ]
    return [table for table in tables if table is not None]


def _further_estimates(comparison: Comparison) -> Table | None:
    if not comparison.secondary:
        return None
    tests = {test.method: test for test in comparison.family("overall")}
    rope = next(iter(tests.values())).rope
    unknown = any(run.holdout and run.identities is None for run in comparison.runs)
    corrected = ", widened where every draw has its own test split" if unknown else ""
    return Table(
        title=f"Further estimates against {comparison.baseline}",
        head=("method", "TOST p", "new task", "τ²", "I²"),
        rows=tuple(_detail(detail, tests[detail.method]) for detail in comparison.secondary),
        legend=(
            "All columns are about other tasks. TOST p: equivalence test of the hypothesis that the mean over tasks "
            f"differs by at least {plural(rope, 'point')}, by Holm's method; below .05, or the stricter level of a "
            "later look, the methods count as equal, if differences between tasks are normal; "
            f"{DASH}: fewer than {FEWEST_TASKS} tasks, or no claim. "
            "new task: approximate 95 % prediction interval of the difference on one more task (random "
            f"effects{corrected}), which {PREDICTION_COVERS}; τ²: "
            "variance of the true differences between tasks, in squared points; I²: share of τ² in the "
            "variance between tasks; the rest is noise."
        ),
    )


def _detail(detail: SecondaryEstimates, test: Contrast) -> tuple[TableCell, ...]:
    pooled = detail.pooled
    claimed = not test.these.barred and test.n >= FEWEST_TASKS
    return (
        TableCell(detail.method),
        TableCell(
            probability(detail.equivalence.p) if claimed else DASH,
            strong=claimed and detail.equivalence.equivalent,
        ),
        TableCell(interval(pooled.predicted_low, pooled.predicted_high)),
        TableCell(number(pooled.tau2, 2)),
        TableCell(DASH if math.isnan(pooled.i2) else f"{100 * pooled.i2:.0f} %"),
    )


def _rankings(standing: Ranking | None) -> list[Table]:
    if standing is None:
        return []
    order = sorted(
        range(len(standing.methods)), key=lambda i: (standing.ranks[i], standing.methods[i])
    )
    names = [standing.methods[i] for i in order]
    rows = [
        (TableCell(standing.methods[i]), TableCell(f"{standing.ranks[i]:.2f}"), TableCell(f"{standing.means[i]:.1f}"))
        for i in order
    ]  # fmt: skip
    tasks = plural(len(standing.tasks), "task")
    groups = "; ".join(", ".join(standing.methods[i] for i in group) for group in standing.cliques)
    left_out = ""
    if standing.left_out:
        left_out = f" Left out, because scores are missing: {', '.join(standing.left_out)}."
    table = Table(
        title="Ranks of methods",
        head=("method", "mean rank", "average"),
        rows=tuple(rows),
        legend=(
            f"Over {tasks}; 1 is the best rank.{left_out} Groups of methods without a "
            f"settled pair (claims for other tasks, Holm over {plural(standing.m, 'pair')}): {groups or 'none'}."
        ),
    )
    if len(order) < 3:
        return [table]
    square = [
        (TableCell(standing.methods[i]), *(_pair(standing, i, j, order) for j in order))
        for i in order
    ]
    return [
        table,
        Table(
            title="All pairs of methods",
            head=("method", *names),
            rows=tuple(square),
            legend=(
                "Above the diagonal: difference of the row's method from the column's method, in points; "
                f"below: p of the sign-flip test over tasks, Holm over all {standing.m} pairs. "
                "Exploratory. Bold or *: settled for other tasks."
            ),
        ),
    ]


def _pair(standing: Ranking, i: int, j: int, order: Sequence[int]) -> TableCell:
    if i == j:
        return TableCell("")
    strong = standing.settled[i][j]
    above = order.index(i) < order.index(j)
    return TableCell(
        points(standing.difference[i][j]) if above else probability(standing.adjusted[i][j]),
        strong=strong,
    )


def _costs(comparison: Comparison) -> Table | None:
    rows, shared = [], False
    for method in comparison.methods:
        runs = [
            run
            for run in comparison.runs
            if run.method == method and has_score(run) and run.status == "done"
        ]
        if not runs:
            continue
        tested = [1000 * run.seconds_evaluation / run.n_test for run in runs if run.n_test]
        shared = shared or any(run.shared for run in runs)
        rows.append((
            TableCell(method),
            TableCell(f"{fmean(run.trained for run in runs):,.0f}"),
            TableCell(f"{fmean(run.stored for run in runs) / 1024:,.0f}"),
            TableCell(f"{fmean(run.seconds_training for run in runs):.1f}"),
            TableCell(f"{fmean(tested):.2f}" if tested else DASH),
            TableCell(f"{max(run.peak_bytes for run in runs) / 2**20:,.0f}"),
            TableCell(f"{sum(run.seconds_training + run.seconds_evaluation for run in runs) / 3600:.2f}"),
        ))  # fmt: skip
    if not rows:
        return None
    shares = (
        " Some seconds and bytes are shares of a pack or of shared features; compare costs with `bench run "
        "--timing`."
        if shared
        else ""
    )
    return Table(
        title="Costs",
        head=(
            "method",
            "trained parameters",
            "stored KiB",
            "training s",
            "testing ms per example",
            "peak MiB",
            "total hours",
        ),
        rows=tuple(rows),
        legend=f"Means over runs; peak MiB: the maximum over runs, including the backbone.{shares}",
    )
