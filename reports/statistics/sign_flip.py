"""The sign-flip test of paired differences."""

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reports.statistics.conventions import ALPHA, DIGITS

EXACT_PAIRS: Final = 20  # up to this many pairs all sign vectors are counted
SIGN_VECTORS: Final = 99_999  # number of random sign vectors for more pairs


def sign_flip(values: ArrayLike) -> float:
    """Return the two-sided p value of paired differences (n,) for the hypothesis that they are symmetric about zero.

    Source: Fisher 1935.

    Up to `EXACT_PAIRS` pairs the p is exact: the sums of all sign vectors of one half of the pairs are
    combined with those of the other half, in integers. For more pairs the p is (b + 1) / (B + 1) over B
    random sign vectors from a fixed stream, of which b give a sum as extreme as that of the data. NaN without pairs.

    Raises:
        ValueError: A difference is not a finite number.
    """
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("differences must be finite numbers")
    # If a difference is above one million, scale all down, or sums in units of 10^-DIGITS might not fit into int64.
    scale = max(1.0, float(np.abs(array).max(initial=0)) / 1e6)
    units = np.rint(array / scale * 10**DIGITS).astype(np.int64)
    if units.size == 0:
        return math.nan
    # Rounding moves each value by up to half a unit, so two equal sums of n values can then differ by n units.
    bound = abs(int(units.sum())) - units.size
    if units.size > EXACT_PAIRS:
        return _sampled_p(units, bound)
    left, right = _sums(units[: units.size // 2]), np.sort(_sums(units[units.size // 2 :]))
    above = right.size - np.searchsorted(right, bound - left, side="left")
    below = np.searchsorted(right, -bound - left, side="right")
    # With a bound of 0 or less every sum is extreme, and those around 0 would be counted twice.
    extreme = int(above.sum() + below.sum()) if bound > 0 else left.size * right.size
    return extreme / (left.size * right.size)


def sign_flip_interval(values: ArrayLike, *, alpha: float = ALPHA) -> tuple[float, float]:
    """Return the interval of the true means that the sign flip of `values` (n,) does not reject at `alpha`.

    The 2^n - 1 means of nonempty subsets cut the line into 2^n gaps. If the values are symmetric about
    the true mean, each gap contains the true mean with equal probability (Hartigan 1969). So the bounds
    are the k-th smallest and the k-th largest subset mean, with k = floor(alpha / 2 * 2^n). For more
    than `EXACT_PAIRS` values, random subsets replace all subsets, and their
    number plus one replaces 2^n. NaN if k is 0: no p reaches `alpha`.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size > EXACT_PAIRS:
        sign_bytes = np.stack(_random_sign_bytes(-(-array.size // 8)), axis=1)
        # (vectors, n)
        chosen = np.unpackbits(sign_bytes, axis=1, count=array.size).astype(np.float64)
        sums, counts = chosen @ array, chosen.sum(axis=1)
        sums, counts = sums[counts > 0], counts[counts > 0]
        k = math.floor(alpha / 2 * (SIGN_VECTORS + 1))
    else:
        sums, counts = np.zeros(1), np.zeros(1)
        for value in array:
            sums = np.concatenate((sums, sums + value))
            counts = np.concatenate((counts, counts + 1))
        sums, counts = sums[1:], counts[1:]
        # The factor is there because the product may fall just below an integer.
        k = math.floor(alpha * 2.0 ** (array.size - 1) * (1 + 1e-12))
    if k < 1 or array.size < 2:
        return math.nan, math.nan
    means = np.sort(sums / counts)
    return float(means[k - 1]), float(means[-k])


def smallest_p(n: int) -> float:
    """Return the smallest two-sided p that `n` nonzero differences can give; a zero has no sign to flip."""
    return min(1.0, 2.0 ** (1 - n) if n <= EXACT_PAIRS else 1 / (SIGN_VECTORS + 1))


def _sums(units: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sums (2**n,) over all sign vectors of `units` (n,)."""
    sums = np.zeros(1, dtype=np.int64)
    for unit in units:
        sums = np.concatenate((sums + unit, sums - unit))
    return sums


def _sampled_p(units: NDArray[np.int64], bound: int) -> float:
    """Return the p over random sign vectors.

    A byte holds the signs of eight values, and a table holds their sum for each of the 256 bytes.
    """
    sums = np.zeros(SIGN_VECTORS, dtype=np.int64)
    starts = range(0, units.size, 8)
    for start, signs in zip(starts, _random_sign_bytes(len(starts)), strict=True):
        # The last bytes may hold fewer than eight signs: ignore their other bits.
        sums += _sums(units[start : start + 8])[signs & (2 ** min(8, units.size - start) - 1)]
    return (int((np.abs(sums) >= bound).sum()) + 1) / (SIGN_VECTORS + 1)


@lru_cache(maxsize=4)  # the comparisons of a report have few different numbers of pairs
def _random_sign_bytes(count: int) -> tuple[NDArray[np.uint8], ...]:
    """Return `count` arrays (SIGN_VECTORS,) of bytes with eight signs each.

    The stream is fixed, so that the same data give the same report.
    """
    rng = np.random.default_rng(0)
    return tuple(rng.integers(0, 256, size=SIGN_VECTORS, dtype=np.uint8) for _ in range(count))
