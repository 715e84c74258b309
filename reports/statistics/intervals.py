"""Confidence intervals of a mean: over draws, and over several tasks."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.conventions import ALPHA, standard_deviation
from reports.statistics.t_test import t_quantile, two_sided_p

SLACK: Final = 1e-6  # rounding error of a mean that lies on a bound


class Interval(NamedTuple):
    """A mean with its interval (95 % by default) in the units of the data; NaN where the data allow none."""

    mean: float
    low: float
    high: float
    sd: float  # of the values; for several strata, of the means of the strata
    df: float
    error: float = math.nan  # standard error of the mean

    @property
    def p(self) -> float:
        """The two-sided p of the same t test for a mean of 0: at most .05 if the interval excludes 0."""
        return two_sided_p(self.mean / self.error, self.df) if self.error > 0 else math.nan

    def within(self, lowest: float, highest: float) -> "Interval":
        """Return the interval cut to the possible values of the mean, which loses no coverage.

        If the mean is outside, these are not the bounds of its values, and the interval stays whole.
        """
        if math.isnan(self.low) or not lowest - SLACK <= self.mean <= highest + SLACK:
            return self
        return self._replace(low=max(self.low, lowest), high=min(self.high, highest))


class Estimate(NamedTuple):
    """A mean, the variance of that mean, and the degrees of freedom of the variance.

    Variance and degrees of freedom are NaN if there are too few values.
    """

    mean: float
    variance: float
    df: float
    by_draw: float = math.nan  # the part of the variance that falls with more draws
    groups: float = (
        math.inf
    )  # effective number of groups of test rows that carry the variance over rows


def over_draws(values: ArrayLike, *, overlap: float = 0.0) -> Estimate:
    """Estimate the mean of `values` (draws,).

    Args:
        values: One per draw.
        overlap: Number of test rows divided by that of the other rows, from which training rows are drawn, if
            rows are split anew for each value, else 0. Such values share rows, and the variance of their mean is
            s² (1/n + overlap) (Nadeau & Bengio 2003).
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2:
        return Estimate(float(array.mean()) if array.size else math.nan, math.nan, math.nan)
    by_draw = standard_deviation(array) ** 2 / array.size
    variance = by_draw * (1 + array.size * overlap)
    return Estimate(float(array.mean()), variance, array.size - 1, by_draw)


def t_interval(values: ArrayLike, *, overlap: float = 0.0, level: float = 1 - ALPHA) -> Interval:
    """Return the mean of (n,) with its t interval; the bounds are NaN for n < 2 and without variance."""
    array = np.asarray(values, dtype=np.float64)
    return pooled([over_draws(array, overlap=overlap)], sd=standard_deviation(array), level=level)


def pooled(
    strata: Sequence[Estimate], *, sd: float | None = None, level: float = 1 - ALPHA
) -> Interval:
    """Return the unweighted mean of several estimates with its t interval.

    Degrees of freedom by Satterthwaite (1946).

    Args:
        strata: One estimate per task.
        sd: The standard deviation that the interval shows; that of the estimates by default.
        level: Confidence level.
    """
    if not strata or any(math.isnan(part.mean) for part in strata):
        return Interval(math.nan, math.nan, math.nan, math.nan, math.nan)
    means = np.array([part.mean for part in strata])
    mean, shown_sd = float(means.mean()), standard_deviation(means) if sd is None else sd
    parts = np.array([part.variance for part in strata]) / len(strata) ** 2
    total = float(parts.sum())
    if not total > 0:
        return Interval(mean, math.nan, math.nan, shown_sd, math.nan)
    shares = parts / total  # divided before squaring, because tiny variances would vanish
    df = 1 / float(
        sum(share**2 / part.df for share, part in zip(shares, strata, strict=True) if share)
    )
    error = math.sqrt(total)
    half = t_quantile(df, (1 + level) / 2) * error
    return Interval(mean, mean - half, mean + half, shown_sd, df, error)
