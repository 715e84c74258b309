"""Power of paired tests: of Student's t and of the sign flip, whose p has a smallest value.

Differences are assumed to be normal. A sign flip over few pairs has much less power than a t test:
over six pairs, p is at most .05 only if all six have the same sign.
"""

import functools
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reports.statistics.conventions import ALPHA, Array
from reports.statistics.t_test import t_quantile

POWER: Final = 0.8
# Number of rejecting sign vectors per side. With more, the sign flip detects within 4 % of what a t
# test detects.
FEW: Final = 8
# Simulated samples of differences, from a fixed stream: a standard error of .006 at a power of 80 %
SAMPLES: Final = 4000


def power(n: int, effect: float, *, alpha: float = ALPHA) -> float:
    """Return the power of a two-sided paired t test over `n` pairs for a mean of `effect` standard deviations."""
    from scipy.special import nctdtr

    return 1 - float(nctdtr(n - 1, effect * math.sqrt(n), t_quantile(n - 1, 1 - alpha / 2)))


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
        return power(n, effect, alpha=alpha)
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


def detectable(n: int, sd: float, *, alpha: float = ALPHA, flips: bool = False) -> float:
    """Return the smallest mean difference, in the units of `sd`, that `n` pairs detect with a power of 80 %.

    Card et al. (2020) explain why to report it.

    Args:
        n: Number of pairs.
        sd: Standard deviation of the differences.
        alpha: Significance level.
        flips: Whether the test is the sign flip; otherwise it is the t test.

    Returns:
        NaN for fewer than two pairs, without variance, or if no sign flip reaches `alpha`.
    """
    return _smallest(n, alpha, flips) * sd if n > 1 and sd > 0 else math.nan


@functools.lru_cache(maxsize=4096)
def _smallest(n: int, alpha: float, flips: bool) -> float:
    if flips and _rejecting(n, alpha) < 1:
        return math.nan
    chance = power_of_flips if flips else power
    low, high = 0.0, 1.0
    while chance(n, high, alpha=alpha) < POWER:
        high *= 2
    for _ in range(20 if flips else 50):
        middle = (low + high) / 2
        low, high = (middle, high) if chance(n, middle, alpha=alpha) < POWER else (low, middle)
    return high


def pairs_needed(
    effect: float, sd: float, *, alpha: float = ALPHA, limit: int = 1000
) -> int | None:
    """Return the number of pairs with which the sign flip detects `effect` at a power of 80 %; None above `limit`."""
    fewest = math.ceil(1 - math.log2(alpha))  # below that no sign flip reaches alpha
    if not (abs(effect) > 0 and sd > 0) or detectable(limit, sd, alpha=alpha, flips=True) > abs(
        effect
    ):
        return None
    low, high = fewest - 1, max(limit, fewest)
    while high - low > 1:
        middle = (low + high) // 2
        found = detectable(middle, sd, alpha=alpha, flips=True) <= abs(effect)
        low, high = (low, middle) if found else (middle, high)
    return high
