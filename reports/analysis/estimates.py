"""Estimates of one task: a method's score, or its difference from another method, with their uncertainty.

Seeds of one draw and size are averaged first, then the sizes of one draw: neither are independent
evidence.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np

from reports.analysis.paired_runs import holdout_ratio, mean_over_sizes, scores_per_draw
from reports.analysis.run import Run
from reports.statistics import draws_and_rows, intervals
from reports.statistics.conventions import ALPHA, DIGITS, Array, paired_differences
from reports.statistics.intervals import Estimate, Interval

Population = Literal["these rows", "these tasks", "other tasks"]
EXPLAINED: Final[Mapping[Population, str]] = {
    "these rows": "other draws, on these test rows of these tasks",
    "these tasks": "other draws and other test rows of these tasks",
    "other tasks": "other tasks",
}
RunsBySize = Sequence[Sequence[Run]]


def describe_populations(populations: Iterable[Population]) -> str:
    """Describe the populations that occur, the widest first."""
    return " or ".join(EXPLAINED[name] for name in sorted(set(populations), reverse=True)) or "none"


class TaskEstimate(NamedTuple):
    """The mean of one task in points."""

    values: list[float]  # one per draw
    draws: Estimate  # for other draws
    # for other draws and test rows; None if the answers to single rows are unknown, or if the test
    # rows differ between draws and their identities are unknown
    rows: Estimate | None
    # whether test rows are split anew for each draw, their identities are unknown, and `draws` is
    # widened for it
    corrected: bool
    # effective number of independent groups of test rows: of those with the rarest class if a metric
    # depends on it, and of those that carry the variance if few can
    groups: float
    bounds: tuple[float, float]  # lowest and highest possible value


class _RowTable(NamedTuple):
    """Points (draws, rows) by draw and test row, NaN where a draw did not test a row; and the rows' groups."""

    points: Array
    groups: Array


RowTables = dict[tuple[int, ...], _RowTable | None]  # by `id` of the runs


def task_score(by_size: RunsBySize, known: RowTables | None = None) -> TaskEstimate:
    """Estimate the score of a method on one task, over the draws that have all sizes.

    Args:
        by_size: the runs.
        known: row tables of earlier estimates from the same set of runs; new ones are added.
    """
    values = mean_over_sizes([scores_per_draw(runs) for runs in by_size])
    low, high = _bounds(by_size)
    return _estimate(values, _row_table(by_size, known), by_size, (low, high), uneven=True)


def task_difference(
    method: RunsBySize, baseline: RunsBySize, known: RowTables | None = None
) -> TaskEstimate:
    """Estimate the difference of two methods on one task from runs that are paired by position.

    Args:
        method: the runs of one method.
        baseline: those of the other.
        known: as in `task_score`.
    """
    pairs = [
        (scores_per_draw(first), scores_per_draw(second))
        for first, second in zip(method, baseline, strict=True)
    ]
    values = mean_over_sizes(
        [{draw: first[draw] - second[draw] for draw in first} for first, second in pairs]
    )
    table, other = _row_table(method, known), _row_table(baseline, known)
    difference = None
    if table is not None and other is not None and table.points.shape == other.points.shape:
        difference = table._replace(points=table.points - other.points)
    rounded = list(paired_differences(values, np.zeros(len(values))))
    low, high = _bounds(method)
    return _estimate(rounded, difference, method, (low - high, high - low))


def _bounds(by_size: RunsBySize) -> tuple[float, float]:
    """Return the lowest and the highest possible score in points."""
    run = next((run for runs in by_size for run in runs), None)
    return (-math.inf, math.inf) if run is None else run.bounds


