"""Student's t: the quantile and the test."""

import math

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.conventions import standard_deviation


def t_quantile(df: float, probability: float) -> float:
    """Return the quantile of Student's t with `df` degrees of freedom."""
    from scipy.special import stdtrit  # importing scipy.stats would take one second

    return float(stdtrit(df, probability))


def two_sided_p(statistic: float, df: float) -> float:
    """Return the two-sided p of a t statistic with `df` degrees of freedom."""
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(statistic)))


def t_test(values: ArrayLike, *, overlap: float = 0.0) -> float:
    """Return the two-sided p that the mean of (n,) is zero, for normal values.

    Args:
        values: Paired differences.
        overlap: As in `intervals.over_draws`.

    Returns:
        NaN for fewer than two values or without variance.
    """
    array = np.asarray(values, dtype=np.float64)
    sd = standard_deviation(array)
    if not sd > 0:
        return math.nan
    statistic = float(array.mean()) / (sd * math.sqrt(1 / array.size + overlap))
    return two_sided_p(statistic, array.size - 1)
