"""Aggregates against published numbers and by hand."""

import math
from fractions import Fraction
from itertools import combinations
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from reports.statistics import aggregates


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([[1, 2], [2, 2], [1, 1], [2, 1]], 1.5),
        ([[1, 1], [2, 2], [3, 3]], 2.0),
        (np.arange(80).reshape(5, 16), 39.5),
        (np.arange(1, 9), 4.5),
    ],
)
def test_interquartile_mean(values, mean):
    """F6: interquartile means are rliable's."""
    assert aggregates.interquartile_mean(values) == mean == stats.trim_mean(values, 0.25, axis=None)


def test_interquartile_mean_of_nothing():
    """No values have none."""
    assert math.isnan(aggregates.interquartile_mean([]))


@pytest.mark.parametrize(
    ("values", "n", "replaced", "plain"),
    [([1, 2, 3], 2, 22 / 9, 8 / 3), ([0.5, 0.6, 0.7, 0.8, 0.9], 3, 0.82, 0.85)],
)
def test_expected_best(values, n, replaced, plain):
    """F10: the expected best of a few is as counted, with and without replacement."""
    assert aggregates.expected_best(values, n, replacement=True) == pytest.approx(replaced)
    assert aggregates.expected_best(values, n) == pytest.approx(plain)


def test_expected_best_at_the_ends():
    """The best of one is the mean, of all the largest, and of more than there are unknown."""
    values = [3.0, 1.0, 2.0]
    assert aggregates.expected_best(values, 1) == pytest.approx(2)
    assert aggregates.expected_best(values, 3) == 3
    assert math.isnan(aggregates.expected_best(values, 4))
    assert math.isnan(aggregates.expected_best(values, 0))


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_expected_of_the_best(n):
    """What is expected of the best of a few is the mean over all choices of so many; of equal ones each is as likely kept."""
    dev, test = [0.5, 0.7, 0.7, 0.6, 0.7], [0.1, 0.9, 0.3, 0.4, 0.6]
    kept = [
        fmean(test[i] for i in chosen if dev[i] == max(dev[j] for j in chosen)) for chosen in combinations(range(5), n)
    ]  # fmt: skip
    assert aggregates.expected_best(dev, n, of=test) == pytest.approx(fmean(kept))


@pytest.mark.parametrize("n", [1, 2, 137, 499, 500])
def test_expected_best_of_many(n):
    """Of hundreds of values the chances are those of whole numbers, C(k - 1, n - 1) of C(N, n) choices, without their size."""
    exact = sum(Fraction(math.comb(k - 1, n - 1), math.comb(500, n)) * k for k in range(1, 501))
    assert aggregates.expected_best(range(1, 501), n) == pytest.approx(float(exact), rel=1e-12)


def test_components_by_hand():
    """Two draws of two seeds split as the analysis of variance says."""
    assert aggregates.variance_components([[1, 3], [5, 7]]) == pytest.approx((7, 2, 7 / 9, 2 / 9))
    assert aggregates.variance_components([[0, 10], [10, 0]]) == pytest.approx((0, 50, 0, 1))
    assert math.isnan(aggregates.variance_components([[2, 2], [2, 2]]).draw_share)


def test_components_are_found():
    """Over many grids the components average to what they were made with."""
    rng = np.random.default_rng(0)
    grids = 2.0 * rng.normal(size=(2_000, 8, 1)) + 1.0 * rng.normal(size=(2_000, 8, 3))
    found = np.array([aggregates.variance_components(grid)[:2] for grid in grids])
    errors = found.std(axis=0) / math.sqrt(len(found))
    assert np.all(abs(found.mean(axis=0) - [4, 1]) < 4 * errors)


@pytest.mark.parametrize("scores", [[[1, 2]], [[1], [2]], [1, 2, 3], [[1, 2], [3, math.nan]]])
def test_components_need_a_full_grid(scores):
    """One draw, one seed or a hole allow no split."""
    with pytest.raises(ValueError, match="two or more seeds"):
        aggregates.variance_components(scores)
