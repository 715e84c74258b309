"""Influence of each test row on a score, from which intervals over other test rows follow.

A metric is a function of the weights of the rows. The influence of a row is the derivative of the
metric by the weight of that row, times the number of rows (the infinitesimal jackknife; Efron 1982,
chapter 6). Influences have mean zero. Their variance over rows, divided by the number of rows, is
the variance of the metric over samples of test rows. For accuracy this is exact.

Each function takes predictions (n,) and labels (n,), and returns the metric (higher is better) and
the influence of each row (n,). F1 scores also take zeros and ones (n, classes) of a multilabel task.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from reports.statistics.conventions import Array, ranks_of


def row_scores(
    predictions: Array, labels: Mapping[str, Array], metrics: Sequence[str]
) -> Array | None:
    """Return scores (n,) of the test rows: their mean is the score, their variance that over test rows.

    Args:
        predictions: Predictions (n,), one test split after the other.
        labels: Labels of each split, in the same order.
        metrics: Names of the task's metrics. The score is their mean, averaged over the splits.

    Returns:
        None if a metric has no influence function here, or if predictions and labels do not match.
    """
    count = sum(map(len, labels.values()))
    if not count or count != len(predictions) or any(name not in INFLUENCES for name in metrics):
        return None
    score, start, rows = 0.0, 0, []
    for split in labels.values():
        stop = start + len(split)
        pairs = [INFLUENCES[name](predictions[start:stop], split) for name in metrics]
        score += sum(value for value, _ in pairs) / len(pairs)
        values = sum(influence for _, influence in pairs) / len(pairs)
        # All splits have equal weight, however many rows they have; the mean over all rows must agree.
        rows.append(values * (count / (len(labels) * len(split))))
        start = stop
    return np.concatenate(rows) + score / len(labels)


Influence = Callable[[Array, Array], tuple[float, Array]]


def accuracy(predictions: Array, labels: Array) -> tuple[float, Array]:
    """Return accuracy and its influences."""
    hits = (predictions == labels).astype(np.float64)
    return float(hits.mean()), hits - hits.mean()


def f1(predictions: Array, labels: Array, which: float = 1.0) -> tuple[float, Array]:
    """Return the F1 score of the class `which`; 0 if neither predictions nor labels contain it."""
    guessed, true = predictions == which, labels == which
    twice = 2.0 * (guessed & true)
    either = guessed.astype(np.float64) + true  # its mean is the share guessed plus the share true
    if not either.any():
        return 0.0, np.zeros(len(predictions))
    value = float(twice.sum() / either.sum())
    return value, (twice - value * either) / either.mean()


def macro_f1(predictions: Array, labels: Array) -> tuple[float, Array]:
    """Return the mean of the F1 scores of all classes that occur."""
    if labels.ndim == 2:
        columns = zip(predictions.T, labels.T, strict=True)
        scores = [f1(guessed, true) for guessed, true in columns if guessed.any() or true.any()]
    else:
        scores = [f1(predictions, labels, which) for which in np.union1d(predictions, labels)]
    if not scores:
        return 0.0, np.zeros(len(predictions))
    values, influences = zip(*scores, strict=True)
    return float(np.mean(values)), np.mean(influences, axis=0)


def micro_f1(predictions: Array, labels: Array) -> tuple[float, Array]:
    """Return the F1 score of all pairs of a row and a class (n, classes); 0 if no pair is labelled or predicted."""
    twice = 2.0 * (predictions * labels).sum(axis=1)
    either = predictions.sum(axis=1) + labels.sum(axis=1)
    if not either.any():
        return 0.0, np.zeros(len(predictions))
    value = float(twice.sum() / either.sum())
    return value, (twice - value * either) / either.mean()


def matthews(predictions: Array, labels: Array) -> tuple[float, Array]:
    """Return Matthews' correlation for any number of classes (Gorodkin 2004); 0 if one side is constant."""
    classes = np.union1d(predictions, labels)
    guessed = predictions[:, None] == classes  # [n, classes]
    true = labels[:, None] == classes
    p, t = guessed.mean(axis=0), true.mean(axis=0)
    hits = (predictions == labels).astype(np.float64)
    a, b = 1 - float(p @ p), 1 - float(t @ t)
    if a <= 0 or b <= 0:
        return 0.0, np.zeros(len(predictions))
    shared = float(hits.mean() - p @ t)
    value = shared / (a * b) ** 0.5
    # derivatives by the weight of a row, where all weights sum to 1
    top = hits + hits.mean() - guessed @ t - true @ p
    below = (2 - 2 * (guessed @ p)) / a + (2 - 2 * (true @ t)) / b
    return value, top / (a * b) ** 0.5 - value / 2 * below


def pearson(predictions: Array, labels: Array) -> tuple[float, Array]:
    """Return Pearson's correlation; 0 if one side is constant."""
    if np.ptp(predictions) == 0 or np.ptp(labels) == 0:
        return 0.0, np.zeros(len(predictions))
    x, y = _standard(predictions), _standard(labels)
    value = float(np.mean(x * y))
    return value, x * y - value / 2 * (x**2 + y**2)


def spearman(predictions: Array, labels: Array) -> tuple[float, Array]:
    """Return Spearman's correlation; a row also changes the ranks of rows above it (Croux & Dehon 2010)."""
    if np.ptp(predictions) == 0 or np.ptp(labels) == 0:
        return 0.0, np.zeros(len(predictions))
    x, y = _standard(ranks_of(predictions)), _standard(ranks_of(labels))
    value = float(np.mean(x * y))
    influence = x * y - value / 2 * (x**2 + y**2)
    for values, mine, other in ((predictions, x, y), (labels, y, x)):
        pull = (other - value * mine) / (np.std(ranks_of(values)) / len(values))
        influence = influence + _above(values, pull)
    return value, influence


def negative_mse(predictions: Array, labels: Array) -> tuple[float, Array]:
    """Return the negative mean squared error."""
    errors = (predictions - labels) ** 2
    return -float(errors.mean()), errors.mean() - errors


def negative_rmse(predictions: Array, labels: Array) -> tuple[float, Array]:
    """Return the negative root of the mean squared error."""
    value, influence = negative_mse(predictions, labels)
    root = (-value) ** 0.5
    return -root, influence / (2 * root) if root else influence


INFLUENCES: Final[Mapping[str, Influence]] = {
    "accuracy": accuracy,
    "f1": f1,
    "macro-f1": macro_f1,
    "micro-f1": micro_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "mse": negative_mse,
    "rmse": negative_rmse,
}

# Lowest and highest value of each metric, as it counts in a score (higher is better).
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    **dict.fromkeys(("accuracy", "f1", "macro-f1", "micro-f1"), (0.0, 1.0)),
    **dict.fromkeys(("bleu", "chrf", "rouge1", "rouge2", "rougeL"), (0.0, 1.0)),
    **dict.fromkeys(("matthews", "pearson", "spearman"), (-1.0, 1.0)),
    **dict.fromkeys(("mse", "rmse"), (-math.inf, 0.0)),
}


def _standard(values: Array) -> Array:
    centred = values - values.mean()
    return np.asarray(centred / np.sqrt(np.mean(centred**2)))


def _above(values: Array, pull: Array) -> Array:
    """Return the centred mean of `pull` over the rows above each row; rows of equal value count half."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    sums = np.bincount(place, weights=pull, minlength=len(counts))
    over = sums[::-1].cumsum()[::-1] - sums / 2
    means = over[place] / len(values)
    return np.asarray(means - means.mean())
