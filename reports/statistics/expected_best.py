"""The expected best of n values: what a study reports that trains n times and keeps the best run."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def expected_best(values: ArrayLike, n: int, *, of: ArrayLike | None = None) -> float:
    """Return the expected maximum of `n` of the `values` (N,), drawn without replacement.

    The estimate is unbiased. The estimate of Dodge et al. (2019) draws with replacement and is too
    low. Equal values are equally likely to be kept.

    Args:
        values: For example the dev scores of N runs.
        n: Number of values drawn.
        of: (N,) what to return the expectation of, for the drawn item with the largest value: for
            example its test score. `values` itself by default.

    Returns:
        NaN if `n` is less than 1 or more than N.
    """
    array = np.asarray(values, dtype=np.float64)
    if not 1 <= n <= array.size:
        return math.nan
    distinct, group, sizes = np.unique(array, return_inverse=True, return_counts=True)
    kept: NDArray[np.float64] = (
        distinct
        if of is None
        else np.bincount(group, weights=np.asarray(of, dtype=np.float64)) / sizes
    )
    places = np.arange(1, array.size + 1)
    # Ratios of successive binomial coefficients C(place - 1, n - 1), from the last place down.
    ratios = np.maximum(places[:0:-1] - n, 0) / (places[:0:-1] - 1)
    weights = n / array.size * np.concatenate([[1.0], np.cumprod(ratios)])[::-1]
    return float(weights @ np.repeat(kept, sizes))
