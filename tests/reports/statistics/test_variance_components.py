"""Variance components by hand and by simulation."""

import math

import numpy as np
import pytest

from reports.statistics.variance_components import variance_components


def test_components_by_hand():
    """Two draws of two seeds are split as the analysis of variance says."""
    assert variance_components([[1, 3], [5, 7]]) == pytest.approx((7, 2))
    assert variance_components([[0, 10], [10, 0]]) == pytest.approx((0, 50))
    assert variance_components([[2, 2], [2, 2]]) == (0, 0)


def test_components_are_unbiased():
    """Over 2,000 simulated grids the components average to the variances of the simulation."""
    rng = np.random.default_rng(0)
    grids = 2.0 * rng.normal(size=(2_000, 8, 1)) + 1.0 * rng.normal(size=(2_000, 8, 3))
    components = np.array([variance_components(grid) for grid in grids])
    errors = components.std(axis=0) / math.sqrt(len(components))
    assert np.all(abs(components.mean(axis=0) - [4, 1]) < 4 * errors)


@pytest.mark.parametrize("scores", [[[1, 2]], [[1], [2]], [1, 2, 3], [[1, 2], [3, math.nan]]])
def test_components_need_a_full_grid(scores):
    """A single draw, a single seed or a missing score raises an error."""
    with pytest.raises(ValueError, match="two or more seeds"):
        variance_components(scores)
