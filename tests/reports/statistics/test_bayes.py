"""Bayesian tests against published numbers, baycomp, and laws they must keep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.statistics import bayes
from tests.reports.published import DEMSAR

GAIN = DEMSAR[:, 1] - DEMSAR[:, 0]
few = st.lists(st.integers(-30, 30), min_size=0, max_size=8)


def test_sign_on_demsar():
    """F11: with counts of 0, 8 and 6 and the prior on the rope, the chance of better is a binomial tail."""
    result = bayes.sign(GAIN, rope=0.01)
    assert result.right == pytest.approx(stats.binom.cdf(5, 14, 0.5), abs=1e-9)
    assert result.right == pytest.approx(0.21198, abs=5e-6)
    assert result.left == 0


def test_signed_rank_on_demsar():
    """F11: practically equivalent by a third, better by two thirds."""
    result = bayes.signed_rank(GAIN, rope=0.01)
    assert result == pytest.approx((0, 0.33, 0.67), abs=0.01)


@pytest.mark.parametrize("rope", [0.3, 1.0])
@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.8])
def test_agrees_with_baycomp(rope, shift):
    """Both tests give baycomp's chances, within four standard errors of its draws."""
    oracle = pytest.importorskip("baycomp", reason="baycomp comes with the extra `test`")
    values = np.random.default_rng(2).normal(shift, 1.5, 9)
    for ours, theirs in ((bayes.sign, oracle.SignTest), (bayes.signed_rank, oracle.SignedRankTest)):
        probs = theirs.probs(np.zeros(9), values, rope=rope, nsamples=20_000, random_state=0)
        assert ours(values, rope=rope) == pytest.approx(probs, abs=4 * np.sqrt(0.25 / 20_000))


@given(few, st.sampled_from([0.5, 1.0, 5.0]))
@settings(max_examples=40, deadline=None)
def test_sign_laws(values, rope):
    """The three chances add to one, and those of the reversed comparison are the same reversed."""
    result, turned = (
        bayes.sign(values, rope=rope),
        bayes.sign([-value for value in values], rope=rope),
    )
    assert sum(result) == pytest.approx(1)
    assert turned == pytest.approx(result[::-1])


@given(few)
@settings(max_examples=10, deadline=None)
def test_signed_rank_laws(values):
    """The three chances add to one, the reversed comparison has exactly the reversed ones, and a run can be repeated."""
    result = bayes.signed_rank(values, rope=1.0, draws=2_000)
    assert sum(result) == pytest.approx(1)
    assert bayes.signed_rank([-value for value in values], rope=1.0, draws=2_000) == result[::-1]
    assert repr(bayes.signed_rank(values, rope=1.0, draws=2_000)) == repr(result)


def test_certain():
    """Differences far outside the rope are decided, and those on its edge are inside."""
    assert bayes.signed_rank([9.0] * 8, rope=1.0).right > 0.99
    assert bayes.signed_rank([1.0] * 8, rope=1.0).rope == 1
    assert bayes.sign([-1.0] * 8, rope=1.0).rope == pytest.approx(1)
    assert bayes.sign([-9.0] * 8, rope=1.0).left > 0.99


def test_missing():
    """A missing difference is refused rather than counted as equivalence."""
    for test in (bayes.sign, bayes.signed_rank):
        with pytest.raises(ValueError, match="not a number"):
            test([1.0, np.nan], rope=1.0)
