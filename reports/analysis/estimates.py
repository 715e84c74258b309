"""Estimates of one task: a method's score, or its difference from another method, with their uncertainty.

Seeds of one draw and size are averaged first, then the sizes of one draw: neither are independent
evidence.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np

from reports.analysis.paired_runs import Run, mean_over_sizes, overlap, scores_per_draw
from reports.statistics import intervals
from reports.statistics.conventions import DIGITS, Array, paired_differences
from reports.statistics.intervals import Estimate, Interval

Estimand = Literal["E1", "E2"]
EXPLAINED: Final[Mapping[str, str]] = {
    "E1": "these tasks and test rows, other draws",
    "E2": "these tasks, other draws and other test rows",
    "E3": "other tasks",
}
RunsBySize = Sequence[Sequence[Run]]


def estimand_names(estimands: Iterable[str]) -> str:
    """Return the names of the estimands that occur."""
    return " or ".join(sorted(set(estimands), reverse=True))


def describe_estimands(estimands: Iterable[str]) -> str:
    """Describe the estimands that occur; E1 is used where E2 is not possible."""
    parts = [f"{name}: {EXPLAINED[name]}" for name in sorted(set(estimands), reverse=True)]
    return " if the answer to every test row is known, else ".join(parts) or "none"


class TaskEstimate(NamedTuple):
    """The mean of one task in points."""

    values: list[float]  # one per draw
    draws: Estimate  # for other draws
    # for other draws and test rows; None if the answers to single rows are unknown or the test rows
    # differ between draws
    rows: Estimate | None
    corrected: bool  # whether test rows are split anew for each draw, and `draws` is widened for it


def task_score(by_size: RunsBySize) -> TaskEstimate:
    """Estimate the score of a method on one task, over the draws that have all sizes."""
    values = mean_over_sizes([scores_per_draw(runs) for runs in by_size])
    return _estimate(values, _row_table(by_size), _overlap(by_size))


def task_difference(method: RunsBySize, baseline: RunsBySize) -> TaskEstimate:
    """Estimate the difference of two methods on one task from runs that are paired by position."""
    pairs = [
        (scores_per_draw(first), scores_per_draw(second))
        for first, second in zip(method, baseline, strict=True)
    ]
    values = mean_over_sizes(
        [{draw: first[draw] - second[draw] for draw in first} for first, second in pairs]
    )
    table, other = _row_table(method), _row_table(baseline)
    difference = None
    if table is not None and other is not None and table.shape == other.shape:
        difference = table - other
    rounded = list(paired_differences(values, np.zeros(len(values))))
    return _estimate(rounded, difference, _overlap(method))


def _overlap(by_size: RunsBySize) -> float:
    return overlap([run for runs in by_size for run in runs])


def _estimate(values: list[float], table: Array | None, shared: float) -> TaskEstimate:
    return TaskEstimate(
        values=values,
        draws=intervals.over_draws(values, overlap=shared),
        rows=None if table is None else intervals.over_draws_and_rows(np.round(table, DIGITS)),
        corrected=shared > 0,
    )


def _row_table(by_size: RunsBySize) -> Array | None:
    """Return points (draws, n) by draw and test row.

    None if the scores of single rows are unknown or the test rows are not the same in all runs.
    """
    per_size, known = [], None
    for runs in by_size:
        scores: dict[int, list[Array]] = {}
        for run in runs:
            rows = run.row_scores
            labels = np.concatenate(list(run.labels.values())) if run.labels else np.empty(0)
            known = labels if known is None else known
            if rows is None or run.holdout or not np.array_equal(labels, known):
                return None
            scores.setdefault(run.draw, []).append(rows)
        per_size.append({draw: np.mean(seeds, axis=0) for draw, seeds in scores.items()})
    common = sorted(set.intersection(*map(set, per_size))) if per_size else []
    if not common:
        return None
    return 100 * np.array([np.mean([size[draw] for size in per_size], axis=0) for draw in common])


def pooled(
    estimates: Sequence[TaskEstimate], *, sd: float | None = None
) -> tuple[Interval, Estimand]:
    """Return the mean over tasks with its interval: E2 if every task allows it, else E1 for all tasks."""
    e2 = all(task.rows is not None or task.corrected for task in estimates)
    parts = [task.rows if e2 and task.rows is not None else task.draws for task in estimates]
    return intervals.pooled(parts, sd=sd), "E2" if e2 and estimates else "E1"
