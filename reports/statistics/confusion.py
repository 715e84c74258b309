"""The confusion matrix, and precision, recall and F1 of each class."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports.statistics.conventions import Array


class ClassScores(NamedTuple):
    """Scores (classes,) of each class against all others, from 0 to 1."""

    precision: Array  # 0 for a class with rows that is never predicted
    recall: Array  # NaN without a row of the class
    f1: Array  # NaN for a class that occurs in neither labels nor predictions


def confusion_matrix(predictions: Array, labels: Array, classes: int) -> NDArray[np.int64]:
    """Return numbers of rows (classes, classes) by label, then by prediction."""
    cells = labels.astype(np.int64) * classes + predictions.astype(np.int64)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def class_scores(confusion: NDArray[np.int64]) -> ClassScores:
    """Return the scores of each class of a confusion matrix (classes, classes)."""
    return _scores(confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0))


def multilabel_scores(predictions: Array, labels: Array) -> ClassScores:
    """Return the scores of each class from zeros and ones (rows, classes)."""
    return _scores((predictions * labels).sum(axis=0), labels.sum(axis=0), predictions.sum(axis=0))


def _scores(correct: NDArray[Any], true: NDArray[Any], predicted: NDArray[Any]) -> ClassScores:
    """Return scores from numbers (classes,) of rows: predicted correctly, of the class, and predicted as it."""
    hits = correct.astype(np.float64)
    occurs = true + predicted > 0
    unknown = np.full(len(hits), np.nan)
    precision = np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0)
    return ClassScores(
        precision=np.where(occurs, precision, np.nan),
        recall=np.divide(hits, true, out=unknown.copy(), where=true > 0),
        f1=np.divide(2 * hits, true + predicted, out=unknown.copy(), where=occurs),
    )
