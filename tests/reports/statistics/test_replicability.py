"""Counts of tasks against the published example, and laws they must keep."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.statistics import replicability
from tests.reports.published import DROR

chances = st.lists(st.floats(0, 1), min_size=1, max_size=9)


def test_dror():
    """F3: of six tasks one may be claimed under any dependence, two if independent, and Holm names the last."""
    result = replicability.replicability(DROR)
    assert result == (6, 1, 2, (5,))
    assert replicability.partial_conjunction(DROR)[:3] == pytest.approx([0.006, 0.095, 0.672])
    fisher = replicability.partial_conjunction(DROR, "fisher")
    assert fisher == pytest.approx([0.00102, 0.0399, 0.19598, 0.27422, 0.34396, 0.357], abs=6e-6)


@given(chances, st.randoms(use_true_random=False))
def test_laws(p, random):
    """The p rise with the count claimed, the order of tasks is nothing to the count, and Holm never names more."""
    shuffled = random.sample(p, len(p))
    for combination in ("bonferroni", "fisher"):
        values = replicability.partial_conjunction(p, combination)
        assert np.all(np.diff(values) >= 0)
        assert np.all((values >= 0) & (values <= 1))
        assert replicability.partial_conjunction(shuffled, combination) == pytest.approx(values)
    result = replicability.replicability(p)
    assert len(result.named) == result.bonferroni  # both step through m p(1), (m - 1) p(2), ...


def test_no_p():
    """No task, or a task that has no p, adds nothing to the count; a p of zero is no trouble."""
    assert replicability.replicability([]) == (0, 0, 0, ())
    assert replicability.replicability([math.nan, 0.0]) == (2, 1, 1, (1,))


def test_directions():
    """Each direction has its own one-sided tests, and changing the methods round changes the directions round."""
    tasks = [
        np.array([1.0, 1.2, 0.9, 1.1]),
        np.array([-1.0, -1.1, -0.8, -1.3]),
        np.array([0.5, -0.4, 0.2, -0.3]),
        np.ones(3),
    ]
    result = replicability.directions(tasks)
    assert (result.ahead.named, result.behind.named) == ((0,), (1,))
    assert replicability.directions([-values for values in tasks]) == result[::-1]
    assert replicability.one_sided(tasks[2]) == pytest.approx(
        [stats.ttest_1samp(tasks[2], 0, alternative=side).pvalue for side in ("greater", "less")]
    )
    assert all(math.isnan(p) for p in replicability.one_sided([1.0]))


def test_at_the_level():
    """A p of exactly the level counts, and two draws are enough for a p."""
    result = replicability.replicability([0.05])
    assert (result.bonferroni, result.named) == (1, (0,))
    assert not any(math.isnan(p) for p in replicability.one_sided([1.0, 2.0]))
