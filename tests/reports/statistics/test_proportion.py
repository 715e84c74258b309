"""The upper bound of a proportion, against scipy."""

import pytest
from scipy import stats

from reports.statistics.proportion import upper_bound


@pytest.mark.parametrize(("count", "n"), [(0, 5), (2, 6), (5, 5), (30, 200)])
def test_the_bound_is_the_exact_one(count, n):
    """It is the one-sided bound of Clopper and Pearson, and 1 if all were seen."""
    theirs = stats.binomtest(count, n, alternative="less").proportion_ci(0.95, method="exact")
    assert upper_bound(count, n) == pytest.approx(theirs.high)
