"""Estimates and tests: pure functions on arrays, each with its shapes and its source.

Differences are rounded to nine digits before anything is ranked, flipped or counted: scores are
quotients of small integers, and their last bits would decide which differences are tied.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

DIGITS: Final = 9
EXACT: Final = 20  # pairs up to which all sign vectors are counted
FLIPS: Final = 99_999  # sign vectors drawn above that
ALPHA: Final = 0.05


class Interval(NamedTuple):
    """A mean with its 95 % interval, in the units of the data; NaN where the data allow none."""

    mean: float
    low: float
    high: float
    sd: float  # of the values; for several strata, of the strata's means
    df: float


def differences(first: ArrayLike, second: ArrayLike) -> Array:
    """`first - second`, both (n,), rounded so that equal differences are equal."""
    return np.round(
        np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64), DIGITS
    )


def sign_flip(values: ArrayLike) -> float:
    """Two-sided p that paired differences (n,) are symmetric about zero, by flipping their signs (Fisher 1935).

    Exact up to `EXACT` pairs: the sums of all sign vectors of one half meet those of the other
    half, in whole numbers. Above that, (b + 1) / (B + 1) over B random sign vectors from a fixed
    stream. NaN for no pairs.

    Raises:
        ValueError: a difference is not a finite number.
    """
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("differences must be finite numbers")
    largest = max(
        1.0, float(np.abs(array).max(initial=0)) / 1e6
    )  # nine digits of more than a million would not fit
    units = np.rint(array / largest * 10**DIGITS).astype(np.int64)
    if units.size == 0:
        return math.nan
    bound = abs(int(units.sum())) - units.size  # each value was rounded by up to half a unit
    if units.size > EXACT:
        return _sampled(units, bound)
    left, right = _sums(units[: units.size // 2]), np.sort(_sums(units[units.size // 2 :]))
    above = right.size - np.searchsorted(right, bound - left, side="left")
    below = np.searchsorted(right, -bound - left, side="right")
    extreme = int(above.sum() + below.sum()) if bound > 0 else left.size * right.size
    return extreme / (left.size * right.size)


def _sums(units: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sums (2**n,) of all sign vectors of (n,)."""
    sums = np.zeros(1, dtype=np.int64)
    for unit in units:
        sums = np.concatenate((sums + unit, sums - unit))
    return sums


