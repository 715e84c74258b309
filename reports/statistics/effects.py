"""How large a paired difference is, by ranks and in standard deviations, and whether it is small enough to ignore.

Differences are (n,), first minus second; rounding to nine digits decides what is tied and what is
zero.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.paired_tests import ALPHA, DIGITS, Array, sign_flip, t_interval


class Pseudomedian(NamedTuple):
    """Hodges and Lehmann's estimate with its interval; NaN bounds where the data allow none."""

    value: float
    low: float
    high: float


class Equivalence(NamedTuple):
    """Two one-sided t tests against a margin (Schuirmann 1987)."""

    p: float  # of a difference as large as the margin, or larger
    low: float  # the interval at 1 - 2 alpha
    high: float
    equivalent: bool  # whether it lies within the margin; the same as p below alpha


def hodges_lehmann(values: ArrayLike, *, level: float = 1 - ALPHA) -> Pseudomedian:
    """The median of all pairwise means of (n,), with the interval that inverts the exact signed-rank test.

    The interval's coverage is at least `level`, and higher with ties (Hollander & Wolfe 1999, 3.2
    and 3.4). Six pairs are the fewest that allow one at 95 %.
    """
    array = np.round(np.asarray(values, dtype=np.float64), DIGITS)
    if array.size == 0:
        return Pseudomedian(math.nan, math.nan, math.nan)
    first, second = np.triu_indices(array.size)
    walsh = np.sort((array[first] + array[second]) / 2)
    middle = float(np.median(walsh))
    below = np.cumsum(_signed_rank_null(array.size))  # chance of each sum or less
    cut = int((below <= (1 - level) / 2 + 1e-12).sum())
    if cut == 0:
        return Pseudomedian(middle, math.nan, math.nan)
    return Pseudomedian(middle, float(walsh[cut - 1]), float(walsh[walsh.size - cut]))


def _signed_rank_null(n: int) -> Array:
    """The chance (n (n + 1) / 2 + 1,) of each sum of positive ranks when signs are tossed."""
    chances = np.zeros(n * (n + 1) // 2 + 1)
    chances[0] = 1.0
    for rank in range(1, n + 1):
        shifted = np.concatenate((np.zeros(rank), chances[:-rank]))
        chances = (chances + shifted) / 2
    return chances


def signed_ranks(values: ArrayLike) -> Array:
    """The ranks (n,) of the absolute differences with the signs of the differences (Pratt 1959).

    Zeros are ranked with the rest and then count nothing; ties share the average of their ranks.

    Raises:
        ValueError: a difference is missing.
    """
    array = np.round(np.asarray(values, dtype=np.float64), DIGITS)
    if np.isnan(array).any():
        raise ValueError("a difference that is not a number has no rank")
    sizes, places, counts = np.unique(np.abs(array), return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2 if sizes.size else np.empty(0)
    signed: Array = np.sign(array) * ranks[places]
    return signed


def wilcoxon(values: ArrayLike) -> float:
    """Two-sided p of the signed-rank test of (n,), by flipping the signs of the ranks: exact with ties and zeros."""
    return sign_flip(signed_ranks(values))


def rank_biserial(values: ArrayLike) -> float:
    """The positive less the negative ranks, over both: 1 if no difference is negative; NaN if all are zero (Kerby 2014)."""
    ranks = signed_ranks(values)
    total = float(np.abs(ranks).sum())
    return float(ranks.sum()) / total if total else math.nan


def standardised(values: ArrayLike) -> float:
    """The mean of (n,) in its own standard deviations, d_z; NaN without variance.

    It grows as noise shrinks, whatever the gain is worth: never a headline.
    """
    interval = t_interval(values)
    return interval.mean / interval.sd if interval.sd > 0 else math.nan


def equivalence(values: ArrayLike, *, margin: float, alpha: float = ALPHA) -> Equivalence:
    """Whether the mean of (n,) is within the margin either way: the only ground on which methods are called equal.

    NaN, and not equivalent, where there is no t interval.
    """
    from scipy.special import stdtr

    interval = t_interval(values, level=1 - 2 * alpha)
    if math.isnan(interval.low) or not margin > 0:
        return Equivalence(math.nan, interval.low, interval.high, equivalent=False)
    error = interval.sd / math.sqrt(np.size(values))
    p = float(stdtr(interval.df, (abs(interval.mean) - margin) / error))
    return Equivalence(
        p, interval.low, interval.high, equivalent=-margin < interval.low and interval.high < margin
    )
