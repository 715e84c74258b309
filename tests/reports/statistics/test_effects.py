"""Effect sizes, the signed-rank test and equivalence against published numbers, other programs and laws."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.statistics import effects, paired_tests
from tests.reports.published import DEMSAR

GAIN = paired_tests.differences(DEMSAR[:, 1], DEMSAR[:, 0])
# Hollander & Wolfe 1999, table 3.1: depression of nine patients before and after a tranquilizer
BEFORE = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
AFTER = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]

whole = st.lists(st.integers(-12, 12), min_size=1, max_size=8)


def test_wilcoxon_on_demsar():
    """F2: the signed-rank test of C4.5 against m counts ties and zeros exactly: 128 of 16384."""
    ranks = effects.signed_ranks(GAIN)
    assert -ranks[ranks < 0].sum() == 10.5
    assert ranks.sum() == 93 - 12  # the published sums, which share the zeros out
    assert effects.wilcoxon(GAIN) == 0.0078125


@given(whole)
@settings(max_examples=40, deadline=None)
def test_wilcoxon_agrees_with_scipy(values):
    """The signed-rank test is scipy's by all permutations, zeros after Pratt."""
    if not any(values) or len(values) < 2:
        assert effects.wilcoxon(values) == 1
        return
    method = stats.PermutationMethod(n_resamples=2 ** len(values))
    assert effects.wilcoxon(values) == pytest.approx(
        stats.wilcoxon(values, zero_method="pratt", method=method).pvalue
    )


def test_wilcoxon_of_many():
    """Above twenty pairs the p is sampled, and close to the exact one where there are no ties."""
    values = np.random.default_rng(4).normal(0.4, 1, 25)
    assert effects.wilcoxon(values) == pytest.approx(
        stats.wilcoxon(values, method="exact").pvalue, abs=0.003
    )


def test_hodges_lehmann_published():
    """Hollander and Wolfe's patients improve by .46, at 96 % between .010 and .786."""
    found = effects.hodges_lehmann(paired_tests.differences(BEFORE, AFTER))
    assert found == pytest.approx((0.46, 0.010, 0.786), abs=0.0005)


@given(st.lists(st.integers(-2000, 2000), min_size=6, max_size=10, unique_by=abs))
@settings(max_examples=30, deadline=None)
def test_hodges_lehmann_inverts_the_test(values):
    """A shift within the interval is not rejected by the signed-rank test, one outside is."""
    _, low, high = effects.hodges_lehmann(values)
    array = np.array(values, dtype=float)
    for shift, rejected in (
        (low + 1e-3, False),
        (high - 1e-3, False),
        (low - 1e-3, True),
        (high + 1e-3, True),
    ):
        if low + 1e-3 < high:
            assert (
                stats.wilcoxon(array - shift, method="exact").pvalue <= 0.05
            ) == rejected or ties(array - shift)


def ties(values):
    sizes = np.abs(values)
    return len(set(sizes.round(9))) < len(sizes)


def test_signed_rank_null():
    """The chances of the sums of ranks are those of all sign vectors."""
    sums = [
        sum(rank for rank, sign in zip(range(1, 6), signs, strict=True) if sign)
        for signs in product((0, 1), repeat=5)
    ]
    assert effects._signed_rank_null(5) == pytest.approx(np.bincount(sums) / 32)


def test_too_few_for_an_interval():
    """Five pairs have no exact interval at 95 %, six have the whole range, none has nothing."""
    assert math.isnan(effects.hodges_lehmann([1, 2, 3, 4, 5]).low)
    assert effects.hodges_lehmann([1, 2, 3, 4, 5, 6]) == (3.5, 1, 6)
    assert all(math.isnan(value) for value in effects.hodges_lehmann([]))


@given(whole)
def test_laws(values):
    """Turning the comparison round turns every effect round and leaves p as it is."""
    turned = [-value for value in values]
    ours, other = effects.hodges_lehmann(values), effects.hodges_lehmann(turned)
    assert other == pytest.approx((-ours.value, -ours.high, -ours.low), nan_ok=True)
    assert effects.rank_biserial(turned) == pytest.approx(
        -effects.rank_biserial(values), nan_ok=True
    )
    assert effects.standardised(turned) == pytest.approx(-effects.standardised(values), nan_ok=True)
    assert (
        effects.wilcoxon(turned) == effects.wilcoxon(values) >= paired_tests.smallest(len(values))
    )
    ours, other = effects.equivalence(values, margin=2.0), effects.equivalence(turned, margin=2.0)
    assert other == pytest.approx((ours.p, -ours.high, -ours.low, ours.equivalent), nan_ok=True)


def test_rank_biserial():
    """All positive give 1, all negative -1, equal sums 0, and no difference at all nothing."""
    assert effects.rank_biserial([1, 2, 3]) == 1
    assert effects.rank_biserial([-1, -2]) == -1
    assert effects.rank_biserial([3, -1, -2]) == 0
    assert effects.rank_biserial([1, 2, -3, 0]) == pytest.approx((2 + 3 - 4) / 9)
    assert math.isnan(effects.rank_biserial([0, 0]))


def test_standardised():
    """The mean over the standard deviation; none without variance."""
    assert effects.standardised([1.0, 2.0, 3.0]) == 2
    assert math.isnan(effects.standardised([1.0, 1.0]))
    assert math.isnan(effects.standardised([1.0]))


@pytest.mark.parametrize("margin", [0.3, 1.0, 2.0])
def test_equivalence_agrees_with_statsmodels(margin):
    """The p of equivalence is that of statsmodels, and is below .05 just when the 90 % interval is within the margin."""
    oracle = pytest.importorskip(
        "statsmodels.stats.weightstats", reason="statsmodels comes with the extra `test`"
    )
    values = np.array([0.4, -0.6, 0.9, 0.1, -0.2, 0.7, -0.5, 0.3])
    found = effects.equivalence(values, margin=margin)
    assert found.p == pytest.approx(oracle.DescrStatsW(values).ttost_mean(-margin, margin)[0])
    assert (found.low, found.high) == pytest.approx(
        stats.ttest_1samp(values, 0).confidence_interval(0.9)
    )
    assert found.equivalent == (found.p < 0.05)


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=12), st.floats(0.5, 20))
def test_equivalence_is_one_decision(values, margin):
    """The p and the interval never disagree, and no interval is no equivalence."""
    found = effects.equivalence(values, margin=margin)
    assert found.equivalent == (found.p < 0.05) or found.p == pytest.approx(0.05)


def test_nothing_and_missing():
    """No pairs give no p and no effect; a missing difference is refused."""
    assert math.isnan(effects.wilcoxon([]))
    assert math.isnan(effects.rank_biserial([]))
    with pytest.raises(ValueError, match="no rank"):
        effects.wilcoxon([1.0, math.nan])
