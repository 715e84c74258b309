"""McNemar's test: whether two trained models differ, judged by their answers to the same test rows."""


def mcnemar(first: int, second: int) -> float:
    """Return the exact two-sided p of McNemar's test (McNemar 1947).

    Args:
        first: Number of test rows that only the first model answers correctly.
        second: Number of test rows that only the second model answers correctly.
    """
    from scipy.special import bdtr

    if first + second == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(float(min(first, second)), first + second, 0.5)))
