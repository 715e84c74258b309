"""On how many tasks one method beats another, as a count that may be claimed (Dror et al. 2017).

The count is a lower bound: with a chance of 95 % the effect is there on that many tasks at least.
It says less than a list of tasks would, and can therefore be larger than the list that Holm's
method allows.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.paired_tests import ALPHA, Array, holm

Combination = Literal["bonferroni", "fisher"]


class Replicability(NamedTuple):
    """The tasks with an effect in one direction."""

    tasks: int
    bonferroni: int  # at least so many, however the tasks depend on each other
    fisher: int  # at least so many, if the tasks are independent
    named: tuple[int, ...]  # which, as far as Holm's method can tell


class Directions(NamedTuple):
    """Where the first method is ahead, and where it is behind; each claim has its own error."""

    ahead: Replicability
    behind: Replicability


def partial_conjunction(p: ArrayLike, combination: Combination = "bonferroni") -> Array:
    """For u = 1..tasks, the p (tasks,) of an effect on fewer than u tasks, given one-sided p (tasks,).

    Combines all but the u - 1 smallest p; never falls with u.
    """
    from scipy.special import chdtrc

    values = np.sort(np.asarray(p, dtype=np.float64))
    left = np.arange(values.size, 0, -1)
    if combination == "bonferroni":
        combined = np.minimum(left * values, 1.0)
    else:
        with np.errstate(divide="ignore"):
            logs = np.cumsum(np.log(values)[::-1])[::-1]
        combined = chdtrc(2 * left, -2 * logs)
    return np.maximum.accumulate(combined) if values.size else values


def replicability(p: ArrayLike, *, alpha: float = ALPHA) -> Replicability:
    """What one-sided p (tasks,), small for an effect, allow to claim; a task without a p (NaN) shows no effect."""
    values = np.asarray(p, dtype=np.float64)
    values = np.where(np.isnan(values), 1.0, values)
    return Replicability(
        tasks=values.size,
        bonferroni=int((partial_conjunction(values) <= alpha).sum()),
        fisher=int((partial_conjunction(values, "fisher") <= alpha).sum()),
        named=tuple(int(task) for task in np.flatnonzero(holm(values) <= alpha)),
    )


def directions(
    tasks: Sequence[ArrayLike], overlaps: Sequence[float] | None = None, *, alpha: float = ALPHA
) -> Directions:
    """Both counts from the paired differences (draws,) of each task, first minus second, by one-sided t tests.

    `overlaps` is by task what `statistics.over_draws` calls so; none where test sets are fixed.
    """
    p = [
        one_sided(values, overlap=o)
        for values, o in zip(tasks, overlaps or [0.0] * len(tasks), strict=True)
    ]
    return Directions(
        ahead=replicability([ahead for ahead, _ in p], alpha=alpha),
        behind=replicability([behind for _, behind in p], alpha=alpha),
    )


def one_sided(values: ArrayLike, *, overlap: float = 0.0) -> tuple[float, float]:
    """The p that the mean of (n,) is not above zero, and that it is not below, by t; NaN without variance."""
    from scipy.special import stdtr

    array = np.asarray(values, dtype=np.float64)
    sd = float(array.std(ddof=1)) if array.size > 1 else math.nan
    if not sd > 1e-9:
        return math.nan, math.nan
    statistic = float(array.mean()) / (sd * math.sqrt(1 / array.size + overlap))
    return float(stdtr(array.size - 1, -statistic)), float(stdtr(array.size - 1, statistic))
