"""The score to expect of a model that is trained on all labelled rows, of which none is left to test it on.

Draws of the same rows were trained on a part of them and tested on others. The score of the final model differs from
theirs by what the further rows bring, by its own training, and on other rows than those tested.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance

import numpy as np
from scipy import stats

from reports.statistics.conventions import Array

# An assumption: the error falls towards its limit with this power of the number of rows, as a standard error does. The
# simulation of `tests.benchmarks.expected_score` tells how far it holds.
RATE = 0.5
LEVEL = 0.95


@dataclass(frozen=True)
class DrawScores:
    """The test rows of one draw.

    Attributes:
        groups: which rows are independent: those with other numbers, `[rows]`. Draws may test the same groups.
        scores: of each row, `[rows]`; their mean is the score of the draw.
        smaller: the same of a model trained on half as many rows; None: there is none.
    """

    groups: Array
    scores: Array
    smaller: Array | None = None


@dataclass(frozen=True)
class FinalScore:
    """What to expect: a 95 % interval for the score of one final model, and what it rests on."""

    mean: float  # score of the draws
    gain: float  # that the further rows are expected to bring
    low: float
    high: float


def expected(
    draws: Sequence[DrawScores],
    *,
    smaller: int,
    size: int,
    rows: int,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> FinalScore:
    """Return the score to expect of a model that is trained on all rows.

    The gain between the smaller size and the size is continued to all rows as an error that falls with the square root
    of their number, to no less than if it fell to zero in the end; a loss is not continued. The variance has two parts:
    over groups of test rows, and between trainings, which is what the draws' scores vary beyond their test rows. A
    score from 0 to 1 has an interval as that of Wilson 1927 over test rows, since with few errors the sample shows too
    little variance. The quantile is that of t, with the degrees of freedom of Satterthwaite 1946.

    Args:
        draws: at least two.
        smaller: training rows of the smaller models; not read without them.
        size: training rows of the draws.
        rows: training rows of the final model.
        bounds: the least and the greatest possible score.
    """
    means = [float(draw.scores.mean()) for draw in draws]
    mean = fmean(means)
    gain, factor = _gain(draws, mean, smaller, size, rows, bounds[1])
    groups = np.unique(np.concatenate([draw.groups for draw in draws])).size
    over_rows = _over_rows(draws, factor)
    between, spread = _between_trainings(draws, means)
    # The trainings of the draws vary the continued score, and the final model has a training of its own.
    trainings = 1 + ((1 + factor) ** 2 + factor**2) / len(draws)
    centre, between = mean + gain, trainings * between
    if bounds == (0.0, 1.0):
        z2 = NormalDist().inv_cdf((1 + LEVEL) / 2) ** 2
        centre = (groups * centre + z2 / 2) / (groups + z2)
        over_rows = (groups**2 * over_rows + z2 / 4) / (groups + z2) ** 2
    few = len(draws) - 1
    doubt = over_rows**2 / max(groups - 1, 1) + (trainings * spread if between else 0.0) ** 2 / few
    df = max((over_rows + between) ** 2 / doubt, few) if doubt else few
    half = float(stats.t.ppf((1 + LEVEL) / 2, df)) * math.sqrt(over_rows + between)
    return FinalScore(mean, gain, max(bounds[0], centre - half), min(bounds[1], centre + half))


def _gain(
    draws: Sequence[DrawScores], mean: float, smaller: int, size: int, rows: int, most: float
) -> tuple[float, float]:
    """Return what further rows bring, and its share of the gain from the smaller size; 0 if it is the greatest gain."""
    before = [float(draw.smaller.mean()) for draw in draws if draw.smaller is not None]
    if len(before) < len(draws) or mean <= fmean(before) or not smaller < size < rows:
        return 0.0, 0.0
    factor = (size**-RATE - rows**-RATE) / (smaller**-RATE - size**-RATE)
    gain, greatest = factor * (mean - fmean(before)), (most - mean) * (1 - (size / rows) ** RATE)
    return (gain, factor) if gain <= greatest else (greatest, 0.0)


def _over_rows(draws: Sequence[DrawScores], factor: float) -> float:
    """Return the variance over groups of test rows of the mean score, continued by a factor of the gain."""
    shares = []
    for draw in draws:
        values = draw.scores
        if factor and draw.smaller is not None:
            values = values + factor * (draw.scores - draw.smaller)
        shares.append((values - values.mean()) / (len(values) * len(draws)))
    groups = np.unique(np.concatenate([draw.groups for draw in draws]), return_inverse=True)[1]
    sums = np.bincount(groups, weights=np.concatenate(shares))
    return float(np.square(sums).sum()) * len(sums) / max(len(sums) - 1, 1)


def _between_trainings(draws: Sequence[DrawScores], means: Sequence[float]) -> tuple[float, float]:
    """Return the variance of a model's score over trainings, and the variance that it was taken from.

    Of the variance of the draws' scores, it is what their test rows do not explain. Draws that test the same rows share
    a part of the deviation, which does not make them differ.
    """
    count, spread = len(draws), variance(means)
    alone = fmean(_over_rows([draw], 0.0) for draw in draws)
    shared = (count * _over_rows(draws, 0.0) - alone) / (count - 1)
    return max(0.0, spread - (alone - shared)), spread
