"""The power of the t test matches that of another program, and that of the sign flip matches simulated studies."""

import math
from itertools import pairwise

import numpy as np
import pytest

from reports.statistics.power import detectable, detectable_by_flips, power_of_flips
from reports.statistics.sign_flip import sign_flip


@pytest.mark.parametrize(
    ("n", "effect"), [(3, 3.26), (5, 1.68), (8, 1.16), (10, 1.00), (15, 0.78), (20, 0.66)]
)
def test_detectable(n, effect):
    """The smallest effects that n pairs find with 80 % power are those of a power calculation for the paired t test."""
    error = 1 / math.sqrt(n)
    assert detectable(error, n - 1) == pytest.approx(effect, abs=0.005)
    assert detectable(3 * error, n - 1) == pytest.approx(3 * detectable(error, n - 1))


@pytest.mark.parametrize(
    ("n", "alpha"),
    [
        (6, 0.05),
        (7, 0.05),
        (8, 0.05),
        (10, 0.05),
        (13, 0.05),
        (20, 0.05),
        (7, 0.025),
        (8, 0.01),
        (9, 0.00625),
        (11, 0.01),
        (14, 0.001),
    ],
)
def test_what_a_sign_flip_finds(n, alpha):
    """Studies with the difference that is called detectable are settled by the sign flip in four of five."""
    effect = detectable_by_flips(n, 1.0, alpha=alpha)
    rng = np.random.default_rng(11)
    found = [sign_flip(rng.normal(effect, 1, n)) <= alpha for _ in range(1500)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.035)


def test_six_pairs_must_have_one_sign():
    """Over six pairs nothing else reaches .05, so the power is known in closed form, and far from that of a t test."""
    assert power_of_flips(6, 1.7927) == pytest.approx(0.8, abs=0.001)
    assert detectable_by_flips(6, 1.0) == pytest.approx(1.7927, abs=0.001)
    assert detectable(1 / math.sqrt(6), 5) == pytest.approx(1.435, abs=0.001)
    assert power_of_flips(5, 100.0) == 0
    assert math.isnan(detectable_by_flips(5, 1.0))


def test_more_pairs_find_smaller_differences():
    """However the power is found for a number of pairs, one pair more never needs a larger difference."""
    for alpha in (0.05, 0.0125):
        found = [detectable_by_flips(n, 1.0, alpha=alpha) for n in range(9, 40)]
        assert all(more <= some + 0.02 for some, more in pairwise(found))


def test_without_variance_nothing_is_detectable():
    """Nor with a single pair."""
    assert math.isnan(detectable_by_flips(1, 1.0))
    assert math.isnan(detectable_by_flips(8, 0.0))
    assert math.isnan(detectable(0.0, 5))
