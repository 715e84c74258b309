"""The score to expect of a model that is trained on all rows."""

import math

import numpy as np
import pytest

from reports.statistics.final_score import DrawScores, expected

SIZES = {"smaller": 100, "size": 200, "rows": 400}


def drawn(right, smaller=None, count=200):
    """Return a draw of `count` rows of which so many are right, in the order of the rows."""
    scores = np.arange(count) < right
    half = None if smaller is None else (np.arange(count) < smaller).astype(float)
    return DrawScores(np.arange(count), scores.astype(float), half)


def test_equal_draws_have_wilsons_interval():
    """Draws with the same answers on the same rows say no more than one: the interval is that of a proportion."""
    for right in (100, 180, 200):
        found = expected([drawn(right)] * 3, **SIZES)
        share, z2, n = right / 200, 1.959964**2, 200
        centre = (right + z2 / 2) / (n + z2)
        half = math.sqrt(z2 * (n * share * (1 - share) + z2 / 4)) / (n + z2)
        assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=2e-3)
        assert (found.mean, found.gain) == (share, 0.0)


def test_the_gain_is_continued_as_a_square_root():
    """From .6 with 100 rows to .7 with 200, the error .3 + a falls as 1 / sqrt(rows): .0707 less with 400."""
    found = expected([drawn(140, 120)] * 2, **SIZES)
    error = {n: 1 / math.sqrt(n) for n in (100, 200, 400)}
    scale = 0.1 / (error[100] - error[200])
    assert found.gain == pytest.approx(scale * (error[200] - error[400]))
    assert found.low < 0.7 + found.gain < found.high


def test_no_more_than_all_errors_vanish():
    """From .7 to .96, the error can fall to .04 / sqrt(2) at most; a loss is not continued."""
    found = expected([drawn(192, 140)] * 2, **SIZES)
    assert found.gain == pytest.approx(0.04 * (1 - math.sqrt(0.5)))
    assert expected([drawn(140, 150)] * 2, **SIZES).gain == 0.0
    for sizes in ({"rows": 200}, {"smaller": 200}):  # no further rows, and no smaller size
        assert expected([drawn(140, 120)] * 2, **(SIZES | sizes)).gain == 0.0


def test_trainings_that_differ_widen_the_interval():
    """Draws on the same rows with other scores differ by their trainings only."""
    alike = expected([drawn(140)] * 4, **SIZES)
    apart = expected([drawn(right) for right in (120, 130, 150, 160)], **SIZES)
    assert apart.mean == alike.mean
    assert apart.high - apart.low > 2 * (alike.high - alike.low)


def test_a_score_stays_within_its_bounds():
    """A correlation of nearly 1 has no interval beyond 1, and no pull towards 0."""
    values = 0.99 + 0.1 * np.random.default_rng(0).normal(size=100)
    draws = [DrawScores(np.arange(100), values + shift) for shift in (0.0, 0.001)]
    found = expected(draws, **SIZES, bounds=(-1.0, 1.0))
    assert found.high == 1.0
    assert found.mean - found.low < 0.05


@pytest.mark.parametrize(
    ("learned", "spread", "least"), [(0.0, 0.0, 0.92), (1.2, 0.02, 0.92), (1.2, 0.05, 0.90)]
)
def test_the_interval_covers_the_score_of_the_final_model(learned, spread, least):
    """Of 600 files, 92 % of the intervals contain the truth or more, 90 % if trainings differ by 5 points; not all."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(600):
        ease = rng.normal(0.0, 0.25, 200)  # rows that all trainings find easy or hard
        draws = []
        for _ in range(4):
            rows = rng.permutation(200)[:50]
            scores = []
            for size in (110, 55):
                share = 0.85 - learned / math.sqrt(size) + spread * rng.normal()
                scores.append((rng.random(50) < np.clip(share + ease[rows], 0, 1)).astype(float))
            draws.append(DrawScores(rows, *scores))
        final = 0.85 - learned / math.sqrt(200) + spread * rng.normal()
        truth = np.clip(final + rng.normal(0.0, 0.25, 4000), 0, 1).mean()
        found = expected(draws, smaller=55, size=110, rows=200)
        inside += found.low <= truth <= found.high
    assert least <= inside / 600 <= 0.99
