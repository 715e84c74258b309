"""The expected best against published numbers, by hand and by exact counting."""

import math
from fractions import Fraction
from itertools import combinations
from statistics import fmean

import pytest

from reports.statistics.expected_best import expected_best


@pytest.mark.parametrize(
    ("values", "n", "expected"),
    [([1, 2, 3], 2, 8 / 3), ([0.5, 0.6, 0.7, 0.8, 0.9], 3, 0.85)],
)
def test_expected_best(values, n, expected):
    """F10: the expected best of n values equals the mean over all choices of n, counted by hand."""
    assert expected_best(values, n) == pytest.approx(expected)


def test_expected_best_at_the_ends():
    """The best of 1 is the mean, the best of all is the maximum, and outside of that range it is NaN."""
    values = [3.0, 1.0, 2.0]
    assert expected_best(values, 1) == pytest.approx(2)
    assert expected_best(values, 3) == 3
    assert math.isnan(expected_best(values, 4))
    assert math.isnan(expected_best(values, 0))


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_expected_test_score_of_the_best(n):
    """With `of`, the result is the mean over all choices of n items; equal values are kept equally often."""
    dev, test = [0.5, 0.7, 0.7, 0.6, 0.7], [0.1, 0.9, 0.3, 0.4, 0.6]
    kept = [
        fmean(test[i] for i in chosen if dev[i] == max(dev[j] for j in chosen))
        for chosen in combinations(range(5), n)
    ]
    assert expected_best(dev, n, of=test) == pytest.approx(fmean(kept))


@pytest.mark.parametrize("n", [1, 2, 137, 499, 500])
def test_expected_best_of_many(n):
    """With 500 values the weights equal C(k - 1, n - 1) / C(500, n), computed in exact fractions."""
    exact = sum(Fraction(math.comb(k - 1, n - 1), math.comb(500, n)) * k for k in range(1, 501))
    assert expected_best(range(1, 501), n) == pytest.approx(float(exact), rel=1e-12)
