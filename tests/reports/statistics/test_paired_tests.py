"""Estimates and tests against published numbers, other programs and laws they must keep."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.statistics import paired_tests

# Demšar 2006, table 6: AUC of C4.5 and of C4.5 with the parameter m tuned, on 14 data sets
C45 = [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1, 0.940, 0.619, 0.972, 0.957]
TUNED = [
    0.768,
    0.591,
    0.971,
    0.661,
    0.888,
    0.931,
    0.668,
    0.583,
    0.838,
    1,
    0.962,
    0.666,
    0.981,
    0.978,
]

DROR = [0.168, 0.297, 0.357, 0.019, 0.218, 0.001]
BENJAMINI = [
    0.0001,
    0.0004,
    0.0019,
    0.0095,
    0.0201,
    0.0278,
    0.0298,
    0.0344,
    0.0459,
    0.3240,
    0.4262,
    0.5719,
    0.6528,
    0.7590,
    1,
]

whole = st.lists(st.integers(-40, 40), min_size=1, max_size=10)
chances = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_demsar():
    """The sign flip over Demšar's 14 data sets gives 120 of 16384."""
    assert paired_tests.sign_flip(paired_tests.differences(TUNED, C45)) == 120 / 16384


def test_zeros_and_ties():
    """Counts out of 277 that win and lose alike give p = 1, however their quotients round."""
    first = np.array([172, 152, 160, 159, 151, 152, 170, 161]) / 277
    second = np.array([170, 155, 157, 161, 151, 149, 170, 164]) / 277
    exact = paired_tests.sign_flip(np.array([2, -3, 3, -2, 0, 3, 0, -3]))
    assert paired_tests.sign_flip(paired_tests.differences(first, second)) == exact == 1


@given(whole)
@settings(max_examples=60)
def test_sign_flip_agrees_with_scipy(values):
    """The exact sign flip is the exhaustive paired permutation test."""
    if len(values) < 2:
        assert paired_tests.sign_flip(values) == 1
        return
    zero = np.zeros(len(values))
    oracle = stats.permutation_test(
        (np.array(values, dtype=float), zero),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert paired_tests.sign_flip(values) == pytest.approx(oracle.pvalue, abs=1e-12)


def test_sign_flip_of_large_differences():
    """The unit does not matter: errors of millions have the p of the same errors in other units."""
    values = np.array([3.0, -1.0, 4.0, 1.5, 9.0, 2.6, 5.0])
    assert paired_tests.sign_flip(values * 1e7) == paired_tests.sign_flip(values)
    with pytest.raises(ValueError, match="finite"):
        paired_tests.sign_flip([1.0, math.inf])


@given(whole)
def test_sign_flip_laws(values):
    """The p does not change with the order of the methods or of the pairs, and never falls below 2 / 2^n."""
    p = paired_tests.sign_flip(values)
    assert (
        p
        == paired_tests.sign_flip([-value for value in values])
        == paired_tests.sign_flip(sorted(values))
    )
    assert paired_tests.smallest(len(values)) <= p <= 1


def test_all_positive_reaches_the_smallest():
    """Differences of one sign give exactly the smallest p, up to the limit of counting."""
    for n in range(1, paired_tests.EXACT + 1):
        assert paired_tests.sign_flip(np.arange(1, n + 1) / 7) == paired_tests.smallest(n)


def test_sampled_flips():
    """Above the limit p is sampled from a fixed stream, close to the exact value and never zero."""
    rng = np.random.default_rng(3)
    values = rng.normal(0.3, 1, paired_tests.EXACT + 1)
    assert paired_tests.sign_flip(values) == paired_tests.sign_flip(values)
    exact = paired_tests.sign_flip(values[:-1])
    assert paired_tests.sign_flip([*values[:-1], 0.0]) == pytest.approx(exact, abs=0.006)
    assert paired_tests.sign_flip(np.ones(40)) == 1 / (paired_tests.FLIPS + 1)


def test_nothing_to_flip():
    """No pairs give no p."""
    assert math.isnan(paired_tests.sign_flip([]))


def test_holm_on_dror():
    """Of Dror's six p values Holm's method rejects the last alone, at .006."""
    adjusted = paired_tests.holm(DROR)
    assert adjusted[-1] == pytest.approx(0.006)
    assert [p <= 0.05 for p in adjusted] == [False] * 5 + [True]


def test_benjamini_hochberg_1995():
    """The fifteen p values of the paper adjust as published: four rejected, three by Holm."""
    adjusted = paired_tests.benjamini_hochberg(BENJAMINI)
    published = [0.0015, 0.003, 0.0095, 0.035625, 0.0603, 0.063857, 0.063857, 0.0645, 0.0765]
    assert adjusted[:9] == pytest.approx(published, abs=1e-6)
    assert (adjusted <= 0.05).sum() == 4
    assert (paired_tests.holm(BENJAMINI) <= 0.05).sum() == 3


@given(chances)
def test_adjusting_keeps_order(p):
    """Adjusted p are at least the raw ones, at most 1 and in the same order; Holm's are the larger; scipy agrees."""
    held, found = paired_tests.holm(p), paired_tests.benjamini_hochberg(p)
    for adjusted in (held, found):
        assert np.all(adjusted >= np.array(p) - 1e-15)
        assert np.all(adjusted <= 1)
        assert np.all(np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0)
    assert np.all(held >= found - 1e-12)
    assert found == pytest.approx(stats.false_discovery_control(p, method="bh"))


def test_nothing_to_adjust():
    """An empty family stays empty."""
    assert paired_tests.holm([]).size == paired_tests.benjamini_hochberg([]).size == 0


def test_t_interval_agrees_with_scipy():
    """One stratum gives the ordinary t interval and t test."""
    values = np.array([1.0, 2.5, 0.5, 3.0, 1.5])
    ours = paired_tests.t_interval(values)
    theirs = stats.ttest_1samp(values, 0)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()))
    assert ours.df == pytest.approx(4)
    assert paired_tests.t_test(values) == pytest.approx(theirs.pvalue)


