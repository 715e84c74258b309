"""Scores of class probabilities against scikit-learn, and the calibration error against a known truth."""

import math

import numpy as np
import pytest
from sklearn import metrics

from reports.statistics.calibration import (
    auroc,
    average_precision,
    calibration_error,
    probability_scores,
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
