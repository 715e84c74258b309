"""Confidence intervals of a mean: over draws, over draws and test rows, and over several tasks."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.conventions import ALPHA, standard_deviation
from reports.statistics.t_test import t_quantile, two_sided_p


class Interval(NamedTuple):
    """A mean with its 95 % interval, in the units of the data; NaN where the data allow none."""

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
        """Return the interval cut to the possible values of the mean, which loses no coverage."""
        if math.isnan(self.low):
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


def over_draws(values: ArrayLike, *, overlap: float = 0.0) -> Estimate:
    """Estimate the mean of `values` (draws,).

    Args:
        values: One per draw.
        overlap: Number of test rows divided by number of training rows if both are split anew for
            each value, else 0. Such values share rows, and the variance of their mean is
            s² (1/n + overlap) (Nadeau & Bengio 2003).
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2:
        return Estimate(float(array.mean()) if array.size else math.nan, math.nan, math.nan)
    by_draw = standard_deviation(array) ** 2 / array.size
    variance = by_draw * (1 + array.size * overlap)
    return Estimate(float(array.mean()), variance, array.size - 1, by_draw)


def over_draws_and_rows(table: ArrayLike) -> Estimate:
    """Estimate the mean of `table` (draws, test rows) if both draws and rows are samples.

    The model has an effect of the draw, an effect of the row and a residual. Each mean square
    estimates the sum of its own variance and the residual's, so the variance of the mean is that
    over draws plus that over rows minus the residual's, which the first two both contain (Searle,
    Casella & McCulloch 1992, section 4.5). It is never less than the larger of the first two.
    Degrees of freedom by Satterthwaite (1946) over the three mean squares, and never fewer than
    those of the draws or of the rows alone.
    """
    array = np.asarray(table, dtype=np.float64)
    draws, rows = array.shape
    if draws < 2 or rows < 2:
        return Estimate(float(array.mean()) if array.size else math.nan, math.nan, math.nan)
    mean, draw_means, row_means = array.mean(), array.mean(axis=1), array.mean(axis=0)
    by_draw = standard_deviation(draw_means) ** 2 / draws
    by_row = standard_deviation(row_means) ** 2 / rows
    rest = array - draw_means[:, None] - row_means + mean  # (draws, rows)
    cells = (draws - 1) * (rows - 1)
    residual = float(np.square(rest).sum()) / cells / array.size
    total = max(by_draw + by_row - residual, by_draw, by_row)
    if total == 0:
        return Estimate(float(mean), 0.0, math.nan, 0.0)
    # Divided by the total first, because the squares of tiny variances would vanish.
    parts = (by_draw / total) ** 2 / (draws - 1) + (by_row / total) ** 2 / (rows - 1)
    df = max(1 / (parts + (residual / total) ** 2 / cells), min(draws, rows) - 1)
    return Estimate(float(mean), total, df, by_draw)


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
