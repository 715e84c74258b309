"""The tables at the end of a report: further estimates, all methods against each other, costs, and where scores vary."""

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from reports.analysis.comparison import Comparison
from reports.analysis.paired_runs import Run, finished
from reports.analysis.rankings import Standing
from reports.analysis.secondary import Detail
from reports.analysis.single_draw import single
from reports.analysis.verdict import points, probability
from reports.document import DASH, Entry, Table
from reports.statistics.conventions import ALPHA
from reports.statistics.variance_components import variance_components


def appendix(comparison: Comparison) -> list[Table]:
    """What there is to say of these runs, beyond the scores and the tests."""
    found = [
        _details(comparison),
        *_standing(comparison.standing),
        single(comparison),
        _costs(comparison),
        _variation(comparison),
    ]
    return [table for table in found if table is not None]


def _details(comparison: Comparison) -> Table | None:
    if not comparison.details:
        return None
    tests = {test.method: test for test in comparison.family("overall")}
    rope = next(iter(tests.values())).rope
    corrected = (
        ", corrected for shared rows where test rows are split anew" if comparison.holdout else ""
    )
    return Table(
        title=f"Further estimates against {comparison.baseline}",
        head=("method", "TOST p", "new task", "τ²", "I²"),
        rows=tuple(_detail(detail) for detail in comparison.details),
        legend=(
            f"All columns are E3. TOST p: that the mean over tasks differs by {rope:g} points or more; below .05 the methods "
            f"count as equal. new task: where the difference on one more task is expected with 95 % (random effects{corrected}); "
            "τ²: the variance of true differences between tasks, in squared points; I²: its share of what varies between "
            "tasks, the rest being noise."
        ),
    )


def _detail(detail: Detail) -> tuple[Entry, ...]:
    pooled = detail.pooled
    return (
        Entry(detail.method),
        Entry(probability(detail.equivalence.p), strong=detail.equivalence.equivalent),
        Entry(_range(pooled.predicted_low, pooled.predicted_high)),
        Entry(_number(pooled.tau2)),
        Entry(DASH if math.isnan(pooled.i2) else f"{100 * pooled.i2:.0f} %"),
    )


def _number(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.2f}"


def _range(low: float, high: float) -> str:
    return DASH if math.isnan(low) else f"[{low:.1f}, {high:.1f}]"


def _standing(standing: Standing | None) -> list[Table]:
    if standing is None:
        return []
    order = sorted(
        range(len(standing.methods)), key=lambda i: (standing.ranks[i], standing.methods[i])
    )
    names = [standing.methods[i] for i in order]
    rows = [
        (Entry(standing.methods[i]), Entry(f"{standing.ranks[i]:.2f}"), Entry(f"{standing.means[i]:.1f}"))
        for i in order
    ]  # fmt: skip
    how = "exact" if standing.permuted.exact else "sampled"
    tasks = len(standing.tasks)
    groups = "; ".join(", ".join(standing.methods[i] for i in group) for group in standing.cliques)
    reach = "" if standing.smallest <= ALPHA else f" With {tasks} tasks no pair can reach .05."
    table = Table(
        title="Methods ranked",
        head=("method", "mean rank", "average"),
        rows=tuple(rows),
        legend=(
            f"Over {tasks} tasks that all methods finished; 1 is the best rank. That methods are equal: "
            f"p = {probability(standing.permuted.p)} (E3, permutation Friedman, {how}). Not told apart by pairs (sign flip over tasks, E3, Holm over {standing.m}): "
            f"{groups or 'none'}.{reach}"
        ),
    )
    if len(order) < 3:
        return [table]
    square = [
        (Entry(standing.methods[i]), *(_pair(standing, i, j, order) for j in order)) for i in order
    ]
    return [
        table,
        Table(
            title="Every pair",
            head=("method", *names),
            rows=tuple(square),
            legend=(
                "Above the diagonal: points of the row over the column; below: p by sign flip over tasks, E3, Holm over all "
                f"{standing.m} pairs. Exploratory. Bold or *: p at most .05."
            ),
        ),
    ]


def _pair(standing: Standing, i: int, j: int, order: Sequence[int]) -> Entry:
    if i == j:
        return Entry("")
    strong = standing.adjusted[i][j] <= ALPHA
    above = order.index(i) < order.index(j)
    return Entry(
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
            Entry(method),
            Entry(f"{fmean(run.trained for run in runs):,.0f}"),
            Entry(f"{fmean(run.stored for run in runs) / 1024:,.0f}"),
            Entry(f"{fmean(run.seconds_training for run in runs):.1f}"),
            Entry(f"{fmean(tested):.2f}" if tested else DASH),
            Entry(f"{max(run.peak_bytes for run in runs) / 2**20:,.0f}"),
            Entry(f"{sum(run.seconds_training + run.seconds_evaluation for run in runs) / 3600:.2f}"),
        ))  # fmt: skip
    if not rows:
        return None
    apart = (
        " Seconds and bytes shared by a pack or by features are in it: compare by `bench run --timing`."
        if shared
        else ""
    )
    return Table(
        title="Costs",
        head=(
            "method",
            "trained",
            "KiB to store",
            "s to train",
            "ms to test a row",
            "MiB at most",
            "hours in all",
        ),
        rows=tuple(rows),
        legend=f"Means over runs; MiB: the greatest of all runs, the backbone included.{apart}",
    )


def _variation(comparison: Comparison) -> Table | None:
    """Standard deviations in points, of a single run: by the draw, by the seed, by the test rows."""
    columns = []
    for task in comparison.tasks:
        found = [
            _spreads([run for run in comparison.runs if run.task == task and run.method == m])
            for m in comparison.methods
        ]
        columns.append(found)
    if not any(
        not math.isnan(value) for column in columns for spreads in column for value in spreads
    ):
        return None
    rows = []
    for place, method in enumerate(comparison.methods):
        for name, part in zip(("draw", "seed", "test rows"), range(3), strict=True):
            values = [column[place][part] for column in columns]
            if any(not math.isnan(value) for value in values):
                entries = (Entry(DASH if math.isnan(value) else f"{value:.1f}") for value in values)
                rows.append((Entry(method), Entry(name), *entries))
    return Table(
        title="Where scores vary",
        head=("method", "by", *comparison.tasks),
        rows=tuple(rows),
        labels=2,
        legend=(
            "Standard deviations of a single run's score in points, the mean over sizes: by the examples drawn and by seed "
            "(initialisation and order; told apart where draws have several seeds, else both stand under draw), and by the "
            "test rows that happened to be there."
        ),
    )


def _spreads(runs: Sequence[Run]) -> tuple[float, float, float]:
    draws, seeds, rows = [], [], []
    for size in sorted({run.size for run in runs}):
        here = [run for run in runs if run.size == size and finished(run)]
        table: dict[int, list[float]] = {}
        for run in here:
            table.setdefault(run.draw, []).append(100 * (run.score or 0.0))
        counts = {len(values) for values in table.values()}
        if len(table) > 1 and len(counts) == 1 and counts != {1}:
            parts = variance_components(list(table.values()))
            draws.append(parts.draw)
            seeds.append(parts.seed)
        elif len(table) > 1:
            draws.append(float(np.var([fmean(values) for values in table.values()], ddof=1)))
        rows += [
            10_000 * float(run.by_row.var()) / len(run.by_row)
            for run in here
            if run.by_row is not None
        ]
    return _root(draws), _root(seeds), _root(rows)


def _root(variances: Sequence[float]) -> float:
    return math.sqrt(fmean(variances)) if variances else math.nan
