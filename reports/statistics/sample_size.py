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

    The variance of a task's mean difference has two parts: the variance between tasks, and the
    variance of a single draw divided by the number of draws. Only the second part falls with more
    draws.

    Args:
        points: The difference.
        tasks: Number of tasks that are tested. With 1, the test is over the draws of that task.
        sd: Standard deviation of the tested units: of tasks, or of draws with a single task.
        noise: Variance of the difference in a single draw, as the mean over tasks.
        draws: Number of draws per task behind `sd`; the harmonic mean if the numbers differ.
        alpha: Significance level.

    Returns:
        Infinity if tasks differ so much that no number of draws is enough, or if a single task
        requires more than `MOST`. NaN if the variance of draws is unknown, or if no p over this many
        tasks reaches `alpha`.
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
