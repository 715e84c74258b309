"""Conventions of all statistics: the significance level, and how differences are rounded.

Differences are rounded to nine digits before they are ranked, flipped or counted: scores are
quotients of small integers, and their last bits would otherwise decide which differences are tied.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

DIGITS: Final = 9
ALPHA: Final = 0.05
TIE: Final = 1e-6  # points: scores that are closer are equal


def paired_differences(first: ArrayLike, second: ArrayLike) -> Array:
    """Return `first - second`, both (n,), rounded so that equal differences compare equal."""
    return np.round(
        np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64), DIGITS
    )


def without_ties(differences: ArrayLike) -> Array:
    """Return differences (n,) in points, in which those below `TIE` are exactly 0."""
    array = np.round(np.asarray(differences, dtype=np.float64), DIGITS)
    return np.where(np.abs(array) < TIE, 0.0, array)


def tied_scores(scores: ArrayLike) -> Array:
    """Return scores (n,) in points, in which neighbours closer than `TIE` have the same value."""
    array = np.asarray(scores, dtype=np.float64)
    order = np.argsort(array)
    group = np.cumsum(np.diff(array[order], prepend=-np.inf) >= TIE) - 1
    starts = np.unique(group, return_index=True)[1]
    tied = np.empty_like(array)
    tied[order] = array[order][starts][group]
    return tied


def ranks_of(values: ArrayLike) -> Array:
    """Return the ranks (n,) of values (n,), from 1 upwards; ties share the average of their ranks."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def standard_deviation(values: ArrayLike) -> float:
    """Return the standard deviation of (n,); exactly 0 if values differ by rounding only, NaN for n < 2."""
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2:
        return math.nan
    sd = float(array.std(ddof=1))
    return sd if sd > 10.0**-DIGITS else 0.0
