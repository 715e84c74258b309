"""Levels of repeated looks against published bounds and by simulation."""

import numpy as np
import pytest
from scipy import stats

from reports.statistics.looks import declared_level, undeclared_level


def test_bounds_are_the_published_ones():
    """Four equally spaced looks have the bounds that other programs print for this spending function."""
    bounds = (4.3326, 2.9631, 2.3590, 2.0141)
    levels = [declared_level([10 * k for k in range(1, look + 1)], 40) for look in range(1, 5)]
    assert [stats.norm.isf(level / 2) for level in levels] == pytest.approx(bounds, abs=0.002)


def test_a_single_look_at_the_maximum_has_the_whole_level():
    """Nothing was spent before."""
    assert declared_level([40], 40) == pytest.approx(0.05, abs=1e-4)


def test_the_error_of_all_looks_is_the_whole_level():
    """A Brownian motion crosses the bounds at 5, 10, 20 or 40 draws in 5 % of 40,000 nulls."""
    looks = (5, 10, 20, 40)
    steps = np.random.default_rng(1).normal(0, 1, (40_000, 40)).cumsum(axis=1)
    crossed = np.zeros(len(steps), dtype=bool)
    for number, draws in enumerate(looks):
        level = declared_level(looks[: number + 1], 40)
        crossed |= np.abs(steps[:, draws - 1]) / np.sqrt(draws) > stats.norm.isf(level / 2)
    assert crossed.mean() == pytest.approx(0.05, abs=0.004)


def test_levels_of_undeclared_looks():
    """The first look has .05; all later ones together have no more than half of it."""
    assert [undeclared_level(look) for look in (1, 2, 3)] == pytest.approx(
        [0.05, 0.05 / 6, 0.05 / 12]
    )
    assert sum(undeclared_level(look) for look in range(2, 10_000)) < 0.025
