"""The equivalence test: whether a mean difference is small enough to ignore."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.conventions import ALPHA
from reports.statistics.intervals import t_interval


class Equivalence(NamedTuple):
    """Result of two one-sided t tests against a margin (Schuirmann 1987)."""

    p: float  # of a difference as large as the margin, or larger
    low: float  # bounds of the interval at confidence 1 - 2 alpha
    high: float
    equivalent: bool  # whether that interval lies within the margin; the same decision as p < alpha


def equivalence(values: ArrayLike, *, margin: float, alpha: float = ALPHA) -> Equivalence:
    """Test whether the mean of `values` (n,) lies within the margin on either side of 0.

    This is the only ground on which a report calls two methods equal. Without a t interval p is NaN
    and the result is not equivalent.
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
