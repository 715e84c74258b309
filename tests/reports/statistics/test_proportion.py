"""Bounds and intervals of proportions, against scipy and simulations."""

import numpy as np
import pytest
from scipy import stats

from reports.statistics.proportion import clustered_interval, exact_interval, upper_bound


@pytest.mark.parametrize(("count", "n"), [(0, 5), (2, 6), (5, 5), (30, 200)])
def test_the_bound_is_the_exact_one(count, n):
    """It is the one-sided bound of Clopper and Pearson, and 1 if all were seen."""
    theirs = stats.binomtest(count, n, alternative="less").proportion_ci(0.95, method="exact")
    assert upper_bound(count, n) == pytest.approx(theirs.high)


def test_the_interval_is_the_exact_one():
    """Of every count out of 7, it is the two-sided interval of Clopper and Pearson."""
    low, high = exact_interval(np.arange(8) / 7, np.full(8, 7.0))
    theirs = [stats.binomtest(count, 7).proportion_ci(0.95, method="exact") for count in range(8)]
    assert low == pytest.approx([one.low for one in theirs])
    assert high == pytest.approx([one.high for one in theirs])


def test_runs_of_a_cluster_are_one_observation():
    """A cluster of three equal runs shows as much as one run."""
    reached = np.array([[1.0], [1.0], [0.0], [1.0], [1.0]])
    strata = np.zeros(5, dtype=np.int64)
    once = np.ravel(clustered_interval(reached, np.ones(5), strata))
    thrice = np.ravel(clustered_interval(3 * reached, np.full(5, 3.0), strata))
    assert thrice == pytest.approx(once)
    assert once[1:] == pytest.approx(np.ravel(exact_interval(np.array([0.8]), np.array([5.0]))))


@pytest.mark.parametrize("draws", [3, 5, 10])
@pytest.mark.parametrize("tasks", [1, 6])
def test_bands_of_few_draws_cover(draws, tasks):
    """At least 93 % of bands hold the true fraction, also one that all draws reach; tasks that differ narrow them."""
    rng = np.random.default_rng(5)
    strata = np.repeat(np.arange(tasks), draws)
    levels = 3 * np.linspace(-1, 1, tasks) if tasks > 1 else np.zeros(1)
    goals = np.array([-4.0, -2.0, -0.5, 1.0])
    truth = stats.norm.sf(goals[:, None] - levels).mean(axis=1)
    covered, widths = np.zeros(len(goals)), np.zeros(len(goals))
    for _ in range(1000):
        scores = rng.normal(levels[strata], 1)
        reached = (scores[:, None] >= goals).astype(float)
        _, low, high = clustered_interval(reached, np.ones(len(strata)), strata)
        covered += (low <= truth) & (truth <= high)
        widths += high - low
    assert covered.min() >= 930
    if (tasks, draws) == (6, 10):
        low, high = exact_interval(truth, np.full(len(goals), 60.0))
        assert widths[2] / 1000 < 0.8 * (high - low)[2]
