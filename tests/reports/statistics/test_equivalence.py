"""The equivalence test against another program and laws that it must keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.statistics.equivalence import equivalence


@pytest.mark.parametrize("margin", [0.3, 1.0, 2.0])
def test_equivalence_agrees_with_statsmodels(margin):
    """The p equals that of statsmodels, and p < .05 exactly if the 90 % interval lies within the margin."""
    oracle = pytest.importorskip(
        "statsmodels.stats.weightstats", reason="statsmodels comes with the extra `test`"
    )
    values = np.array([0.4, -0.6, 0.9, 0.1, -0.2, 0.7, -0.5, 0.3])
    result = equivalence(values, margin=margin)
    assert result.p == pytest.approx(oracle.DescrStatsW(values).ttost_mean(-margin, margin)[0])
    assert (result.low, result.high) == pytest.approx(
        stats.ttest_1samp(values, 0).confidence_interval(0.9)
    )
    assert result.equivalent == (result.p < 0.05)


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=12), st.floats(0.5, 20))
def test_p_and_interval_give_one_decision(values, margin):
    """The p and the interval never disagree; without an interval the result is not equivalent."""
    result = equivalence(values, margin=margin)
    assert result.equivalent == (result.p < 0.05) or result.p == pytest.approx(0.05)


@given(st.lists(st.integers(-12, 12), min_size=1, max_size=8))
def test_equivalence_is_symmetric(values):
    """Differences with the opposite sign give the same p and the mirrored interval."""
    ours = equivalence(values, margin=2.0)
    mirrored = equivalence([-value for value in values], margin=2.0)
    assert mirrored == pytest.approx((ours.p, -ours.high, -ours.low, ours.equivalent), nan_ok=True)
