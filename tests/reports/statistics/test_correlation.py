"""Rank correlations against scipy, by hand, and by how often their intervals hold the truth."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.statistics import correlation
from reports.statistics.correlation import interval, over, rho, within

values = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12)


@given(values)
def test_rho_is_that_of_scipy(points):
    """With ties as without; a constant side has none."""
    x, y = zip(*points, strict=True)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(rho(x, y))
    else:
        assert rho(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=4, max_size=6))
def test_p_counts_all_orders(points):
    """The share of orders of one side that correlate as strongly, one by one with scipy's rho."""
    x, y = zip(*points, strict=True)
    found = over(x, y)
    if math.isnan(found.rho):
        assert math.isnan(found.p)
        return
    each = [abs(rho(x, order)) >= abs(found.rho) - 1e-9 for order in permutations(y)]
    assert found.p == pytest.approx(np.mean(each))
    every = [abs(rho(x, order)) for order in permutations(y)]
    assert found.smallest == pytest.approx(np.mean([value >= max(every) - 1e-9 for value in every]))


def test_p_of_many_points_is_sampled_and_agrees_with_scipy():
    """Above eight points orders come from a fixed stream.

    Scipy's own permutation test says the same within its noise.
    """
    rng = np.random.default_rng(3)
    x = rng.normal(size=12)
    y = 0.5 * x + rng.normal(size=12)
    found = over(x, y)
    assert found == over(x, y)
    other = stats.permutation_test(
        (x,),
        lambda order: stats.spearmanr(order, y).statistic,
        permutation_type="pairings",
        n_resamples=4000,
        rng=rng,
    )
    assert found.p == pytest.approx(other.pvalue, abs=0.02)
    assert found.smallest == 1 / 10_000


def test_interval_is_the_published_formula():
    """By hand for r = .5 and n = 19: z = .5493, its error sqrt(1.125 / 16) = .2652, so .0295 to .7891."""
    assert interval(0.5, 19) == pytest.approx((0.0295, 0.7891), abs=2e-4)
    assert interval(-0.5, 19) == pytest.approx((-0.7891, -0.0295), abs=2e-4)
    assert all(math.isnan(bound) for bound in interval(0.5, 3))


def test_a_perfect_order_still_has_a_width():
    """Six points in order do not prove a correlation of one."""
    low, high = interval(1.0, 6)
    assert high == 1
    assert 0 < low < 0.9
    assert interval(-1.0, 6) == (-high, -low)


def test_points_that_are_not_there_are_left_out():
    """And n says how many there were."""
    assert over([1, 2, math.nan, 3, 4], [1, 3, 9, 2, 4])[::4] == (pytest.approx(0.8), 4)


def test_tasks_are_the_units():
    """Cells are averaged inside tasks, small and constant ones left out; the interval is the t interval over tasks."""
    up, down, flat = ([1, 2, 3], [1, 2, 3]), ([1, 2, 3], [3, 1, 2]), ([1, 2, 3], [1, 1, 1])
    found = within([[up, down, flat], [up, ([1, 2], [2, 1])], [down], [flat]])
    means = [(1 - 0.5) / 2, 1.0, -0.5]
    assert found.rho == pytest.approx(np.mean(means))
    bounds = stats.t.interval(0.95, 2, np.mean(means), stats.sem(means))
    assert (found.low, found.high) == (
        pytest.approx(max(bounds[0], -1)),
        pytest.approx(min(bounds[1], 1)),
    )
    assert found.n == 3
    assert found.p == pytest.approx(0.75)  # of eight sign vectors six give as much
    assert found.smallest == 2 / 2**3
    assert (
        within([[up], [up], [([1, 2, 3], [1, 3, 1])]]).smallest == 2 / 2**2
    )  # no sign to flip in the last
    alone = within([[up, up]])
    assert (alone.rho, alone.n) == (1, 1)
    assert math.isnan(alone.low)
    assert math.isnan(alone.p)
    assert within([[flat]]) == correlation.NONE or within([[flat]]).n == 0


def normal(rng, r, shape):
    """Pairs of normal numbers with that correlation."""
    x = rng.normal(size=shape)
    return x, r * x + math.sqrt(1 - r * r) * rng.normal(size=shape)


@pytest.mark.parametrize(("n", "r"), [(6, 0.0), (6, 0.9), (8, 0.5), (12, 0.7)])
def test_intervals_over_points_hold_the_truth(n, r):
    """At least 93 % of 1500 hold the Spearman correlation of normal pairs, 6/pi arcsin(r/2).

    Over few points more do.
    """
    rng = np.random.default_rng(n)
    held = 0
    for _ in range(1500):
        low, high = interval(rho(*normal(rng, r, n)), n)
        held += low <= 6 / math.pi * math.asin(r / 2) <= high
    assert held / 1500 >= 0.93


@pytest.mark.parametrize("r", [0.0, 0.5])
def test_intervals_within_cells_hold_the_truth(r):
    """The interval holds the expected correlation of five draws (Moran 1948) in 92 to 98 % of 600 simulations."""
    rng = np.random.default_rng(5)
    truth = 6 / (math.pi * 6) * (math.asin(r) + 3 * math.asin(r / 2))
    held = alarms = 0
    for _ in range(600):
        base = normal(rng, r, (6, 1, 5))
        own = normal(rng, r, (6, 2, 5))
        x, y = (
            0.7 * shared + math.sqrt(0.51) * alone for shared, alone in zip(base, own, strict=True)
        )
        found = within([[(x[t, s], y[t, s]) for s in range(2)] for t in range(6)])
        held += found.low <= truth <= found.high
        alarms += found.p <= 0.05
    assert abs(held / 600 - 0.95) <= 0.03
    assert r > 0 or alarms / 600 <= 0.05 + 0.02
