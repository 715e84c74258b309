"""Confidence intervals of a mean: over draws, over draws and test rows, and over several tasks."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.conventions import ALPHA, standard_deviation
from reports.statistics.t_test import t_quantile, two_sided_p

EVEN: Final = 0.75  # effective groups per group, below which their sizes are uneven
SLACK: Final = 1e-6  # rounding error of a mean that lies on a bound
# Quantile of the chi-square distribution that bounds the variance over draws from above. With .2, p at
# most .05 / 10 are as frequent as they should be with five draws; without, up to 2.3 times as frequent.
LOW_QUANTILE: Final = 0.2


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
        """Return the interval cut to the possible values of the mean, which loses no coverage.

        A mean outside these bounds shows that they are not its own, and the interval stays whole.
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


def over_draws_and_rows(
    table: ArrayLike, groups: ArrayLike | None = None, *, uneven: bool = False
) -> Estimate:
    """Estimate the mean over draws of `table` (draws, rows) if both draws and rows are samples.

    The variance of the mean has two parts: that of the means of the draws, divided by their number,
    and the covariance that two draws have because they are tested on the same rows. Residuals are
    summed within groups of rows first, because rows of a group are not independent. With every row
    in every draw and no groups, this is the estimate from the three mean squares of the crossed
    design (Searle, Casella & McCulloch 1992, section 4.5). The variance is never less than that over
    draws alone or that over rows alone. Degrees of freedom by Satterthwaite (1946) over the three
    mean squares, from the 80 % upper bound of the variance over draws, and never fewer than those of
    the draws or of the groups alone.

    Args:
        table: Points; NaN where a draw was not tested on a row.
        groups: The group (rows,) of each row; None: every row is independent of the others.
        uneven: Whether few groups can carry most of the variance over rows, which groups of uneven sizes
            always can. Then its degrees of freedom count the groups by their squared influences ψ²:
            (Σψ²)² / Σψ⁴.
    """
    array = np.asarray(table, dtype=np.float64)
    tested = ~np.isnan(array)
    counts = tested.sum(axis=1)
    draws = len(array)
    means = np.nansum(array, axis=1) / counts if array.size else np.empty(0)
    mean = float(means.mean()) if draws else math.nan
    rest = np.where(tested, array - means[:, None], 0.0) / counts[:, None]  # (draws, rows)
    members = np.arange(array.shape[1]) if groups is None else np.asarray(groups)
    names, place = np.unique(members[tested.any(axis=0)], return_inverse=True)
    n = len(names)
    if draws < 2 or n < 2:
        return Estimate(mean, math.nan, math.nan)
    sums = np.zeros((n, draws))  # of the residuals of each group
    np.add.at(sums, place, rest[:, tested.any(axis=0)].T)
    over_all = float(np.square(sums.sum(axis=1)).sum())
    scale = n / (n - 1)
    known = effective_number(members[tested.any(axis=0)])
    # A few large groups carry most of the variance if the rows of a group differ alike.
    if (uneven or known < EVEN * n) and over_all > 0:
        shares = np.square(sums.sum(axis=1)) / over_all
        known = min(known, float(1 / np.square(shares).sum()))
    by_draw = standard_deviation(means) ** 2 / draws
    by_row = scale * over_all / draws**2
    shared = scale * (over_all - float(np.square(sums).sum())) / (draws * (draws - 1))
    total = max(by_draw + shared, by_draw, by_row)
    if total == 0:
        return Estimate(mean, 0.0, math.nan, 0.0, known)
    cells = max(int(tested.sum()) - draws - int(tested.any(axis=0).sum()) + 1, 1)
    # A variance over draws that is too small by chance would also give too many degrees of freedom, and
    # both together too many small p. So they are those that follow from an upper bound of that variance.
    bound = by_draw * (draws - 1) / _chi_square_quantile(draws - 1, LOW_QUANTILE)
    most = max(bound + shared, bound, by_row)
    # Divided by the total first, because the squares of tiny variances would vanish.
    parts = (bound / most) ** 2 / (draws - 1) + (by_row / most) ** 2 / max(known - 1, 1)
    df = 1 / (parts + ((by_row - shared) / most) ** 2 / cells)
    return Estimate(mean, total, max(df, min(draws - 1, known - 1, n - 1), 1), by_draw, known)


def _chi_square_quantile(df: int, p: float) -> float:
    from scipy.special import gammaincinv

    return 2 * float(gammaincinv(df / 2, p))


def effective_number(groups: ArrayLike) -> float:
    """Return how many groups of equal size vary as much as these groups (rows,) of unequal size."""
    sizes = np.unique(np.asarray(groups), return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / np.square(sizes).sum()) if sizes.size else 0.0


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
