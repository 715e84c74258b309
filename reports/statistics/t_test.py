"""Student's t: the quantile and the two-sided p."""


def t_quantile(df: float, probability: float) -> float:
    """Return the quantile of Student's t with `df` degrees of freedom."""
    from scipy.special import stdtrit  # importing scipy.stats would take one second

    return float(stdtrit(df, probability))


def two_sided_p(statistic: float, df: float) -> float:
    """Return the two-sided p of a t statistic with `df` degrees of freedom."""
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(statistic)))
