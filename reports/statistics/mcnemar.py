"""Two trained models on the same test items: whether they differ, and what so many items can find at all."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports.statistics.paired_tests import ALPHA, Array


class Discordant(NamedTuple):
    """McNemar's test of the items that one model alone gets right."""

    p: float  # exact, two-sided
    chi_squared: float  # with the correction for continuity; NaN if no item tells the models apart


class Design(NamedTuple):
    """What a test set can find of a true difference."""

    power: float  # the chance of a significant result
    exaggeration: (
        float  # by how much a significant result overstates the difference on average, Type M
    )


def mcnemar(first: int, second: int) -> Discordant:
    """The test of `first` items that only the first model gets right against `second` items (McNemar 1947)."""
    total = first + second
    if total == 0:
        return Discordant(1.0, math.nan)
    p = float(_two_sided(np.array([first]), np.array([total]))[0])
    return Discordant(p, max(abs(first - second) - 1, 0) ** 2 / total)


def _two_sided(wins: NDArray[np.int64], totals: NDArray[np.int64]) -> Array:
    from scipy.special import bdtr

    p: Array = np.minimum(
        1.0, 2 * bdtr(np.minimum(wins, totals - wins).astype(np.float64), totals, 0.5)
    )
    return p


def agreement(first: float, second: float, *, largest: bool) -> float:
    """The largest or smallest share of items on which models of these accuracies can both be right or both wrong."""
    return 1 - abs(first - second) if largest else abs(first + second - 1)


def design(
    first: float, second: float, *, agreement: float, items: int, alpha: float = ALPHA
) -> Design:
    """Power and Type-M error of McNemar's exact test of two models on `items` items (Card et al. 2020).

    `first` and `second` are the true accuracies, `agreement` the share of items on which both are
    right or both wrong. Every outcome is counted with its chance; Card et al. simulate.

    Raises:
        ValueError: models of these accuracies cannot agree that often.
    """
    from scipy.special import gammaln, xlogy

    gap, apart = second - first, 1 - agreement
    if not abs(gap) - 1e-9 <= apart <= 1 - abs(first + second - 1) + 1e-9:
        raise ValueError(
            f"accuracies of {first} and {second} do not allow an agreement of {agreement}"
        )
    apart = max(apart, abs(gap))
    more = (
        min(1.0, (apart + gap) / 2 / apart) if apart else 0.5
    )  # of the items told apart, those the second gets right
    power = overstated = 0.0
    for total in range(items + 1):
        of_total = math.exp(_log_binomial(items, total, apart))
        if of_total < 1e-15:
            continue
        wins = np.arange(total + 1)
        logs = gammaln(total + 1) - gammaln(wins + 1) - gammaln(total - wins + 1)
        chances = of_total * np.exp(logs + xlogy(wins, more) + xlogy(total - wins, 1 - more))
        found = _two_sided(wins, np.full_like(wins, total)) <= alpha
        power += float(chances[found].sum())
        overstated += float((chances * np.abs(2 * wins - total))[found].sum()) / items
    return Design(power, overstated / power / abs(gap) if power > 0 and gap else math.nan)


def _log_binomial(n: int, k: int, chance: float) -> float:
    if chance in (0.0, 1.0):
        return 0.0 if k == n * chance else -math.inf
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return choose + k * math.log(chance) + (n - k) * math.log1p(-chance)
