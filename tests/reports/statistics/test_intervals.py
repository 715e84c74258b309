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


def test_an_interval_is_never_cut_to_bounds_that_are_not_its_own():
    """Bounds cut an interval whose mean they hold; one with its mean outside stays whole, with low before high."""
    inside = intervals.t_interval([98.0, 99.0, 100.0, 100.0])
    assert inside.high > 100
    assert inside.within(0, 100) == inside._replace(high=100)
    outside = intervals.t_interval([140.0, 150.0, 160.0])
    assert outside.within(-100, 100) == outside
    full = intervals.t_interval([100.0, 100.0, 100.0 - 1e-8])
    assert full.within(0, 100).high <= 100
