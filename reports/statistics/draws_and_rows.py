"""The mean of a score or a difference if both draws and test rows are samples, with its variance."""

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.conventions import standard_deviation
from reports.statistics.intervals import Estimate

EVEN: Final = 0.75  # effective number of groups divided by their number; below it, their sizes count as uneven
# Probability of the chi-square quantile that bounds the variance over draws from above. With this bound,
# false p of at most .005 (.05 by Holm over ten comparisons) are as frequent as they should be with five
# draws; without the bound, up to 2.3 times as frequent.
LOW_QUANTILE: Final = 0.2


def estimate(
    table: ArrayLike, groups: ArrayLike | None = None, *, uneven: bool = False
) -> Estimate:
    """Estimate the mean over draws of `table` (draws, rows) if both draws and rows are samples.

    The variance of the mean has two parts: that of the means of the draws, divided by their number,
    and the covariance that two draws have because they are tested on the same rows. Residuals are
    summed within groups of rows first, because rows of a group are not independent. With every row
    in every draw and no groups, this is the estimate from the three mean squares of the crossed
    design (Searle, Casella & McCulloch 1992, section 4.5). The variance is never less than that over
    draws alone or that over rows alone. Degrees of freedom by Satterthwaite (1946) over the three
    mean squares, from the 80 % upper bound of the variance over draws, and never fewer than the smaller
    of the two numbers for the draws alone and for the groups alone.

    Args:
        table: Points; NaN where a draw was not tested on a row.
        groups: The group (rows,) of each row; None: every row is independent of the others.
        uneven: Whether few groups can carry most of the variance over rows even if all groups have the same
            size. Then, or if their sizes are uneven, the degrees of freedom of that variance count the groups
            as at most (Σψ²)² / Σψ⁴, where ψ is the sum of a group's residuals over all draws.
    """
    array = np.asarray(table, dtype=np.float64)
    tested = ~np.isnan(array)
    counts = tested.sum(axis=1)
    draws = len(array)
    means = np.nansum(array, axis=1) / counts if array.size else np.empty(0)
    mean = float(means.mean()) if draws else math.nan
    rest = np.where(tested, array - means[:, None], 0.0) / counts[:, None]  # (draws, rows)
    present = tested.any(axis=0)
    members = (np.arange(array.shape[1]) if groups is None else np.asarray(groups))[present]
    names, place = np.unique(members, return_inverse=True)
    n = len(names)
    if draws < 2 or n < 2:
        return Estimate(mean, math.nan, math.nan)
    sums = np.zeros((n, draws))  # of the residuals of each group
    if n < len(members):
        np.add.at(sums, place, rest[:, present].T)
    else:
        sums[place] = rest[:, present].T
    over_all = float(np.square(sums.sum(axis=1)).sum())
    scale = n / (n - 1)
    known = effective_number(members) if n < len(members) else float(n)
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
    cells = max(int(tested.sum()) - draws - int(present.sum()) + 1, 1)
    # A variance over draws that is too small by chance would also give too many degrees of freedom, and
    # both together too many small p. So the degrees of freedom follow from an upper bound of that variance.
    bound = by_draw * (draws - 1) / _chi_square_quantile(draws - 1, LOW_QUANTILE)
    most = max(bound + shared, bound, by_row)
    # Divided by `most` first, because the squares of tiny variances would vanish.
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
