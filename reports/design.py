"""How many draws a difference needs: what a study should do next, or before it begins."""

import math

from reports import statistics

MOST = 10_000  # draws beyond which nothing is proposed


def draws_needed(
    points: float, *, tasks: int, sd: float, noise: float, draws: float, alpha: float = statistics.ALPHA
) -> int | None:
    """Draws a task with which a test over tasks detects `points` with a power of 80 %; None if no number does.

    The variance of a task's mean difference is that between tasks and that of one draw over the number of draws; only
    the second falls with more draws.

    Args:
        points: the difference.
        tasks: over how many the test is made; 1: over the draws of one task, where `sd` is that of the draws.
        sd: standard deviation of the units that were tested.
        noise: variance of a single draw's difference, the mean over tasks.
        draws: how many each task had when `sd` was found.
        alpha: what p must not exceed.
    """
    if tasks == 1:
        return statistics.pairs_needed(points, sd, alpha=alpha, limit=MOST)
    if tasks < 2 or not noise > 0 or statistics.smallest(tasks) > alpha:
        return None
    between = max(sd**2 - noise / draws, 0.0)
    allowed = (points / statistics.detectable(tasks, 1.0, alpha=alpha)) ** 2
    if allowed <= between:
        return None
    needed = math.ceil(noise / (allowed - between))
    return max(needed, 2) if needed <= MOST else None
