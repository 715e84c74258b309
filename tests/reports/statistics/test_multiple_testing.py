"""Adjusted p against published numbers and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.statistics.multiple_testing import benjamini_hochberg, holm

# One-sided p of six tasks, from the readme of Dror et al. 2017
DROR = [0.168, 0.297, 0.357, 0.019, 0.218, 0.001]
# The example of Benjamini & Hochberg 1995
BENJAMINI = [
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459),
    *(0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1),
]


def test_holm_on_dror():
    """Of Dror's six p Holm's method rejects only the last, at .006."""
    adjusted = holm(DROR)
    assert adjusted[-1] == pytest.approx(0.006)
    assert [p <= 0.05 for p in adjusted] == [False] * 5 + [True]


def test_benjamini_hochberg_1995():
    """The fifteen p of the paper are adjusted as published: four are rejected, three by Holm's method."""
    adjusted = benjamini_hochberg(BENJAMINI)
    published = [0.0015, 0.003, 0.0095, 0.035625, 0.0603, 0.063857, 0.063857, 0.0645, 0.0765]
    assert adjusted[:9] == pytest.approx(published, abs=1e-6)
    assert (adjusted <= 0.05).sum() == 4
    assert (holm(BENJAMINI) <= 0.05).sum() == 3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusting_keeps_order(p):
    """Adjusted p lie between the raw p and 1 in the same order, Holm's are the larger, and scipy agrees."""
    by_holm, by_bh = holm(p), benjamini_hochberg(p)
    for adjusted in (by_holm, by_bh):
        assert np.all(adjusted >= np.array(p) - 1e-15)
        assert np.all(adjusted <= 1)
        assert np.all(np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0)
    assert np.all(by_holm >= by_bh - 1e-12)
    assert by_bh == pytest.approx(stats.false_discovery_control(p, method="bh"))


def test_empty_family():
    """An empty family stays empty."""
    assert holm([]).size == benjamini_hochberg([]).size == 0
