"""The crossed estimate over draws and test rows, by hand and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from reports.statistics import draws_and_rows, intervals


def test_draws_and_rows_crossed_by_hand():
    """The variance is that over draws plus that over rows minus the residual's; three mean squares give its df.

    The degrees of freedom are those for the 80 % upper bound of the variance over draws (chi-square, 2 df: .446).
    """
    table = np.array([[1.0, 0, 1, 1], [0, 0, 1, 0], [1, 0, 1, 1]])
    estimate = draws_and_rows.estimate(table)
    by_draw, by_row = table.mean(1).var(ddof=1) / 3, table.mean(0).var(ddof=1) / 4
    rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    residual = (rest**2).sum() / 6 / 12
    assert estimate.mean == pytest.approx(7 / 12)
    assert estimate.variance == pytest.approx(by_draw + by_row - residual)
    assert estimate.by_draw == pytest.approx(by_draw)
    bound = by_draw * 2 / stats.chi2.ppf(0.2, 2)
    most = bound + by_row - residual
    satterthwaite = most**2 / (bound**2 / 2 + by_row**2 / 3 + residual**2 / 6)
    assert estimate.df == pytest.approx(max(satterthwaite, 2))


def test_rows_with_uneven_influence_have_few_degrees_of_freedom():
    """If one row of 200 carries nearly all of the variance, it counts as little more than one row."""
    rng = np.random.default_rng(0)
    table = rng.normal(0, 0.01, (5, 1)) + np.where(np.arange(200) == 7, 30.0, rng.normal(0, 1, 200))
    plain, uneven = (draws_and_rows.estimate(table, uneven=uneven) for uneven in (False, True))
    assert plain.df > 100
    assert uneven.df < 4
    assert plain.variance == uneven.variance


def test_without_variance_over_rows_the_draws_remain():
    """If all rows are equal, only the variance over draws remains, and vice versa."""
    draws = np.repeat(np.array([[1.0], [2.0], [4.0]]), 50, axis=1)
    assert draws_and_rows.estimate(draws).variance == pytest.approx(draws[:, 0].var(ddof=1) / 3)
    assert draws_and_rows.estimate(draws.T).variance == pytest.approx(draws[:, 0].var(ddof=1) / 3)
    assert math.isnan(draws_and_rows.estimate(draws[:1]).variance)


@pytest.mark.parametrize(("draws", "rows"), [(5, 277), (10, 277)])
def test_crossed_intervals_cover_where_intervals_over_draws_do_not(draws, rows):
    """About 95 % of 400 crossed intervals cover the truth; intervals over draws cover it in less than 90 %."""
    rng = np.random.default_rng(5)
    crossed, alone = 0, 0
    for _ in range(400):
        # The difference of two methods on each row is -1, 0 or 1, with effects of draw and of row.
        level = rng.normal(0, 0.05, (draws, 1)) + rng.normal(0, 0.5, (1, rows))
        table = np.sign(level + rng.normal(0, 0.3, (draws, rows))) * (rng.random((1, rows)) < 0.4)
        ours = intervals.pooled([draws_and_rows.estimate(table)])
        plain = intervals.t_interval(table.mean(axis=1))
        crossed += ours.low <= 0 <= ours.high
        alone += plain.low <= 0 <= plain.high
    assert 0.92 <= crossed / 400 <= 0.99  # the standard error of the simulation is 1.1 %
    assert alone / 400 < 0.90
