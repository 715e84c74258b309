"""Power of paired tests: of Student's t and of the sign flip, whose p has a smallest value.

Differences are assumed to be normal. A sign flip over few pairs has much less power than a t test:
over six pairs, p is at most .05 only if all six have the same sign.
"""

import functools
import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reports.statistics.conventions import ALPHA, Array
from reports.statistics.t_test import t_quantile

POWER: Final = 0.8
# Number of rejecting sign vectors per side. With more, the sign flip detects within 4 % of what a t
# test detects.
FEW: Final = 8
MANY: Final = 100  # pairs of which leaving out one changes no power
# Simulated samples of differences, from a fixed stream: a standard error of .006 at a power of 80 %
SAMPLES: Final = 4000


def power(df: float, shift: float, *, alpha: float = ALPHA) -> float:
    """Return the power of a two-sided t test with `df` degrees of freedom for a mean of `shift` standard errors."""
    from scipy.special import nctdtr

    return 1 - float(nctdtr(df, shift, t_quantile(df, 1 - alpha / 2)))


def power_of_flips(n: int, effect: float, *, alpha: float = ALPHA) -> float:
    """Return the power of an exact two-sided sign flip over `n` pairs for a mean of `effect` standard deviations.

    The power has a closed form if the test rejects only when all pairs have the same sign. It is
    simulated if few sign vectors reject. Otherwise it is the power of the t test, which is close.
    """
    from scipy.special import ndtr

    rejecting = _rejecting(n, alpha)
    if rejecting < 1:
        return 0.0
    if rejecting == 1:
        return float(ndtr(effect) ** n + ndtr(-effect) ** n)
    if rejecting > FEW:
        return power(n - 1, effect * math.sqrt(n), alpha=alpha)
    return float(_extreme(_normal(n) + effect, rejecting).mean())


def _rejecting(n: int, alpha: float) -> int:
    """Return how many of the 2**(n - 1) sign vectors per side a p of at most `alpha` may count."""
    return math.floor(alpha * 2.0 ** (n - 1) * (1 + 1e-12)) if n <= 40 else FEW + 1


@functools.lru_cache(maxsize=64)
def _normal(n: int) -> Array:
    return np.random.default_rng(n).standard_normal((SAMPLES, n))


def _extreme(values: Array, most: int) -> NDArray[np.bool_]:
    """Return, for each row of values (m, n), whether at most `most` sign vectors give as large a sum.

    Such a vector changes the signs of values whose sum is at most the sum of the values that have
    the opposite sign already. Only the `most` smallest values can be among them.
    """
    sizes = np.sort(np.abs(values), axis=1)  # (m, n)
    against = np.minimum(
        np.where(values < 0, -values, 0).sum(axis=1), np.where(values > 0, values, 0).sum(axis=1)
    )
    sums = np.zeros((len(values), 1))
    for size in sizes[:, :most].T:
        sums = np.concatenate((sums, sums + size[:, None]), axis=1)  # (m, 2**k)
    return np.asarray((sums <= against[:, None] + 1e-9).sum(axis=1) <= most)


def detectable(error: float, df: float, *, alpha: float = ALPHA) -> float:
    """Return the smallest mean difference that a t test detects with a power of 80 %.

    Card et al. (2020) explain why to report it.

    Args:
        error: Standard error of the mean difference; the result has its units.
        df: Degrees of freedom of the error.
        alpha: Significance level.

    Returns:
        NaN without variance.
    """
    if not error > 0 or not math.isfinite(t_quantile(df, 1 - alpha / 2)):
        return math.nan
    return _smallest_shift(round(df, 1), alpha) * error


def power_without_one(n: int, effect: float, least: float, *, alpha: float = ALPHA) -> float:
    """Return the power of `power_of_flips` if p must also be at most `least` without any one of the pairs.

    It is simulated. The second condition uses the p of a t test, which is close.
    """
    from scipy.special import stdtr

    values = _normal(n) + effect
    rejecting = _rejecting(n, alpha)
    totals, squares = values.sum(axis=1), np.square(values).sum(axis=1)

    def small(total: Array, square: Array, count: int, level: float) -> NDArray[np.bool_]:
        mean = total / count
        error = np.sqrt((square / count - mean**2) / (count - 1))
        return np.asarray(2 * stdtr(count - 1, -np.abs(mean) / error) <= level)

    settled = small(totals, squares, n, alpha) if rejecting > FEW else _extreme(values, rejecting)
    rest = small(totals[:, None] - values, squares[:, None] - values**2, n - 1, least)
    same = (totals[:, None] - values) * totals[:, None] > 0
    return float((settled & (rest & same).all(axis=1)).mean())


def detectable_by_flips(
    n: int, sd: float, *, alpha: float = ALPHA, without_one: float | None = None
) -> float:
    """Return the smallest mean difference that a sign flip over `n` pairs detects with a power of 80 %.

    Args:
        n: Number of pairs.
        sd: Standard deviation of the differences; the result has its units.
        alpha: Significance level.
        without_one: The p that must hold without any one of the pairs; None: no such condition.

    Returns:
        NaN for fewer than two pairs, without variance, or if no sign flip reaches `alpha`.
    """
    if n < 2 or not sd > 0 or _rejecting(n, alpha) < 1:
        return math.nan
    return _smallest_effect(n, alpha, without_one if n > 3 else None) * sd


@functools.lru_cache(maxsize=4096)
def _smallest_shift(df: float, alpha: float) -> float:
    return _bisect(lambda shift: power(df, shift, alpha=alpha), steps=30)


@functools.lru_cache(maxsize=4096)
def _smallest_effect(n: int, alpha: float, without_one: float | None) -> float:
    def power_at(effect: float) -> float:
        if without_one is None or n > MANY:
            return power_of_flips(n, effect, alpha=alpha)
        return power_without_one(n, effect, without_one, alpha=alpha)

    return _bisect(power_at, steps=20)


def _bisect(power_at: Callable[[float], float], *, steps: int) -> float:
    """Return the smallest argument at which the power is 80 %."""
    low, high = 0.0, 1.0
    while power_at(high) < POWER:
        high *= 2
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if power_at(middle) < POWER else (low, middle)
    return high
