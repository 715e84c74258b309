"""Student's t: the quantile and the test."""

import math

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.conventions import standard_deviation


def t_quantile(df: float, probability: float) -> float:
    """Return the quantile of Student's t with `df` degrees of freedom."""
    from scipy.special import stdtrit  # importing scipy.stats would take one second

    return float(stdtrit(df, probability))


def t_test(values: ArrayLike, *, overlap: float = 0.0) -> float:
    """Return the two-sided p that the mean of (n,) is zero, for normal values.

    Args:
        values: Paired differences.
        overlap: As in `intervals.over_draws`.

    Returns:
        NaN for fewer than two values or without variance.
    """
    from scipy.special import stdtr

    array = np.asarray(values, dtype=np.float64)
    sd = standard_deviation(array)
    if not sd > 0:
        return math.nan
    statistic = float(array.mean()) / (sd * math.sqrt(1 / array.size + overlap))
    return float(2 * stdtr(array.size - 1, -abs(statistic)))
