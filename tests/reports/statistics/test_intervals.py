"""Intervals and the t test against scipy, by hand and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.statistics import intervals


def test_t_interval_agrees_with_scipy():
    """One stratum gives the ordinary t interval and t test."""
    values = np.array([1.0, 2.5, 0.5, 3.0, 1.5])
    ours = intervals.t_interval(values)
    theirs = stats.ttest_1samp(values, 0)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()))
    assert ours.df == pytest.approx(4)
    assert ours.p == pytest.approx(theirs.pvalue)


def test_two_strata_agree_with_welch():
    """The mean of two strata has half the interval of Welch's difference, with its degrees of freedom."""
    first, second = np.array([1.0, 2.0, 4.0, 3.0]), np.array([10.0, 12.0, 9.0, 15.0, 30.0])
    ours = intervals.pooled([intervals.over_draws(first), intervals.over_draws(second)])
    welch = stats.ttest_ind(first, second, equal_var=False)
    interval = welch.confidence_interval()
    assert ours.df == pytest.approx(welch.df)
    assert ours.high - ours.low == pytest.approx((interval.high - interval.low) / 2)
    assert ours.mean == pytest.approx((first.mean() + second.mean()) / 2)


def test_correction_for_overlap():
    """With test over training rows r, the variance of a mean over J splits is s² (1/J + r)."""
    values = np.array([1.0, 2.0, 3.0, 4.0])
    plain, wide = intervals.t_interval(values), intervals.t_interval(values, overlap=0.25)
    assert (wide.high - wide.low) / (plain.high - plain.low) == pytest.approx(math.sqrt(2))
    sd = values.std(ddof=1)
    expected = 2 * stats.t.sf(values.mean() / (sd * math.sqrt(0.5)), 3)
    assert wide.p == pytest.approx(expected)


@given(st.lists(st.lists(st.integers(-50, 50), min_size=2, max_size=6), min_size=1, max_size=5))
def test_interval_is_antisymmetric(strata):
    """The interval of B - A is the mirrored interval of A - B."""
    ours = intervals.pooled([intervals.over_draws(values) for values in strata])
    other = intervals.pooled([intervals.over_draws([-v for v in values]) for values in strata])
    assert ours.mean == pytest.approx(-other.mean)
    assert [ours.low, ours.high] == pytest.approx([-other.high, -other.low], nan_ok=True)


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0], [0.1 + 0.2, 0.3, 0.3]])
def test_no_interval(values):
    """No value, one value and equal values have neither an interval nor a t test."""
    interval = intervals.t_interval(values)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert math.isnan(interval.p)


def test_tiny_variances():
    """Variances whose squares underflow still have degrees of freedom."""
    interval = intervals.pooled(
        [intervals.over_draws([1e-8, 2e-8]), intervals.over_draws([1e-8, 3e-8])]
    )
    assert 1 <= interval.df <= 2


def test_draws_and_rows_crossed_by_hand():
    """The variance is that over draws plus that over rows minus the residual's; three mean squares give its df.

    The degrees of freedom are those for the 80 % upper bound of the variance over draws (chi-square, 2 df: .446).
    """
    table = np.array([[1.0, 0, 1, 1], [0, 0, 1, 0], [1, 0, 1, 1]])
    estimate = intervals.over_draws_and_rows(table)
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
    plain, uneven = (
        intervals.over_draws_and_rows(table, uneven=uneven) for uneven in (False, True)
    )
    assert plain.df > 100
    assert uneven.df < 4
    assert plain.variance == uneven.variance


def test_without_variance_over_rows_the_draws_remain():
    """If all rows are equal, only the variance over draws remains, and vice versa."""
    draws = np.repeat(np.array([[1.0], [2.0], [4.0]]), 50, axis=1)
    assert intervals.over_draws_and_rows(draws).variance == pytest.approx(
        draws[:, 0].var(ddof=1) / 3
    )
    assert intervals.over_draws_and_rows(draws.T).variance == pytest.approx(
        draws[:, 0].var(ddof=1) / 3
    )
    assert math.isnan(intervals.over_draws_and_rows(draws[:1]).variance)


@pytest.mark.parametrize(("draws", "rows"), [(5, 277), (10, 277)])
def test_crossed_intervals_cover_where_intervals_over_draws_do_not(draws, rows):
    """About 95 % of 400 crossed intervals cover the truth; intervals over draws cover it in less than 90 %."""
    rng = np.random.default_rng(5)
    crossed, alone = 0, 0
    for _ in range(400):
        # The difference of two methods on each row is -1, 0 or 1, with effects of draw and of row.
        level = rng.normal(0, 0.05, (draws, 1)) + rng.normal(0, 0.5, (1, rows))
        table = np.sign(level + rng.normal(0, 0.3, (draws, rows))) * (rng.random((1, rows)) < 0.4)
        ours = intervals.pooled([intervals.over_draws_and_rows(table)])
        plain = intervals.t_interval(table.mean(axis=1))
        crossed += ours.low <= 0 <= ours.high
        alone += plain.low <= 0 <= plain.high
    assert 0.92 <= crossed / 400 <= 0.99  # the standard error of the simulation is 1.1 %
    assert alone / 400 < 0.90