def _sampled(units: NDArray[np.int64], bound: int) -> float:
    """Eight signs at a time are a byte, and the sums of eight values for all bytes a table of 256."""
    sums = np.zeros(FLIPS, dtype=np.int64)
    for start, octet in zip(range(0, units.size, 8), _octets(-(-units.size // 8)), strict=True):
        sums += _sums(units[start : start + 8])[octet & ((1 << min(8, units.size - start)) - 1)]
    return (int((np.abs(sums) >= bound).sum()) + 1) / (FLIPS + 1)


@lru_cache(maxsize=4)  # the comparisons of a report have the same few numbers of pairs
def _octets(count: int) -> tuple[NDArray[np.uint8], ...]:
    """Random signs, `(FLIPS,)` bytes of eight each; from a fixed stream, so that the same data give the same report."""
    rng = np.random.default_rng(0)
    return tuple(rng.integers(0, 256, size=FLIPS, dtype=np.uint8) for _ in range(count))


def smallest(n: int) -> float:
    """The smallest two-sided p that flipping `n` signs can give; differences of zero have none to flip."""
    return min(1.0, 2.0 ** (1 - n) if n <= EXACT else 1 / (FLIPS + 1))


class Estimate(NamedTuple):
    """A mean, the variance of that mean, and the degrees of freedom of the variance; NaN where there is no variance."""

    mean: float
    variance: float
    df: float


def over_draws(values: ArrayLike, *, overlap: float = 0.0) -> Estimate:
    """The mean of (draws,) for a fixed test set.

    `overlap` is the rows tested over the rows trained on when both are split anew for each value:
    the values then share rows, and their variance is s² (1/n + overlap) (Nadeau & Bengio 2003). 0
    for a fixed test set.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2:
        return Estimate(float(array.mean()) if array.size else math.nan, math.nan, math.nan)
    return Estimate(
        float(array.mean()), spread(array) ** 2 * (1 / array.size + overlap), array.size - 1
    )


def over_draws_and_rows(table: ArrayLike) -> Estimate:
    """The mean of (draws, test rows) where both draws and rows might have been others.

    Two-way clustering: the variance over draws plus that over rows less that over both, which the
    two others count twice (Cameron, Gelbach & Miller 2011); never less than the greater of the
    first two. Degrees of freedom by Satterthwaite.
    """
    array = np.asarray(table, dtype=np.float64)
    draws, rows = array.shape
    if draws < 2 or rows < 2:
        return Estimate(float(array.mean()) if array.size else math.nan, math.nan, math.nan)
    by_draw, by_row = (
        spread(array.mean(axis=1)) ** 2 / draws,
        spread(array.mean(axis=0)) ** 2 / rows,
    )
    both = float(array.var(ddof=1)) / array.size
    total = max(by_draw + by_row - both, by_draw, by_row)
    if total == 0:
        return Estimate(float(array.mean()), 0.0, math.nan)
    df = (by_draw + by_row) ** 2 / (by_draw**2 / (draws - 1) + by_row**2 / (rows - 1))
    return Estimate(float(array.mean()), total, df)


def t_interval(values: ArrayLike, *, overlap: float = 0.0, level: float = 1 - ALPHA) -> Interval:
    """The mean of (n,) with its t interval; none for fewer than two values, and none for values without variance."""
    array = np.asarray(values, dtype=np.float64)
    return pooled([over_draws(array, overlap=overlap)], sd=spread(array), level=level)


def pooled(
    strata: Sequence[Estimate], *, sd: float | None = None, level: float = 1 - ALPHA
) -> Interval:
    """The unweighted mean of several estimates with its t interval, degrees of freedom by Satterthwaite (1946).

    `sd` is what the interval shows as the spread; that of the estimates if it is not given.
    """
    if not strata or any(math.isnan(part.mean) for part in strata):
        return Interval(math.nan, math.nan, math.nan, math.nan, math.nan)
    means = np.array([part.mean for part in strata])
    mean, around = float(means.mean()), spread(means) if sd is None else sd
    parts = np.array([part.variance for part in strata]) / len(strata) ** 2
    total = float(parts.sum())
    if not total > 0:
        return Interval(mean, math.nan, math.nan, around, math.nan)
    shares = parts / total  # before squaring: tiny variances would vanish
    df = 1 / float(
        sum(share**2 / part.df for share, part in zip(shares, strata, strict=True) if share)
    )
    half = quantile(df, (1 + level) / 2) * math.sqrt(total)
    return Interval(mean, mean - half, mean + half, around, df)


def spread(values: ArrayLike) -> float:
    """The standard deviation of (n,); exactly 0 for values that differ by rounding only, NaN for fewer than two."""
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2:
        return math.nan
    sd = float(array.std(ddof=1))
    return sd if sd > 10.0**-DIGITS else 0.0


def quantile(df: float, probability: float) -> float:
    """The quantile of Student's t."""
    from scipy.special import stdtrit  # scipy.stats would cost a second at start

    return float(stdtrit(df, probability))


def t_test(values: ArrayLike, *, overlap: float = 0.0) -> float:
    """Two-sided p that the mean of (n,) is zero, assuming normal values; NaN where there is no interval."""
    from scipy.special import stdtr

    array = np.asarray(values, dtype=np.float64)
    sd = spread(array)
    if not sd > 0:
        return math.nan
    statistic = float(array.mean()) / (sd * math.sqrt(1 / array.size + overlap))
    return float(2 * stdtr(array.size - 1, -abs(statistic)))


def holm(p: ArrayLike) -> Array:
    """Adjusted p (m,) that bound the chance of any false rejection, under any dependence (Holm 1979)."""
    raw = np.asarray(p, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    steps = np.maximum.accumulate(raw[order] * np.arange(raw.size, 0, -1)) if raw.size else raw
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> Array:
    """Adjusted p (m,) that bound the expected share of false rejections (Benjamini & Hochberg 1995)."""
    raw = np.asarray(p, dtype=np.float64)
    order = np.argsort(raw, kind="stable")[::-1]
    steps = (
        np.minimum.accumulate(raw[order] * raw.size / np.arange(raw.size, 0, -1))
        if raw.size
        else raw
    )
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted
