"""How many draws a difference needs: held against simulated studies, which know the variances."""

import math

import numpy as np
import pytest
from scipy import stats

from reports.statistics.sample_size import (
    DrawsNeeded,
    Variance,
    draws_for_other_tasks,
    draws_on_these_tasks,
)
from reports.statistics.sign_flip import sign_flip

KNOWN = math.inf  # degrees of freedom of a variance that is not an estimate


def other_tasks(points, *, tasks=8, means, noise, draws, df=KNOWN):
    return draws_for_other_tasks(
        points,
        tasks=tasks,
        means=Variance(means, df),
        draw=Variance(noise, df),
        draws=draws,
    )


@pytest.mark.parametrize("between", [0.0, 0.5])
def test_this_many_draws_detect_the_difference_in_four_studies_of_five(between):
    """Studies over 9 tasks with the proposed number of draws find a true difference with a power near 80 %."""
    points, noise, tasks, draws = 1.0, 9.0, 9, 5
    needed = other_tasks(
        points, tasks=tasks, means=between**2 + noise / draws, noise=noise, draws=draws
    )
    assert needed.low == needed.high
    rng = np.random.default_rng(1)
    spread = (between**2 + noise / needed.low) ** 0.5
    rejected = [sign_flip(rng.normal(points, spread, tasks)) <= 0.05 for _ in range(1000)]
    assert np.mean(rejected) == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize("fixed", [0.0, 0.05])
def test_draws_of_one_task(fixed):
    """The same for the t test on one task, whose test rows add a variance that more draws do not change."""
    needed = draws_on_these_tasks(1.0, draw=Variance(4.0, KNOWN), rows=Variance(fixed, KNOWN))
    assert needed.low == needed.high
    n = int(needed.low)
    shift = 1.0 / math.sqrt(4.0 / n + fixed)
    power = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, shift)
    assert power == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("tasks", "draws"), [(8, 5), (10, 10)])
def test_the_interval_holds_the_number_that_the_true_variances_give(tasks, draws):
    """In nine of ten studies, where both variances are estimated from the study itself."""
    between, noise = 0.3, 4.0
    truth = other_tasks(1.0, tasks=tasks, means=between + noise / draws, noise=noise, draws=draws)
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(300):
        means = (between + noise / draws) * rng.chisquare(tasks - 1) / (tasks - 1)
        df = tasks * (draws - 1)
        interval = draws_for_other_tasks(
            1.0,
            tasks=tasks,
            means=Variance(means, tasks - 1),
            draw=Variance(noise * rng.chisquare(df) / df, df),
            draws=draws,
        )
        inside += interval.low <= truth.low <= interval.high
    # The number is whole, so the interval holds it somewhat more often.
    assert 0.86 <= inside / 300 <= 0.99


def test_where_tasks_differ_too_much_no_number_of_draws_is_proposed():
    """More draws do not make tasks alike."""
    assert other_tasks(0.5, tasks=9, means=9.0, noise=1.0, draws=10) == (math.inf, math.inf)


def test_test_rows_can_forbid_any_number_of_draws():
    """More draws do not make a test set larger."""
    needed = draws_on_these_tasks(1.0, draw=Variance(1.0, KNOWN), rows=Variance(1.0, KNOWN))
    assert needed == (math.inf, math.inf)


def test_where_nothing_is_known_nothing_is_claimed():
    """Five tasks reach no p of .05; a single draw per task does not show how draws differ."""
    five = other_tasks(50.0, tasks=5, means=1.0, noise=1.0, draws=10)
    single = other_tasks(1.0, means=1.0, noise=math.nan, draws=1)
    assert all(math.isnan(bound) for bound in (*five, *single))


def test_tasks_of_unequal_draws_are_told_from_noisy_ones():
    """No number of draws is proposed if tasks differ too much, also with unequal numbers of draws (20 and 2)."""
    counts = [20] * 7 + [2]
    harmonic = len(counts) / sum(1 / count for count in counts)
    # tasks differ by a variance of 1, draws by one of 9
    needed = other_tasks(1.0, means=1.0 + 9.0 / harmonic, noise=9.0, draws=harmonic)
    assert needed == (math.inf, math.inf)


def test_fewer_degrees_of_freedom_give_a_wider_interval():
    """A variance that is known gives one number; one from five draws gives a wide range around it."""
    known = draws_on_these_tasks(1.0, draw=Variance(4.0, KNOWN), rows=Variance(0.0, KNOWN))
    some = draws_on_these_tasks(1.0, draw=Variance(4.0, 4), rows=Variance(0.0, KNOWN))
    assert some.low < known.low < some.high
    assert isinstance(some, DrawsNeeded)


def test_more_draws_are_needed_for_less():
    """Half the difference needs at least four times the draws where tasks do not differ."""
    some, more = (other_tasks(points, means=1.0, noise=10.0, draws=10).low for points in (1.0, 0.5))
    assert more >= 4 * some - 3