def test_two_strata_agree_with_welch():
    """The mean of two strata has half the interval of Welch's difference, with its degrees of freedom."""
    first, second = np.array([1.0, 2.0, 4.0, 3.0]), np.array([10.0, 12.0, 9.0, 15.0, 30.0])
    ours = paired_tests.pooled([paired_tests.over_draws(first), paired_tests.over_draws(second)])
    welch = stats.ttest_ind(first, second, equal_var=False)
    interval = welch.confidence_interval()
    assert ours.df == pytest.approx(welch.df)
    assert ours.high - ours.low == pytest.approx((interval.high - interval.low) / 2)
    assert ours.mean == pytest.approx((first.mean() + second.mean()) / 2)


def test_correction_for_overlap():
    """With test over training rows r, the variance of a mean over J splits is s² (1/J + r)."""
    values = np.array([1.0, 2.0, 3.0, 4.0])
    plain, wide = paired_tests.t_interval(values), paired_tests.t_interval(values, overlap=0.25)
    assert (wide.high - wide.low) / (plain.high - plain.low) == pytest.approx(math.sqrt(2))
    sd = values.std(ddof=1)
    expected = 2 * stats.t.sf(values.mean() / (sd * math.sqrt(0.5)), 3)
    assert paired_tests.t_test(values, overlap=0.25) == pytest.approx(expected)


@given(st.lists(st.lists(st.integers(-50, 50), min_size=2, max_size=6), min_size=1, max_size=5))
def test_interval_is_antisymmetric(strata):
    """The interval of B - A is that of A - B turned round."""
    ours = paired_tests.pooled([paired_tests.over_draws(values) for values in strata])
    other = paired_tests.pooled(
        [paired_tests.over_draws([-v for v in values]) for values in strata]
    )
    assert ours.mean == pytest.approx(-other.mean)
    assert [ours.low, ours.high] == pytest.approx([-other.high, -other.low], nan_ok=True)


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0], [0.1 + 0.2, 0.3, 0.3]])
def test_no_interval(values):
    """None, one, or equal values have no interval and no t test."""
    interval = paired_tests.t_interval(values)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert math.isnan(paired_tests.t_test(values))


def test_tiny_variances():
    """Variances whose squares vanish still have degrees of freedom."""
    interval = paired_tests.pooled(
        [paired_tests.over_draws([1e-8, 2e-8]), paired_tests.over_draws([1e-8, 3e-8])]
    )
    assert 1 <= interval.df <= 2


def test_draws_and_rows_crossed_by_hand():
    """The variance is that over draws plus that over rows less that over both, its degrees of freedom by Satterthwaite."""
    table = np.array([[1.0, 0, 1, 1], [0, 0, 1, 0], [1, 0, 1, 1]])
    found = paired_tests.over_draws_and_rows(table)
    by_draw, by_row = table.mean(1).var(ddof=1) / 3, table.mean(0).var(ddof=1) / 4
    both = table.var(ddof=1) / 12
    assert found.mean == pytest.approx(7 / 12)
    assert found.variance == pytest.approx(by_draw + by_row - both)
    assert found.df == pytest.approx((by_draw + by_row) ** 2 / (by_draw**2 / 2 + by_row**2 / 3))


def test_without_variance_over_rows_the_draws_remain():
    """Rows that all have the same value leave the variance over draws, and the other way round."""
    draws = np.repeat(np.array([[1.0], [2.0], [4.0]]), 50, axis=1)
    assert paired_tests.over_draws_and_rows(draws).variance == pytest.approx(
        draws[:, 0].var(ddof=1) / 3
    )
    assert paired_tests.over_draws_and_rows(draws.T).variance == pytest.approx(
        draws[:, 0].var(ddof=1) / 3
    )
    assert math.isnan(paired_tests.over_draws_and_rows(draws[:1]).variance)


@pytest.mark.parametrize(("draws", "rows"), [(5, 277), (10, 277)])
def test_crossed_intervals_cover_where_intervals_over_draws_do_not(draws, rows):
    """Of 400 studies with other draws and other test rows, 95 % of the crossed intervals hold the truth; of the others few."""
    rng = np.random.default_rng(5)
    crossed, alone = 0, 0
    for _ in range(
        400
    ):  # the difference of two methods on each row: -1, 0 or 1, with parts of draw and row of their own
        level = rng.normal(0, 0.05, (draws, 1)) + rng.normal(0, 0.5, (1, rows))
        table = np.sign(level + rng.normal(0, 0.3, (draws, rows))) * (rng.random((1, rows)) < 0.4)
        ours = paired_tests.pooled([paired_tests.over_draws_and_rows(table)])
        plain = paired_tests.t_interval(table.mean(axis=1))
        crossed += ours.low <= 0 <= ours.high
        alone += plain.low <= 0 <= plain.high
    assert 0.92 <= crossed / 400 <= 0.99  # the standard error of the simulation is 1.1 %
    assert alone / 400 < 0.90
