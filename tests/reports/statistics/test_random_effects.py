"""The random-effects mean against statsmodels, by hand, and laws it must keep."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.statistics.random_effects import PREDICTION_COVERS, random_effects

EFFECTS = [1.25, 0.74, 2.28, 1.21, -0.07, 1.72, 3.61, 2.89]
NOISE = [1.22, 1.89, 1.69, 0.30, 1.76, 0.36, 1.54, 0.60]

measured = st.lists(st.tuples(st.integers(-40, 40), st.integers(1, 30)), min_size=2, max_size=9)


@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_agrees_with_statsmodels(spread):
    """Mean, tau², I² and the prediction's error by Hartung and Knapp are those of statsmodels."""
    oracle = pytest.importorskip(
        "statsmodels.stats.meta_analysis", reason="statsmodels comes with the extra `test`"
    )
    effects = np.array(EFFECTS) * spread
    ours, theirs = (
        random_effects(effects, NOISE),
        oracle.combine_effects(effects, np.array(NOISE), method_re="dl"),
    )
    assert (ours.mean, ours.tau2, ours.i2) == pytest.approx(
        (theirs.mean_effect_re, theirs.tau2, theirs.i2)
    )
    half = stats.t.ppf(0.975, 6) * math.hypot(theirs.sd_eff_w_re_hksj, math.sqrt(theirs.tau2))
    assert (ours.predicted_low, ours.predicted_high) == pytest.approx(
        (ours.mean - half, ours.mean + half)
    )


def test_tasks_alike():
    """Tasks that differ less than their noise have tau² = 0, and then the fixed-effect mean of statsmodels.

    Its own tau² is negative there, and its random-effects mean is not to be used.
    """
    oracle = pytest.importorskip(
        "statsmodels.stats.meta_analysis", reason="statsmodels comes with the extra `test`"
    )
    effects = np.array(EFFECTS) * 0.3
    ours, theirs = (
        random_effects(effects, NOISE),
        oracle.combine_effects(effects, np.array(NOISE), method_re="dl"),
    )
    assert ours.mean == pytest.approx(theirs.mean_effect_fe)
    half = stats.t.ppf(0.975, 6) * theirs.sd_eff_w_fe_hksj
    assert ours.predicted_high == pytest.approx(ours.mean + half)
    assert (ours.tau2, ours.i2) == (0, 0)


def test_by_hand():
    """Two tasks measured with equal noise: tau² and I² follow from their difference; two give no prediction."""
    ours = random_effects([0.0, 4.0], [1.0, 1.0])
    assert (ours.mean, ours.tau2, ours.i2) == pytest.approx((2.0, 7.0, 7 / 8))
    assert math.isnan(ours.predicted_low)


@given(measured)
def test_laws(pairs):
    """Turning the comparison round turns the intervals round; another order of tasks changes nothing."""
    effects, noise = np.array(pairs, dtype=float).T
    ours, turned, shuffled = (
        random_effects(effects, noise),
        random_effects(-effects, noise),
        random_effects(effects[::-1], noise[::-1]),
    )
    assert (turned.predicted_low, turned.predicted_high) == pytest.approx(
        (-ours.predicted_high, -ours.predicted_low), nan_ok=True
    )
    assert turned.tau2 == pytest.approx(ours.tau2)
    assert shuffled == pytest.approx(ours, nan_ok=True)
    assert 0 <= ours.i2 <= 1
    assert ours.tau2 >= 0


@pytest.mark.parametrize(
    ("effects", "noise"),
    [([], []), ([1.0], [1.0]), ([1.0, 2.0], [1.0, 0.0]), ([1.0, math.nan], [1.0, 1.0])],
)
def test_no_interval(effects, noise):
    """One task, or a task measured without variance, gives no prediction."""
    ours = random_effects(effects, noise)
    assert all(math.isnan(value) for value in (ours.tau2, ours.predicted_low, ours.predicted_high))


def test_shapes():
    """Each effect needs its variance."""
    with pytest.raises(ValueError, match="belong together"):
        random_effects([1.0, 2.0], [1.0])


@pytest.mark.parametrize(("tasks", "spread"), [(4, 1.0), (5, 0.5), (8, 1.0), (12, 4.0)])
def test_predictions_cover_what_the_report_states(tasks, spread):
    """Of 600 intervals for one more task, about 87 to 95 % hold its effect, as legends and captions say."""
    rng, covered = np.random.default_rng(9), 0
    scale = np.linspace(1, 3, tasks)[:, None]  # noise of a draw, by task
    for _ in range(600):
        scores = rng.normal(0, spread, (tasks, 1)) + rng.normal(0, 1, (tasks, 5)) * scale
        ours = random_effects(scores.mean(axis=1), scores.var(axis=1, ddof=1) / 5)
        covered += ours.predicted_low <= rng.normal(0, spread) <= ours.predicted_high
    error = 0.014  # standard error of the simulation
    assert 0.87 - 2 * error <= covered / 600 <= 0.95 + 2 * error
    assert PREDICTION_COVERS == "covers 87 to 95 % in simulations with 4 to 12 tasks"
