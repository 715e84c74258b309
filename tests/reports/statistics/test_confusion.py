"""Confusion matrices and scores of classes against scikit-learn."""

import warnings

import numpy as np
import pytest
from sklearn import metrics

from reports.statistics.confusion import class_scores, confusion_matrix


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_scores_of_classes_are_those_of_scikit_learn(classes):
    """The matrix, precision, recall and F1 agree, also for a class that is never predicted."""
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 200).astype(float)
    predictions = np.where(rng.random(200) < 0.6, labels, rng.integers(0, classes - 1, 200))
    predictions[predictions == classes - 1] = 0
    known = range(classes)
    confusion = confusion_matrix(predictions, labels, classes)
    assert np.array_equal(confusion, metrics.confusion_matrix(labels, predictions, labels=known))
    expected = metrics.precision_recall_fscore_support(
        labels, predictions, labels=known, zero_division=0
    )
    for found, value in zip(class_scores(confusion), expected[:3], strict=True):
        assert found == pytest.approx(value)


def test_what_is_undefined_is_nan():
    """A class without rows has no recall; one that does not occur at all has no score; nothing warns."""
    confusion = confusion_matrix(np.array([1.0, 1.0, 0.0]), np.array([0.0, 0.0, 0.0]), 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = class_scores(confusion)
    assert scores.precision == pytest.approx([1, 0, np.nan], nan_ok=True)
    assert scores.recall == pytest.approx([1 / 3, np.nan, np.nan], nan_ok=True)
    assert scores.f1 == pytest.approx([0.5, 0, np.nan], nan_ok=True)
