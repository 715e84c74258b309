"""Sample size: the number of draws that detect a difference."""

import math

from reports.statistics.conventions import ALPHA
from reports.statistics.power import detectable, pairs_needed
from reports.statistics.sign_flip import smallest_p

MOST = 10_000  # draws beyond which nothing is proposed


def draws_needed(
    points: float,
    *,
    tasks: int,
    sd: float,
    noise: float,
    draws: float,
    alpha: float = ALPHA,
) -> float:
    """Return the draws per task with which a test over tasks detects `points` with a power of 80 %.

    The variance of a task's mean difference is that between tasks and that of one draw over the
    number of draws; only the second falls with more draws. Infinite where tasks differ so much that
    no number does, or where one task would take more than `MOST`; NaN where nothing is known of how
    draws differ, or no p over so few tasks reaches `alpha`.

    Args:
        points: the difference.
        tasks: over how many the test is made; 1: over the draws of one task, where `sd` is that of
            the draws.
        sd: standard deviation of the units that were tested.
        noise: variance of a single draw's difference, the mean over tasks.
        draws: how many each task had when `sd` was found; of unequal numbers the harmonic mean.
        alpha: what p must not exceed.
    """
    if tasks == 1:
        return (
            (pairs_needed(points, sd, alpha=alpha, limit=MOST) or math.inf) if sd > 0 else math.nan
        )
    if tasks < 2 or math.isnan(noise) or smallest_p(tasks) > alpha:
        return math.nan
    between = max(sd**2 - noise / draws, 0.0)
    allowed = (points / detectable(tasks, 1.0, alpha=alpha, flips=True)) ** 2
    return max(math.ceil(noise / (allowed - between)), 2) if allowed > between else math.inf
