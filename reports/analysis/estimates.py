"""What a method scores on one task, or by how much it differs from another there, and how sure that is.

The draws of one size are averaged over their seeds, the sizes of one draw over each other: neither
is evidence of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np

from reports.analysis.paired_runs import Run, over_sizes, overlap, per_draw
from reports.statistics import intervals
from reports.statistics.conventions import DIGITS, Array, paired_differences
from reports.statistics.intervals import Estimate, Interval

Estimand = Literal["E1", "E2"]
EXPLAINED: Final[Mapping[str, str]] = {
    "E1": "these tasks and test rows, other draws",
    "E2": "these tasks, other draws and other test rows",
    "E3": "other tasks",
}
Sized = Sequence[Sequence[Run]]  # the runs of each size


def named(found: Iterable[str]) -> str:
    """Which estimands there are, in short."""
    return " or ".join(sorted(set(found), reverse=True))


def explained(found: Iterable[str]) -> str:
    """Which there are and what they speak of; E1 is for what does not allow E2."""
    parts = [f"{one}: {EXPLAINED[one]}" for one in sorted(set(found), reverse=True)]
    return " where every test row's answer is known, else ".join(parts) or "none"


class TaskEstimate(NamedTuple):
    """One task's mean in points, draw by draw, and as an estimate for other draws, or other draws and test rows."""

    values: list[float]  # one a draw
    draws: Estimate
    rows: (
        Estimate | None
    )  # None: the test rows are not known one by one, or are others in every draw
    # the test rows are split anew for each draw, and the estimate for draws is widened for it
    corrected: bool


def scores(sized: Sized) -> TaskEstimate:
    """What a method scores on one task over the draws that have all sizes."""
    values = over_sizes([per_draw(runs) for runs in sized])
    return _found(values, _table(sized), _overlap(sized))


def differences(mine: Sized, base: Sized) -> TaskEstimate:
    """By how much a method's scores differ from those of its partners, which are in the same order."""
    pairs = [(per_draw(first), per_draw(second)) for first, second in zip(mine, base, strict=True)]
    values = over_sizes(
        [{draw: first[draw] - second[draw] for draw in first} for first, second in pairs]
    )
    here, there = _table(mine), _table(base)
    table = None if here is None or there is None or here.shape != there.shape else here - there
    return _found(list(paired_differences(values, np.zeros(len(values)))), table, _overlap(mine))


def _overlap(sized: Sized) -> float:
    return overlap([run for runs in sized for run in runs])


def _found(values: list[float], table: Array | None, shared: float) -> TaskEstimate:
    rows = intervals.over_draws_and_rows(np.round(table, DIGITS)) if table is not None else None
    return TaskEstimate(values, intervals.over_draws(values, overlap=shared), rows, shared > 0)


def _table(sized: Sized) -> Array | None:
    """Points by draw and test row, as (draws, n); None where the rows are not known or not the same throughout."""
    per_size, labels = [], None
    for runs in sized:
        found: dict[int, list[Array]] = {}
        for run in runs:
            rows = run.row_scores
            right = np.concatenate(list(run.labels.values())) if run.labels else np.empty(0)
            labels = right if labels is None else labels
            if rows is None or run.holdout or not np.array_equal(right, labels):
                return None
            found.setdefault(run.draw, []).append(rows)
        per_size.append({draw: np.mean(each, axis=0) for draw, each in found.items()})
    common = sorted(set.intersection(*map(set, per_size))) if per_size else []
    return (
        100 * np.array([np.mean([size[draw] for size in per_size], axis=0) for draw in common])
        if common
        else None
    )


def pooled(found: Sequence[TaskEstimate], *, sd: float | None = None) -> tuple[Interval, Estimand]:
    """The mean over tasks with its interval: E2 where every task allows it, else E1 for all of them."""
    whole = all(one.rows is not None or one.corrected for one in found)
    parts = [one.rows if whole and one.rows is not None else one.draws for one in found]
    return intervals.pooled(parts, sd=sd), "E2" if whole and found else "E1"
