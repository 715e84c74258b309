"""Reliability curves: their bins, and the coverage of their intervals where draws share test rows."""

import numpy as np
import pytest
from scipy.special import ndtri
from statsmodels.stats.proportion import proportion_confint

from reports.statistics.reliability import Pool, reliability_curve

LEVELS = np.array([0.55, 0.7, 0.8, 0.9, 0.97])  # the probability of the predicted class


def drawn(rng, draws, rows, by_row=0.0, by_draw=0.0):
    """Return a pool whose predictions are correct as often as their confidence says.

    Rows and draws have normal effects on the probit, so their predictions are not independent.
    """
    level = np.sort(rng.integers(0, len(LEVELS), rows))
    probit = ndtri(LEVELS)[level] * np.sqrt(1 + by_row**2 + by_draw**2)
    probit = probit + rng.normal(0, by_row, rows) + rng.normal(0, by_draw, (draws, 1))
    correct = probit + rng.normal(0, 1, (draws, rows)) > 0
    return Pool(
        confidence=np.tile(LEVELS[level], draws),
        correct=correct.ravel().astype(float),
        draw=np.repeat(np.arange(draws), rows),
        row=np.tile(np.arange(rows), draws),
    )


def repeated(pool, times):
    """Return the same predictions in several draws."""
    return Pool(
        *(np.tile(values, times) for values in pool[:2]),
        np.repeat(np.arange(times), len(pool.row)),
        np.tile(pool.row, times),
    )


def test_bins_have_equal_counts():
    """Rows are sorted by confidence; each bin has its share, its mean confidence and its accuracy."""
    rng = np.random.default_rng(0)
    pool = Pool(rng.random(103), (rng.random(103) < 0.5) * 1.0, np.zeros(103, int), np.arange(103))
    order = np.argsort(pool.confidence)
    bins = reliability_curve(pool, 10)
    assert [one.predictions for one in bins] == [11] * 3 + [10] * 7
    start = 0
    for one in bins:
        part = order[start : start + one.predictions]
        assert one.confidence == pytest.approx(pool.confidence[part].mean())
        assert one.accuracy == pytest.approx(pool.correct[part].mean())
        assert 0 <= one.low < one.accuracy < one.high <= 1
        start += one.predictions


def test_independent_predictions_have_the_interval_of_wilson():
    """With one draw of many independent rows, it is that of statsmodels up to the estimated design effect."""
    pool = drawn(np.random.default_rng(1), 1, 20_000)
    for one in reliability_curve(pool, 5):
        hits = round(one.accuracy * one.predictions)
        low, high = proportion_confint(hits, one.predictions, method="wilson")
        assert (one.low, one.high) == pytest.approx((low, high), abs=0.002)


@pytest.mark.parametrize("times", [2, 5, 20])
def test_repeated_predictions_add_nothing(times):
    """Draws that repeat the predictions of one draw have its interval."""
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.5, 1, 300)
    correct = (rng.random(300) < confidence).astype(float)
    pool = Pool(confidence, correct, np.zeros(300, int), np.arange(300))
    for one, many in zip(
        reliability_curve(pool, 5), reliability_curve(repeated(pool, times), 5), strict=True
    ):
        assert many.predictions == times * one.predictions
        assert many[:4] == pytest.approx(one[:4])


@pytest.mark.parametrize(
    ("draws", "rows", "by_row", "by_draw"),
    [(1, 200, 0.0, 0.0), (5, 200, 1.0, 0.2), (10, 200, 2.0, 0.0), (10, 500, 0.5, 0.5)],
)
def test_intervals_cover_the_truth(draws, rows, by_row, by_draw):
    """About 95 % of the intervals contain the true accuracy, whatever repeats: rows, draws or both."""
    rng, covered, independent = np.random.default_rng(3), [], []
    for _ in range(120):
        for one in reliability_curve(drawn(rng, draws, rows, by_row, by_draw), 5):
            covered.append(one.low <= one.confidence <= one.high)
            hits = round(one.accuracy * one.predictions)
            low, high = proportion_confint(hits, one.predictions, method="wilson")
            independent.append(low <= one.confidence <= high)
    assert 0.92 <= np.mean(covered) <= 0.995
    if draws > 1:
        assert np.mean(independent) < 0.9


def test_a_bin_without_an_error_has_an_interval():
    """Where every prediction is correct, the interval is that of the number of distinct rows."""
    ones = np.ones(40)
    pool = Pool(ones, ones, np.zeros(40, int), np.arange(40))
    (alone,), (many,) = (reliability_curve(one, 1) for one in (pool, repeated(pool, 10)))
    low, _ = proportion_confint(40, 40, method="wilson")
    assert (alone.low, alone.high) == pytest.approx((low, 1), abs=0.01)
    assert (many.low, many.high) == pytest.approx((alone.low, alone.high))
