"""Variance components: how much of the variance of scores comes from the draw, and how much from the seed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.conventions import DIGITS


class VarianceComponents(NamedTuple):
    """The variance of a single run, split in two; in squared units of the scores."""

    draw: float  # caused by the labelled examples that were drawn
    seed: float  # caused by initialisation and order, on the same examples


def variance_components(scores: ArrayLike) -> VarianceComponents:
    """Split the variance of `scores` (draws, seeds) by a balanced one-way analysis of variance.

    Seeds are nested in draws: seed 0 of one draw has nothing in common with seed 0 of another. A
    negative draw component is set to 0 (Searle, Casella & McCulloch 1992, chapter 4).

    Raises:
        ValueError: There are fewer than two draws or two seeds, or a score is missing.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise ValueError(
            f"expected two or more seeds of two or more draws, all finished, got the shape {table.shape}"
        )
    within = float(table.var(axis=1, ddof=1).mean())
    between = float(table.mean(axis=1).var(ddof=1))
    draw = max(0.0, between - within / table.shape[1])
    if draw + within <= 10.0 ** (-2 * DIGITS):
        return VarianceComponents(0.0, 0.0)
    return VarianceComponents(draw, within)
