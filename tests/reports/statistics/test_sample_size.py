"""How many draws a difference needs: held against simulated studies of that many draws."""

import math

import numpy as np
import pytest

from reports.statistics.power import pairs_needed
from reports.statistics.sample_size import draws_needed
from reports.statistics.sign_flip import sign_flip


@pytest.mark.parametrize("between", [0.0, 0.5])
def test_so_many_draws_detect_the_difference_in_four_studies_of_five(between):
    """Studies over 9 tasks with the number of draws proposed find a true difference with a power near 80 %."""
    points, noise, tasks, draws = 1.0, 9.0, 9, 5
    sd = (between**2 + noise / draws) ** 0.5
    needed = draws_needed(points, tasks=tasks, sd=sd, noise=noise, draws=draws)
    rng = np.random.default_rng(1)
    spread = (between**2 + noise / needed) ** 0.5
    found = [sign_flip(rng.normal(points, spread, tasks)) <= 0.05 for _ in range(1000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)


def test_where_tasks_differ_too_much_no_number_of_draws_is_proposed():
    """More draws do not make tasks alike."""
    assert draws_needed(0.5, tasks=9, sd=3.0, noise=1.0, draws=10) == math.inf


def test_where_nothing_is_known_nothing_is_claimed():
    """Five tasks reach no p of .05; a single draw a task does not tell how draws differ.

    Equal draws of one task neither.
    """
    assert math.isnan(draws_needed(50.0, tasks=5, sd=1.0, noise=1.0, draws=10))
    assert math.isnan(draws_needed(1.0, tasks=8, sd=1.0, noise=math.nan, draws=1))
    assert math.isnan(draws_needed(1.0, tasks=1, sd=0.0, noise=0.0, draws=3))


def test_tasks_of_unequal_draws_are_told_from_noisy_ones():
    """No number of draws is proposed if tasks differ too much, also with unequal numbers of draws (20 and 2)."""
    counts = [20] * 7 + [2]
    harmonic = len(counts) / sum(1 / count for count in counts)
    sd = (1.0 + 9.0 / harmonic) ** 0.5  # tasks differ by a variance of 1, draws by one of 9
    assert draws_needed(1.0, tasks=8, sd=sd, noise=9.0, draws=harmonic) == math.inf


def test_over_the_draws_of_one_task_it_is_the_number_of_pairs():
    """With a single task the draws themselves are what is tested."""
    assert draws_needed(1.0, tasks=1, sd=1.0, noise=1.0, draws=5) == pairs_needed(1.0, 1.0)


def test_more_draws_are_needed_for_less():
    """Half the difference needs at least four times the draws where tasks do not differ."""
    some, more = (
        draws_needed(points, tasks=8, sd=1.0, noise=10.0, draws=10) for points in (1.0, 0.5)
    )
    assert more >= 4 * some - 3
