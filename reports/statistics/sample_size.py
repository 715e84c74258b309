"""Sample size: how many draws detect a stated difference, with the uncertainty of the variances it rests on.

The variance of a mean difference has a part that falls with the number of draws and a part that
does not: that of the test rows, or that between tasks. Both are estimates. Their distributions
(a variance with `df` degrees of freedom, times `df`, divided by a chi-square) are sampled, and the
answer is the interval of the numbers of draws that follow (Weerahandi 1993).
"""

import math
from typing import Final, NamedTuple

import numpy as np

from reports.statistics.conventions import ALPHA, Array
from reports.statistics.power import POWER, detectable_by_flips
from reports.statistics.sign_flip import smallest_p

MOST: Final = 10_000  # draws beyond which nothing is proposed
SAMPLES: Final = 4_000  # of the variances, from a fixed stream
LEVEL: Final = 0.9
# Numbers of draws that are tried: all up to 200, then steps of 2 %.
CANDIDATES: Final = np.unique(np.append(np.arange(2, 200), np.geomspace(200, MOST, 200).round()))


class Variance(NamedTuple):
    """An estimated variance and its degrees of freedom; infinite if the variance is known."""

    value: float
    df: float


class DrawsNeeded(NamedTuple):
    """The 90 % interval of the number of draws; infinite if no number of draws is enough."""

    low: float
    high: float


def draws_on_these_tasks(
    points: float, *, draw: Variance, rows: Variance, tasks: int = 1, alpha: float = ALPHA
) -> DrawsNeeded:
    """Return the draws per task with which the t test over draws and test rows detects `points` (power 80 %).

    Args:
        points: The difference.
        draw: Variance of the mean difference if every task had a single draw, without that of the rows.
        rows: Variance of the mean difference that comes from the test rows; more draws do not change it.
        tasks: Number of tasks, which gives the degrees of freedom of more draws.
        alpha: Significance level.
    """
    from scipy.special import stdtrit

    per_draw, fixed = _samples(draw, rows)
    df = tasks * (CANDIDATES - 1)
    quantiles = stdtrit(df, 1 - alpha / 2) + stdtrit(df, POWER)
    errors = np.sqrt(per_draw[:, None] / CANDIDATES + fixed[:, None])  # (samples, candidates)
    enough = quantiles * errors <= points
    needed = np.where(enough.any(axis=1), CANDIDATES[enough.argmax(axis=1)], math.inf)
    return _interval(needed)


def draws_for_other_tasks(
    points: float,
    *,
    tasks: int,
    means: Variance,
    draw: Variance,
    draws: float,
    alpha: float = ALPHA,
    without_one: float | None = None,
) -> DrawsNeeded:
    """Return the draws per task with which the sign flip over tasks detects `points` (power 80 %).

    Args:
        points: The difference.
        tasks: Number of tasks.
        means: Variance of the tasks' mean differences.
        draw: Variance of the difference in a single draw, as the mean over tasks.
        draws: Number of draws per task behind `means`; the harmonic mean if the numbers differ.
        alpha: Significance level.
        without_one: As in `detectable_by_flips`.

    Returns:
        Both are NaN if the variance of draws is unknown or no p over this many tasks reaches `alpha`.
    """
    if tasks < 2 or math.isnan(draw.value) or smallest_p(tasks) > alpha:
        return DrawsNeeded(math.nan, math.nan)
    of_means, per_draw = _samples(means, draw)
    between = np.maximum(of_means - per_draw / draws, 0.0)
    allowed = (points / detectable_by_flips(tasks, 1.0, alpha=alpha, without_one=without_one)) ** 2
    room = allowed - between
    needed = np.where(room > 0, per_draw / np.where(room > 0, room, 1), math.inf)
    return _interval(np.maximum(np.ceil(needed), 2))


def _samples(*variances: Variance) -> list[Array]:
    """Return samples (SAMPLES,) of each variance."""
    rng = np.random.default_rng(0)
    return [
        np.full(SAMPLES, value)
        if math.isinf(df) or value == 0
        else value * df / rng.chisquare(df, SAMPLES)
        for value, df in variances
    ]


def _interval(draws: Array) -> DrawsNeeded:
    ordered = np.sort(draws)
    tail = round((1 - LEVEL) / 2 * SAMPLES)
    return DrawsNeeded(float(ordered[tail]), float(ordered[-tail - 1]))