def _estimate(
    values: list[float],
    table: _RowTable | None,
    by_size: RunsBySize,
    bounds: tuple[float, float],
    *,
    uneven: bool = False,
) -> TaskEstimate:
    """Return the estimate of a mean over draws.

    Args:
        values: one per draw.
        table: points of single rows; None: they are unknown.
        by_size: the runs.
        bounds: lowest and highest possible value.
        uneven: whether few rows can carry most of the variance, as the errors of a score near 100 do.
    """
    runs = [run for at_size in by_size for run in at_size]
    shared = holdout_ratio(runs) if table is None else 0.0
    rows: float = min((run.n_test for run in runs), default=0)
    by_row: Estimate | None = None
    if table is not None:
        uneven = uneven or any(run.uneven for run in runs)
        points = np.round(table.points, DIGITS)
        by_row = draws_and_rows.estimate(points, table.groups, uneven=uneven)
        rows = min(draws_and_rows.effective_number(table.groups), by_row.groups)
        if runs[0].identities is not None:
            # Draws that hold out few groups each share too few to estimate how alike they are.
            tested = (table.groups[~np.isnan(draw)] for draw in points)
            rows = min(rows, 2 * min(map(draws_and_rows.effective_number, tested)))
    return TaskEstimate(
        values=values,
        draws=intervals.over_draws(values, overlap=shared),
        rows=by_row,
        corrected=shared > 0,
        groups=min([rows, *(run.groups_of_rarest_class for run in runs)]),
        bounds=bounds,
    )


def _row_table(by_size: RunsBySize, known: RowTables | None) -> _RowTable | None:
    """Return the row table of these runs, from the known ones if it is one of them."""
    if known is None:
        return _computed_table(by_size)
    key = tuple(id(run) for at_size in by_size for run in at_size)
    if key not in known:
        known[key] = _computed_table(by_size)
    return known[key]


def _computed_table(by_size: RunsBySize) -> _RowTable | None:
    """Return the scores of single test rows, averaged over the seeds and the sizes of a draw.

    None if they are unknown, or if test rows differ between draws and their identities are unknown.
    """
    runs = [run for at_size in by_size for run in at_size]
    if not runs or any(run.row_scores is None for run in runs):
        return None
    if runs[0].identities is None and not all(_same_rows(run, runs[0]) for run in runs):
        return None
    if len({run.identities is None for run in runs}) > 1:  # some are of an earlier version
        return None
    per_size: list[dict[int, list[Array]]] = []
    for at_size in by_size:
        scores: dict[int, list[Array]] = {}
        for run in at_size:
            scores.setdefault(run.draw, []).append(np.asarray(run.row_scores))
        per_size.append(scores)
    common = sorted(set.intersection(*map(set, per_size))) if per_size else []
    if not common:
        return None
    first = {run.draw: run for run in runs}
    if runs[0].identities is None:  # all draws have the same rows
        of_sizes = [np.stack([_mean(scores[draw]) for draw in common]) for scores in per_size]
        return _RowTable(100 * _mean(of_sizes), first[common[0]].row_groups)
    names = np.unique(np.concatenate([first[draw].row_names for draw in common]))
    points = np.full((len(common), len(names)), np.nan)
    groups = np.zeros(len(names))
    for number, draw in enumerate(common):
        at = np.searchsorted(names, first[draw].row_names)
        points[number, at] = 100 * _mean([_mean(scores[draw]) for scores in per_size])
        groups[at] = first[draw].row_groups
    return _RowTable(points, groups)


def _mean(arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.asarray(np.mean(arrays, axis=0))


def _same_rows(run: Run, other: Run) -> bool:
    return not run.holdout and all(
        labels is other.labels.get(name) or np.array_equal(labels, other.labels.get(name, ()))
        for name, labels in run.labels.items()
    )


def pooled(
    estimates: Sequence[TaskEstimate], *, sd: float | None = None, level: float = 1 - ALPHA
) -> tuple[Interval, Population]:
    """Return the mean over tasks with its interval, over other test rows as well if every task allows it."""
    wide = bool(estimates) and all(task.rows is not None or task.corrected for task in estimates)
    interval = intervals.pooled(parts(estimates), sd=sd, level=level)
    if estimates:
        lowest = float(np.mean([task.bounds[0] for task in estimates]))
        highest = float(np.mean([task.bounds[1] for task in estimates]))
        interval = interval.within(lowest, highest)
    return interval, "these tasks" if wide else "these rows"


def parts(estimates: Sequence[TaskEstimate]) -> list[Estimate]:
    """Return the estimate of each task for the widest population that all tasks allow."""
    wide = all(task.rows is not None or task.corrected for task in estimates)
    return [task.rows if wide and task.rows is not None else task.draws for task in estimates]
