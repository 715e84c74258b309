"""Scores of class probabilities against scikit-learn, and the calibration error against a known truth."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn import metrics

from reports.statistics.calibration import (
    TEMPERATURES,
    auroc,
    average_precision,
    calibration_error,
    fitted_temperature,
    probability_scores,
    scaled,
)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_two_classes_agree_with_scikit_learn(rng):
    """NLL, Brier score, AUROC and average precision, with tied scores."""
    labels = rng.integers(0, 2, 200)
    second = np.round(np.clip(0.5 + 0.2 * (labels - 0.5) + rng.normal(0, 0.2, 200), 0.01, 0.99), 2)
    scores = probability_scores(np.column_stack([1 - second, second]), labels)
    assert scores.nll == pytest.approx(metrics.log_loss(labels, second))
    assert scores.brier == pytest.approx(2 * metrics.brier_score_loss(labels, second))
    assert scores.auroc == pytest.approx(metrics.roc_auc_score(labels, second))
    assert scores.average_precision == pytest.approx(
        metrics.average_precision_score(labels, second)
    )


def test_more_classes_have_no_curve(rng):
    """Three classes have NLL and Brier score, and neither AUROC nor average precision."""
    probabilities = rng.dirichlet(np.ones(3), 100)
    labels = rng.integers(0, 3, 100)
    scores = probability_scores(probabilities, labels)
    assert scores.nll == pytest.approx(metrics.log_loss(labels, probabilities, labels=[0, 1, 2]))
    assert math.isnan(scores.auroc)
    assert math.isnan(scores.average_precision)


def test_a_single_class_of_labels_leaves_the_curves_undefined(rng):
    """It is not 0 and not 1."""
    assert math.isnan(auroc(rng.random(10), np.ones(10)))
    assert math.isnan(average_precision(rng.random(10), np.zeros(10)))


def test_the_calibration_error_is_debiased(rng):
    """Honest probabilities have an error near 0 however few rows there are; overconfidence by .1 shows as .1."""
    found = {"honest": [], "overconfident": []}
    for _ in range(200):
        confidence = rng.uniform(0.6, 0.85, 300)
        right = rng.random(300) < confidence
        labels = np.where(right, 1, 0)
        for name, more in (("honest", 0.0), ("overconfident", 0.1)):
            second = confidence + more
            error = calibration_error(np.column_stack([1 - second, second]), labels)
            found[name].append(error**2)
    assert np.sqrt(np.mean(found["honest"])) < 0.04
    assert np.sqrt(np.mean(found["overconfident"])) == pytest.approx(0.1, abs=0.01)


def drawn_rows(rng, classes, temperature, rows=40):
    """Return logits that are too great by a temperature, and labels drawn from the true probabilities."""
    logits = rng.normal(0, 2, (rows, classes))
    labels = (rng.random((rows, 1)) > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1)
    return temperature * logits, labels


@pytest.mark.parametrize("classes", [2, 3, 20])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_minimises_the_loss(rng, classes, temperature):
    """A search over scikit-learn's log loss of softmax(logits / T) finds the same temperature."""
    logits, labels = drawn_rows(rng, classes, temperature)

    def loss(log_temperature):
        probabilities = softmax(logits / np.exp(log_temperature), axis=1)
        return metrics.log_loss(labels, probabilities, labels=range(classes))

    best = minimize_scalar(loss, bounds=np.log(TEMPERATURES), options={"xatol": 1e-9})
    assert fitted_temperature(logits, labels) == pytest.approx(np.exp(best.x), rel=1e-4)


def test_the_temperature_is_recovered_from_many_rows(rng):
    """With labels drawn from softmax(logits / 2.5), the temperature is 2.5."""
    logits, labels = drawn_rows(rng, 3, 2.5, rows=50_000)
    assert fitted_temperature(logits, labels) == pytest.approx(2.5, rel=0.03)


@pytest.mark.parametrize(
    ("logits", "labels", "temperature"),
    [
        ([[2.0, 0.0], [0.0, 1.0]], [0, 1], 1.0),  # no error
        ([[900.0, -900.0]], [0], 1.0),  # a single row
        ([[2.0, 0.0], [0.0, 1.0]], [1, 0], TEMPERATURES[1]),  # every row is wrong
        ([[0.0, 0.0], [0.0, 0.0]], [0, 1], TEMPERATURES[1]),  # all rows have equal logits
        ([[1e-6, 0.0], [0.0, 0.01], [0.0, 0.01]], [1, 1, 1], TEMPERATURES[0]),  # tiny logits
        ([[800.0, 0.0, 1.0], [0.0, 900.0, 1.0]], [1, 1], TEMPERATURES[1]),  # great logits
    ],
)
def test_the_temperature_has_bounds(logits, labels, temperature):
    """Without an error it is 1; at a bound lies what would be 0 or infinite; nothing overflows."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert fitted_temperature(np.array(logits), np.array(labels)) == temperature


def test_scaled_probabilities_are_those_of_scaled_logits(rng):
    """Dividing logits by T, or raising their probabilities to the power 1 / T, is the same."""
    logits = rng.normal(0, 2, (50, 4))
    for temperature in (0.5, 1.0, 3.0):
        expected = softmax(logits / temperature, axis=1)
        assert scaled(softmax(logits, axis=1), temperature) == pytest.approx(expected)
    certain = scaled(np.array([[1.0, 0.0]]), TEMPERATURES[1])
    assert certain[0, 1] == pytest.approx(0.30, abs=0.01)  # 2**-24 in float16, and not 0


@pytest.mark.parametrize(("rows", "rest"), [(100, 0.042), (500, 0.016), (2000, 0.008)])
def test_a_calibrated_model_has_the_error_that_the_legend_states(rows, rest):
    """The mean squared error is free of bias, but the mean of its root is 0.042, 0.016 or 0.008."""
    rng = np.random.default_rng(24)
    errors = []
    for _ in range(300):
        first = rng.uniform(0.5, 1, rows)
        labels = (rng.random(rows) >= first).astype(np.int64)
        errors.append(calibration_error(np.stack([first, 1 - first], axis=1), labels))
    assert np.mean(errors) == pytest.approx(rest, rel=0.15)
