"""Confidence bound of a proportion."""

from reports.statistics.conventions import ALPHA


def upper_bound(count: int, n: int, *, alpha: float = ALPHA) -> float:
    """Return the exact one-sided upper bound of a proportion of which `count` of `n` were seen.

    Source: Clopper & Pearson 1934.
    """
    from scipy.special import betaincinv

    return 1.0 if count >= n else float(betaincinv(count + 1, n - count, 1 - alpha))
