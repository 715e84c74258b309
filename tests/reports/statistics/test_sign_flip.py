"""The sign-flip test against published numbers, scipy and laws that it must keep."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.statistics.conventions import paired_differences
from reports.statistics.sign_flip import EXACT_PAIRS, SIGN_VECTORS, sign_flip, smallest_p
from tests.reports.published import DEMSAR

whole = st.lists(st.integers(-40, 40), min_size=1, max_size=10)


def test_demsar():
    """The sign flip of C4.5 against C4.5 with m tuned gives 120 of 16384 over Demšar's 14 data sets."""
    assert sign_flip(paired_differences(DEMSAR[:, 1], DEMSAR[:, 0])) == 120 / 16384


def test_zeros_and_ties():
    """Counts out of 277 with as many wins as losses give p = 1, however their quotients are rounded."""
    first = np.array([172, 152, 160, 159, 151, 152, 170, 161]) / 277
    second = np.array([170, 155, 157, 161, 151, 149, 170, 164]) / 277
    exact = sign_flip(np.array([2, -3, 3, -2, 0, 3, 0, -3]))
    assert sign_flip(paired_differences(first, second)) == exact == 1


@given(whole)
@settings(max_examples=60)
def test_sign_flip_agrees_with_scipy(values):
    """The exact sign flip is the exhaustive paired permutation test of scipy."""
    if len(values) < 2:
        assert sign_flip(values) == 1
        return
    zero = np.zeros(len(values))
    oracle = stats.permutation_test(
        (np.array(values, dtype=float), zero),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert sign_flip(values) == pytest.approx(oracle.pvalue, abs=1e-12)


def test_sign_flip_of_large_differences():
    """Differences of millions have the same p as these differences in another unit; infinity raises an error."""
    values = np.array([3.0, -1.0, 4.0, 1.5, 9.0, 2.6, 5.0])
    assert sign_flip(values * 1e7) == sign_flip(values)
    with pytest.raises(ValueError, match="finite"):
        sign_flip([1.0, math.inf])


@given(whole)
def test_sign_flip_laws(values):
    """The p does not depend on the order of the methods or of the pairs, and is at least the smallest p."""
    p = sign_flip(values)
    assert p == sign_flip([-value for value in values]) == sign_flip(sorted(values))
    assert smallest_p(len(values)) <= p <= 1


def test_all_positive_reaches_the_smallest():
    """Differences of one sign give exactly the smallest p, for every number of pairs that is counted exactly."""
    for n in range(1, EXACT_PAIRS + 1):
        assert sign_flip(np.arange(1, n + 1) / 7) == smallest_p(n)


def test_sampled_flips():
    """Above `EXACT_PAIRS` the p is sampled from a fixed stream, is close to the exact p and is never zero."""
    rng = np.random.default_rng(3)
    values = rng.normal(0.3, 1, EXACT_PAIRS + 1)
    assert sign_flip(values) == sign_flip(values)
    exact = sign_flip(values[:-1])
    assert sign_flip([*values[:-1], 0.0]) == pytest.approx(exact, abs=0.006)
    assert sign_flip(np.ones(40)) == 1 / (SIGN_VECTORS + 1)


def test_no_pairs():
    """The p of no pairs is NaN."""
    assert math.isnan(sign_flip([]))
