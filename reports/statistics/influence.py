"""Influence of each test row on a score, from which intervals over other test rows follow.

A metric is a function of the rows' weights; its derivative by the weight of one row, times the
number of rows, is that row's influence (the infinitesimal jackknife; Efron 1982, chapter 6).
Influences have mean zero, and their variance over rows divided by their number is the metric's own
variance over samples of test rows. For accuracy this is exact.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from reports.statistics.conventions import Array, ranks_of


def row_scores(given: Array, right: Mapping[str, Array], metrics: Sequence[str]) -> Array | None:
    """Return scores (n,) of the test rows: their mean is the score, their variance that over test rows.

    Args:
        given: predictions (n,), the test splits one after the other.
        right: labels of each split, in that order.
        metrics: names of the task's metrics; the score is their mean, and the mean over the splits.

    Returns:
        None where a metric has no influence function here, or where the rows are not known.
    """
    count = sum(len(labels) for labels in right.values())
    if not count or count != len(given) or any(name not in INFLUENCES for name in metrics):
        return None
    parts, start = [], 0
    for labels in right.values():
        guesses = given[start : start + len(labels)]
        start += len(labels)
        found = [INFLUENCES[name](guesses, labels) for name in metrics]
        values = sum(influence for _, influence in found) / len(found)
        # A split counts as much as any other however many rows it has, and the mean below is over
        # all rows.
        parts.append(
            (
                sum(value for value, _ in found) / len(found),
                values * (count / (len(right) * len(labels))),
            )
        )
    score = sum(value for value, _ in parts) / len(parts)
    return np.concatenate([values for _, values in parts]) + score


Influence = Callable[
    [Array, Array], tuple[float, Array]
]  # predictions, labels (n,) -> metric (higher is better), (n,)


def accuracy(given: Array, right: Array) -> tuple[float, Array]:
    """Return accuracy and its influences."""
    hits = (given == right).astype(np.float64)
    return float(hits.mean()), hits - hits.mean()


def f1(given: Array, right: Array, which: float = 1.0) -> tuple[float, Array]:
    """The F1 score of one class, 0 where neither predictions nor labels hold it."""
    guessed, true = given == which, right == which
    twice = 2.0 * (guessed & true)
    either = guessed.astype(np.float64) + true  # its mean is the share guessed plus the share true
    if not either.any():
        return 0.0, np.zeros(len(given))
    value = float(twice.sum() / either.sum())
    return value, (twice - value * either) / either.mean()


def macro_f1(given: Array, right: Array) -> tuple[float, Array]:
    """The mean of the F1 scores of all classes that occur."""
    found = [f1(given, right, which) for which in np.union1d(given, right)]
    return float(np.mean([value for value, _ in found])), np.mean(
        [influence for _, influence in found], axis=0
    )


def matthews(given: Array, right: Array) -> tuple[float, Array]:
    """Matthews' correlation for any number of classes (Gorodkin 2004), 0 for a constant side."""
    classes = np.union1d(given, right)
    guessed = given[:, None] == classes  # [n, classes]
    true = right[:, None] == classes
    p, t = guessed.mean(axis=0), true.mean(axis=0)
    hits = (given == right).astype(np.float64)
    a, b = 1 - float(p @ p), 1 - float(t @ t)
    if a <= 0 or b <= 0:
        return 0.0, np.zeros(len(given))
    shared = float(hits.mean() - p @ t)
    value = shared / (a * b) ** 0.5
    top = (
        hits + hits.mean() - guessed @ t - true @ p
    )  # derivatives by a row's weight, all weights together being 1
    below = (2 - 2 * (guessed @ p)) / a + (2 - 2 * (true @ t)) / b
    return value, top / (a * b) ** 0.5 - value / 2 * below


def pearson(given: Array, right: Array) -> tuple[float, Array]:
    """The linear correlation, 0 for a constant side."""
    if np.ptp(given) == 0 or np.ptp(right) == 0:
        return 0.0, np.zeros(len(given))
    x, y = _standard(given), _standard(right)
    value = float(np.mean(x * y))
    return value, x * y - value / 2 * (x**2 + y**2)


def spearman(given: Array, right: Array) -> tuple[float, Array]:
    """Return Spearman's correlation; a row also changes the ranks of rows above it (Croux & Dehon 2010)."""
    if np.ptp(given) == 0 or np.ptp(right) == 0:
        return 0.0, np.zeros(len(given))
    ranks = [ranks_of(values) for values in (given, right)]
    x, y = (_standard(values) for values in ranks)
    value = float(np.mean(x * y))
    influence = x * y - value / 2 * (x**2 + y**2)
    for values, mine, other in ((given, x, y), (right, y, x)):
        pull = (other - value * mine) / (np.std(ranks_of(values)) / len(values))
        influence = influence + _above(values, pull)
    return value, influence


def negative_mse(given: Array, right: Array) -> tuple[float, Array]:
    """The mean squared error with its sign turned."""
    errors = (given - right) ** 2
    return -float(errors.mean()), errors.mean() - errors


def negative_rmse(given: Array, right: Array) -> tuple[float, Array]:
    """The root of the mean squared error with its sign turned."""
    value, influence = negative_mse(given, right)
    root = (-value) ** 0.5
    return -root, influence / (2 * root) if root else influence


INFLUENCES: Final[Mapping[str, Influence]] = {
    "accuracy": accuracy,
    "f1": f1,
    "macro-f1": macro_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "mse": negative_mse,
    "rmse": negative_rmse,
}


def _standard(values: Array) -> Array:
    centred = values - values.mean()
    scaled: Array = centred / np.sqrt(np.mean(centred**2))
    return scaled


def _above(values: Array, pull: Array) -> Array:
    """Return the centred mean of `pull` over the rows above each row; rows of equal value count half."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    sums = np.bincount(place, weights=pull, minlength=len(counts))
    over = sums[::-1].cumsum()[::-1] - sums / 2
    found: Array = over[place] / len(values)
    centred: Array = found - found.mean()
    return centred
