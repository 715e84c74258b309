"""The tables in the appendix of a report: further estimates, ranks, all pairs, costs and sources of variance."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Final

import numpy as np

from reports.analysis.comparison import Comparison
from reports.analysis.paired_runs import Run, finished
from reports.analysis.rankings import Ranking
from reports.analysis.secondary import SecondaryEstimates
from reports.analysis.single_draw import single_draw_table
from reports.analysis.verdict import points, probability
from reports.document import DASH, Table, TableCell, plural
from reports.statistics.conventions import ALPHA
from reports.statistics.variance_components import variance_components

SOURCES: Final = ("draw", "seed", "test examples")  # of variance


def appendix(comparison: Comparison) -> list[Table]:
    """Return the tables of the appendix for which there is data."""
    tables = [
        _further_estimates(comparison),
        *_rankings(comparison.ranking),
        single_draw_table(comparison),
        _costs(comparison),
        _variation(comparison),
    ]
    return [table for table in tables if table is not None]


def _further_estimates(comparison: Comparison) -> Table | None:
    if not comparison.secondary:
        return None
    tests = {test.method: test for test in comparison.family("overall")}
    rope = next(iter(tests.values())).rope
    corrected = ", widened where every draw has its own test split" if comparison.holdout else ""
    return Table(
        title=f"Further estimates against {comparison.baseline}",
        head=("method", "TOST p", "new task", "τ²", "I²"),
        rows=tuple(_detail(detail) for detail in comparison.secondary),
        legend=(
            "All columns are E3. TOST p: equivalence test of the hypothesis that the mean over tasks differs "
            f"by at least {plural(rope, 'point')}; below .05 the methods count as equal. new task: 95 % "
            f"prediction interval of the difference on one more task (random effects{corrected}); τ²: "
            "variance of the true differences between tasks, in squared points; I²: share of τ² in the "
            "variance between tasks; the rest is noise."
        ),
    )


def _detail(detail: SecondaryEstimates) -> tuple[TableCell, ...]:
    pooled = detail.pooled
    return (
        TableCell(detail.method),
        TableCell(probability(detail.equivalence.p), strong=detail.equivalence.equivalent),
        TableCell(_range(pooled.predicted_low, pooled.predicted_high)),
        TableCell(_number(pooled.tau2)),
        TableCell(DASH if math.isnan(pooled.i2) else f"{100 * pooled.i2:.0f} %"),
    )


def _number(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.2f}"


def _range(low: float, high: float) -> str:
    return DASH if math.isnan(low) else f"[{low:.1f}, {high:.1f}]"


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
    kind = "exact" if standing.permuted.exact else "sampled"
    tasks = plural(len(standing.tasks), "task")
    groups = "; ".join(", ".join(standing.methods[i] for i in group) for group in standing.cliques)
    reach = "" if standing.smallest <= ALPHA else f" With {tasks}, no pair can reach .05."
    table = Table(
        title="Ranks of methods",
        head=("method", "mean rank", "average"),
        rows=tuple(rows),
        legend=(
            f"Over {tasks} that all methods finished; 1 is the best rank. Test that all methods are equal: p "
            f"= {probability(standing.permuted.p)} (E3, permutation Friedman test, {kind}). Methods of which "
            "no two differ significantly (sign-flip test over tasks, E3, Holm over "
            f"{plural(standing.m, 'pair')}): {groups or 'none'}.{reach}"
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
                f"below: p of the sign-flip test over tasks, E3, Holm over all {standing.m} pairs. "
                "Exploratory. Bold or *: p at most .05."
            ),
        ),
    ]


def _pair(standing: Ranking, i: int, j: int, order: Sequence[int]) -> TableCell:
    if i == j:
        return TableCell("")
    strong = standing.adjusted[i][j] <= ALPHA
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
            if run.method == method and finished(run) and run.status == "done"
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


def _variation(comparison: Comparison) -> Table | None:
    """Return the standard deviations of a run's score due to the draw, the seed and the test examples."""
    rows = []
    for method in comparison.methods:
        deviations = [
            _deviations(
                [run for run in comparison.runs if (run.task, run.method) == (task, method)]
            )
            for task in comparison.tasks
        ]
        for source, values in zip(SOURCES, zip(*deviations, strict=True), strict=True):
            if not all(map(math.isnan, values)):
                entries = (
                    TableCell(DASH if math.isnan(value) else f"{value:.1f}") for value in values
                )
                rows.append((TableCell(method), TableCell(source), *entries))
    if not rows:
        return None
    return Table(
        title="Sources of variance",
        head=("method", "source", *comparison.tasks),
        rows=tuple(rows),
        labels=2,
        legend=(
            "Standard deviations of the score of a single run in points, means over sizes. draw: the examples "
            "drawn; seed: initialisation and order of training (if each draw has one seed, draw includes "
            "seed); test examples: the sample of test examples."
        ),
    )


def _deviations(runs: Sequence[Run]) -> tuple[float, float, float]:
    """Return one standard deviation per element of `SOURCES`, in points; NaN if it cannot be estimated."""
    draws, seeds, test_examples = [], [], []
    for size in sorted({run.size for run in runs}):
        done = [run for run in runs if run.size == size and finished(run)]
        scores: dict[int, list[float]] = {}  # by draw
        for run in done:
            scores.setdefault(run.draw, []).append(100 * (run.score or 0.0))
        counts = {len(values) for values in scores.values()}
        if len(scores) > 1 and len(counts) == 1 and counts != {1}:
            parts = variance_components(list(scores.values()))
            draws.append(parts.draw)
            seeds.append(parts.seed)
        elif len(scores) > 1:
            draws.append(float(np.var([fmean(values) for values in scores.values()], ddof=1)))
        test_examples += [
            10_000 * float(run.row_scores.var()) / len(run.row_scores)
            for run in done
            if run.row_scores is not None
        ]
    draw, seed, test = (
        math.sqrt(fmean(variances)) if variances else math.nan
        for variances in (draws, seeds, test_examples)
    )
    return draw, seed, test
