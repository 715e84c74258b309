"""Reliability curves: how often predictions are correct at each confidence, with intervals."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports.statistics.conventions import ALPHA, Array
from reports.statistics.t_test import t_quantile

Numbers = NDArray[np.int64]


class Pool(NamedTuple):
    """Predictions of several draws, one after the other; every array is (n,)."""

    confidence: Array  # the greatest probability of the row
    correct: Array  # 1.0 if the prediction is the label, else 0.0
    draw: Numbers
    row: Numbers  # the group of the test row, the same number in every draw


class ReliabilityBin(NamedTuple):
    """A bin of predictions of similar confidence."""

    confidence: float  # mean
    accuracy: float
    low: float  # ends of the interval of the accuracy
    high: float
    predictions: int


class _Clusters(NamedTuple):
    """The number of the cluster of each prediction (n,), counted from 0 without gaps."""

    draw: Numbers
    row: Numbers
    both: Numbers  # a row of a draw


class _Variance(NamedTuple):
    """Variance of a sum of residuals, by the clusters within which they are not independent."""

    draws: float
    rows: float
    both: float  # within a row of a draw, where seeds repeat


def reliability_curve(pool: Pool, bins: int, *, alpha: float = ALPHA) -> list[ReliabilityBin]:
    """Return the bins of a pool, with equal counts and from low to high confidence.

    A draw tests the rows of other draws, so the predictions of a bin are independent neither within a
    draw nor within a row. The variance of a bin's accuracy is clustered both ways (Cameron, Gelbach &
    Miller 2011). Its ratio to the variance of independent predictions, the design effect, is pooled
    over the bins, because few predictions of a bin are wrong; a bin whose own effect is greater keeps its own,
    because errors repeat across draws more often in some bins than in others. The interval is Wilson's
    with the effective count (Korn & Graubard 1998 adjust the exact interval so), and Satterthwaite's
    degrees of freedom.
    """
    order = np.argsort(pool.confidence, kind="stable")
    clusters = _clusters(pool)
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    accuracy = [float(pool.correct[part].mean()) for part in parts]
    variances = [
        _Variance(*(_sum_of_squares(pool.correct[part] - mean, names[part]) for names in clusters))
        for part, mean in zip(parts, accuracy, strict=True)
    ]
    independent = [len(p) * a * (1 - a) for p, a in zip(parts, accuracy, strict=True)]
    pooled, df = _design_effect(clusters, variances, sum(independent))
    effects = [
        max(pooled, _design_effect(clusters, [variance], alone)[0])
        for variance, alone in zip(variances, independent, strict=True)
    ]
    quantile = t_quantile(df, 1 - alpha / 2)
    return [
        ReliabilityBin(
            float(pool.confidence[part].mean()),
            mean,
            *_wilson(mean, len(part) / effect, quantile),
            len(part),
        )
        for part, mean, effect in zip(parts, accuracy, effects, strict=True)
    ]


def _clusters(pool: Pool) -> _Clusters:
    draw = np.unique(pool.draw, return_inverse=True)[1].ravel()
    row = np.unique(pool.row, return_inverse=True)[1].ravel()
    both = np.unique(draw * (row.max(initial=0) + 1) + row, return_inverse=True)[1].ravel()
    return _Clusters(draw, row, both)


def _design_effect(
    clusters: _Clusters, variances: list[_Variance], independent: float
) -> tuple[float, float]:
    """Return the ratio of the variance to that of independent predictions, and its degrees of freedom.

    The variance is at least that by draws alone or by rows alone, and the ratio is at least 1. If no
    bin has a variance, it is the number of predictions per row.
    """
    draws, rows = int(clusters.draw.max()) + 1, int(clusters.row.max()) + 1
    by_draw, by_row, both = (sum(parts) for parts in zip(*variances, strict=True))
    total = max(by_draw + by_row - both, by_draw, by_row) if draws > 1 else by_row
    if independent <= 0 or total <= 0:
        return len(clusters.row) / rows, max(rows - 1, 1)
    by_draw = by_draw if draws > 1 else 0.0
    parts = (by_draw / total) ** 2 / max(draws - 1, 1) + (1 - by_draw / total) ** 2 / max(
        rows - 1, 1
    )
    return max(total / independent, 1.0), 1 / parts


def _sum_of_squares(residuals: Array, cluster: Numbers) -> float:
    """Return the sum over clusters of the squared sum of residuals, corrected for their number."""
    sums = np.bincount(cluster, weights=residuals)[np.bincount(cluster) > 0]
    count = len(sums)
    return float(np.square(sums).sum()) * (count / (count - 1) if count > 1 else 1.0)


def _wilson(mean: float, n: float, quantile: float) -> tuple[float, float]:
    """Return Wilson's interval of a proportion of `n` independent rows."""
    square = quantile**2 / n
    centre = (mean + square / 2) / (1 + square)
    half = math.sqrt(square * mean * (1 - mean) + square**2 / 4) / (1 + square)
    return max(0.0, centre - half), min(1.0, centre + half)
