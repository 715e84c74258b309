"""Rank correlations with intervals and p over independent units: tasks, not runs or cells.

Values are rounded to nine digits before they are ranked, as everywhere in these reports.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reports.statistics import intervals
from reports.statistics.conventions import ALPHA, DIGITS, Array, ranks_of
from reports.statistics.sign_flip import sign_flip, smallest_p

EXACT: Final = 8  # number of points up to which all orders are counted: 40,320
ORDERS: Final = 9_999  # number of sampled orders for more points
FEWEST: Final = 3  # points of a cell: two points can only agree or disagree


class Correlation(NamedTuple):
    """A rank correlation with its 95 % interval and two-sided p; NaN if the data allow none."""

    rho: float
    low: float
    high: float
    p: float
    n: int  # independent units
    smallest: float  # the smallest p that these units and their ties allow


NONE: Final = Correlation(math.nan, math.nan, math.nan, math.nan, 0, math.nan)


def rho(first: ArrayLike, second: ArrayLike) -> float:
    """Return Spearman's correlation of (n,) and (n,), NaN without variance."""
    x, y = _centred(first), _centred(second)
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(np.clip(x @ y / scale, -1, 1)) if scale > 0 else math.nan


def _centred(values: ArrayLike) -> Array:
    """Return ranks (n,) minus their mean; ties share the average rank."""
    array = np.round(np.asarray(values, dtype=np.float64), DIGITS)
    return ranks_of(array) - (array.size + 1) / 2


Points = tuple[ArrayLike, ArrayLike]  # two values of each point, (n,) and (n,)


def within(tasks: Sequence[Sequence[Points]], *, fewest: int = FEWEST) -> Correlation:
    """Return the mean over tasks of the rank correlations within their cells.

    Cells with fewer than `fewest` points or a constant side are left out. The cells of a task are
    averaged first, so the unit is the task. The interval is a t interval over tasks, cut at -1 and
    1. The test is an exact sign flip over tasks: if the two sides are independent, a correlation and
    its negative are equally likely.
    """
    values = [[rho(x, y) for x, y in cells if np.size(x) >= fewest] for cells in tasks]
    known = [[value for value in cells if not math.isnan(value)] for cells in values]
    means = np.array([np.mean(cells) for cells in known if cells])
    if not means.size:
        return NONE
    mean, low, high, *_ = intervals.t_interval(means)
    p, least = math.nan, math.nan
    if means.size > 1:
        p, least = (
            sign_flip(means),
            smallest_p(int(np.count_nonzero(np.round(means, DIGITS)))),
        )
    return Correlation(mean, max(low, -1.0), min(high, 1.0), p, int(means.size), least)


def over(first: ArrayLike, second: ArrayLike) -> Correlation:
    """Return the rank correlation over independent points (n,); points with a NaN are left out.

    The p is that of a permutation test: exact up to `EXACT` points, else (b + 1) / (B + 1) over
    orders from a fixed stream. The interval, for at least four points, is Bonett and Wright's (2000).
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (first, second))
    both = np.isfinite(x) & np.isfinite(y)
    value, n = rho(x[both], y[both]), int(both.sum())
    if math.isnan(value):
        return NONE._replace(n=n)
    p, least = _p(x[both], y[both])
    return Correlation(value, *interval(value, n), p, n, least)


def interval(value: float, n: int, *, level: float = 1 - ALPHA) -> tuple[float, float]:
    """Return the interval of Spearman's correlation (Bonett and Wright 2000); NaN for fewer than four points.

    It is Fisher's z interval with the variance (1 + r² / 2) / (n - 3). The interval of a correlation
    of 1 would have no width. Its upper bound is 1, and its lower bound is that of the greatest value
    below 1 that ranks without ties can give.
    """
    from scipy.special import ndtri  # scipy.stats would cost a second at start

    if n < 4:
        return math.nan, math.nan
    near = min(abs(value), 1 - 12 / (n * (n * n - 1)))
    half = float(ndtri((1 + level) / 2)) * math.sqrt((1 + near**2 / 2) / (n - 3))
    low, high = (
        math.tanh(math.atanh(near) - half),
        1.0 if near < abs(value) else math.tanh(math.atanh(near) + half),
    )
    return (low, high) if value >= 0 else (-high, -low)


def _p(x: Array, y: Array) -> tuple[float, float]:
    """Return the p of x (n,) and y (n,), and the smallest p of any order (by the rearrangement inequality)."""
    first, second = _centred(x), _centred(y)
    sums = np.abs(second[_orders(second.size)] @ first)
    upward, downward = np.sort(second) @ np.sort(first), np.sort(second)[::-1] @ np.sort(first)
    most = max(float(upward), -float(downward))
    return _share(sums, abs(float(first @ second)), second.size), _share(sums, most, second.size)


def _share(sums: Array, least: float, n: int) -> float:
    extreme = int((sums >= least - 1e-9).sum())
    return extreme / len(sums) if n <= EXACT else (extreme + 1) / (len(sums) + 1)


@lru_cache(maxsize=16)
def _orders(n: int) -> NDArray[np.intp]:
    """Return orders (m, n) of n items: all of them up to `EXACT` items, else a sample from a fixed stream."""
    if n <= EXACT:
        return np.array(list(permutations(range(n))), dtype=np.intp)
    rng = np.random.default_rng(0)
    return rng.permuted(np.tile(np.arange(n), (ORDERS, 1)), axis=1)
