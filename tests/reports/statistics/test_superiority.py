"""Chances of winning against published numbers and laws they must keep."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.statistics import superiority as superiority_module
from reports.statistics.superiority import pairs_for, superiority, unpaired

clusters = st.lists(
    st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=3), min_size=1, max_size=6),
    min_size=1,
    max_size=4,
)


def test_a12():
    """F12: one to five against two to six wins .32."""
    assert unpaired(range(1, 6), range(2, 7)) == pytest.approx(0.32)


def test_probability_of_improvement():
    """F6: over rliable's two tasks the chance is a third."""
    first, second = np.array([[1, 2], [2, 2], [1, 1], [2, 1]]), np.array([[1, 1], [2, 2], [3, 3]])
    assert np.mean(
        [unpaired(first[:, task], second[:, task]) for task in range(2)]
    ) == pytest.approx(1 / 3)


def test_noether():
    """F12: 28.86 pairs tell .75 from .5 with errors of 5 %."""
    assert pairs_for() == pytest.approx(28.86, abs=0.005)


def test_tasks_weigh_the_same():
    """A task with many runs says no more than one with few, ties are one half."""
    result = superiority([[[1.0]] * 18 + [[0.0]] * 2, [[-1.0]]])
    assert result.chance == pytest.approx((19 / 20 + 0) / 2)
    assert result.draws == 21


def test_runs_of_a_draw_stand_together():
    """Three copies of every run leave the interval as wide as it was."""
    won = np.random.default_rng(1).choice([-1.0, 1.0], size=(2, 12))
    once = superiority([[[value] for value in task] for task in won])
    thrice = superiority([[[value] * 3 for value in task] for task in won])
    assert thrice == once


@given(clusters)
@settings(max_examples=25, deadline=None)
def test_laws(tasks):
    """The reversed comparison has the reversed interval, and the same data the same bytes."""
    ours, turned = (
        superiority(tasks),
        superiority([[[-v for v in runs] for runs in draws] for draws in tasks]),
    )
    assert turned.chance == pytest.approx(1 - ours.chance)
    assert (turned.low, turned.high) == pytest.approx((1 - ours.high, 1 - ours.low), nan_ok=True)
    assert repr(superiority(tasks)) == repr(ours)
    if not math.isnan(ours.low):
        assert 0 <= ours.low <= ours.chance <= ours.high <= 1


@pytest.mark.parametrize(
    ("wins", "verdict"),
    [
        (20, "not significant"),
        (27, "significant, not meaningful"),
        (36, "significant and meaningful"),
    ],
)
def test_verdicts(wins, verdict):
    """Half of forty draws is nothing, two thirds of many is significant only, nine tenths is meaningful."""
    repeat = 4 if wins == 27 else 1
    result = superiority([([[1.0]] * wins + [[-1.0]] * (40 - wins)) * repeat])
    assert result.verdict == verdict


def test_too_few_draws():
    """Nine draws have a share, but no interval and no verdict; nor has nothing."""
    result = superiority([[[1.0]] * 9])
    assert (result.chance, result.verdict) == (1.0, "too few draws")
    assert math.isnan(result.low)
    assert superiority([]).draws == superiority([[], [[]]]).draws == 0


def test_all_won():
    """Twelve draws of twelve leave the chance that a binomial test leaves, and so do twelve lost."""
    exact = stats.binomtest(12, 12).proportion_ci(0.95, method="exact")
    won, lost = superiority([[[1.0]] * 6] * 2), superiority([[[-1.0]] * 6] * 2)
    assert (won.low, won.high) == pytest.approx((exact.low, 1))
    assert (lost.low, lost.high) == pytest.approx((0, 1 - exact.low))
    assert (won.verdict, lost.verdict) == ("significant and meaningful", "not significant")


def test_one_draw_of_a_task():
    """A task with a single draw says nothing of its spread, so there is no interval."""
    assert superiority([[[1.0], [-1.0]] * 6, [[1.0]]]).verdict == "too few draws"


def test_resampling_has_the_right_spread():
    """Shares drawn again vary as the mean of five draws does: by s² / n, and not by (n - 1) / n of it."""
    won = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    shares = superiority_module._resampled(
        [np.array([one]) for one in won], np.random.default_rng(0)
    )
    assert shares.var() == pytest.approx(won.var(ddof=1) / 5, rel=0.05)


def test_just_enough_draws():
    """Ten draws, two of them on one task, have an interval."""
    assert not math.isnan(superiority([[[1.0], [-1.0]] * 4, [[1.0], [-1.0]]]).low)
