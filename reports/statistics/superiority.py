"""How often one method beats another: P(A > B) + P(A = B) / 2, and what that is worth saying."""

import math
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.paired_tests import ALPHA, DIGITS, Array

MEANINGFUL: Final = 0.75  # of Bouthillier et al. 2021: below it, a gain is not worth the name
FEWEST: Final = 10  # draws; resampling fewer says nothing about what it has not seen
RESAMPLES: Final = 9_999

Verdict = Literal[
    "not significant", "significant, not meaningful", "significant and meaningful", "too few draws"
]


class Superiority(NamedTuple):
    """A chance of winning, 0 to 1, with its interval; NaN bounds if there are too few draws, or one only on some task."""

    chance: float
    low: float
    high: float
    draws: int
    verdict: Verdict


def superiority(
    tasks: Sequence[Sequence[ArrayLike]], *, gamma: float = MEANINGFUL, level: float = 1 - ALPHA
) -> Superiority:
    """The share of paired runs that the first method wins, ties one half, each task weighing the same.

    `tasks` holds for each task, for each draw, the differences (runs,) of the runs that share the
    draw, first minus
    second: sizes and seeds of one draw stand or fall together. The interval is a percentile
    bootstrap that resamples draws within tasks from a fixed stream, so it answers for new draws on
    these tasks. Where every run was won, or every run lost, draws drawn again say nothing of what
    they might have been: there it is Clopper and Pearson's (1934).
    """
    wins = [[_won(runs) for runs in draws if np.size(runs)] for draws in tasks]
    wins = [draws for draws in wins if draws]
    count = sum(len(draws) for draws in wins)
    if not wins:
        return Superiority(math.nan, math.nan, math.nan, 0, "too few draws")
    chance = float(np.mean([np.concatenate(draws).mean() for draws in wins]))
    if count < FEWEST or min(len(draws) for draws in wins) < 2:
        return Superiority(chance, math.nan, math.nan, count, "too few draws")
    low, high = (
        _certain(chance, count, level) if chance in (0.0, 1.0) else _percentiles(wins, level)
    )
    return Superiority(chance, low, high, count, _verdict(low, high, gamma))


def _won(runs: ArrayLike) -> Array:
    won: Array = (np.sign(np.round(np.asarray(runs, dtype=np.float64), DIGITS)) + 1) / 2
    return np.atleast_1d(won)


def _certain(chance: float, draws: int, level: float) -> tuple[float, float]:
    unseen = 1 - ((1 - level) / 2) ** (1 / draws)
    return (1 - unseen, 1.0) if chance == 1 else (0.0, unseen)


def _percentiles(wins: Sequence[Sequence[Array]], level: float) -> tuple[float, float]:
    rng = np.random.default_rng(0)  # fixed: the same data give the same report
    resampled = sum(_resampled(draws, rng) for draws in wins) / len(wins)
    low, high = np.quantile(resampled, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _resampled(draws: Sequence[Array], rng: np.random.Generator) -> Array:
    """The share won (RESAMPLES,) on one task when all but one of its draws are drawn again.

    As many as there are would vary too little, by a fifth of the variance with five (Rao & Wu
    1988).
    """
    won, runs = np.array([one.sum() for one in draws]), np.array([one.size for one in draws])
    chosen = rng.integers(0, len(draws), size=(RESAMPLES, len(draws) - 1))
    share: Array = won[chosen].sum(axis=1) / runs[chosen].sum(axis=1)
    return share


def _verdict(low: float, high: float, gamma: float) -> Verdict:
    if low <= 1 / 2:
        return "not significant"
    return "significant, not meaningful" if high < gamma else "significant and meaningful"


def unpaired(first: ArrayLike, second: ArrayLike) -> float:
    """The same chance for runs (n,) and (m,) that have nothing to do with each other: Vargha and Delaney's A12 (2000)."""
    gaps = (
        np.asarray(first, dtype=np.float64)[:, None] - np.asarray(second, dtype=np.float64)[None, :]
    )
    return float(_won(gaps).mean())


def pairs_for(gamma: float = MEANINGFUL, *, alpha: float = ALPHA, beta: float = ALPHA) -> float:
    """The pairs that tell a chance of `gamma` from one half with these errors, unrounded (Noether 1987)."""
    from scipy.special import ndtri

    return float((ndtri(1 - alpha) + ndtri(1 - beta)) / (math.sqrt(6) * (1 / 2 - gamma))) ** 2
