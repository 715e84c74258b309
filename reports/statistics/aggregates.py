"""Many runs in one number: what their middle is, what the best of a few would show, and what makes them vary."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.paired_tests import DIGITS, Array


class Components(NamedTuple):
    """The variance of a run split in two, in squared units; NaN shares if runs do not vary."""

    draw: float  # of the labelled examples drawn
    seed: float  # of initialisation and order, on the same examples
    draw_share: float  # 0 to 1
    seed_share: float


def variance_components(scores: ArrayLike) -> Components:
    """What scores (draws, seeds) owe to the draw and what to the seed, by balanced one-way analysis of variance.

    Seeds are nested in draws: seed 0 of one draw has nothing in common with seed 0 of another. A
    draw's component that comes out negative is 0 (Searle, Casella & McCulloch 1992, chapter 4).

    Raises:
        ValueError: fewer than two draws or two seeds, or a score is missing.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise ValueError(
            f"expected two or more seeds of two or more draws, all finished, got the shape {table.shape}"
        )
    seeds = table.shape[1]
    within = float(table.var(axis=1, ddof=1).mean())
    between = float(table.mean(axis=1).var(ddof=1))
    draw = max(0.0, between - within / seeds)
    total = draw + within
    if total <= 10.0 ** (-2 * DIGITS):
        return Components(0.0, 0.0, math.nan, math.nan)
    return Components(draw, within, draw / total, within / total)


def interquartile_mean(values: ArrayLike) -> float:
    """The mean of all values, of any shape, without the lowest and the highest quarter (Agarwal et al. 2021)."""
    ordered: Array = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    cut = ordered.size // 4
    return float(ordered[cut : ordered.size - cut].mean()) if ordered.size else math.nan


def expected_best(
    values: ArrayLike, n: int, *, of: ArrayLike | None = None, replacement: bool = False
) -> float:
    """The best of `n` values to be expected when they are drawn from (N,); NaN for more than there are.

    With `of` (N,) what is to be expected of the one whose value is the best: its test score, where
    values are dev scores. Of equal values each is as likely to be kept. Without replacement it is
    unbiased; with it, the form of Dodge et al. 2019, which is too low.
    """
    found = np.asarray(values, dtype=np.float64)
    if not 1 <= n <= found.size:
        return math.nan
    distinct, group, sizes = np.unique(found, return_inverse=True, return_counts=True)
    kept: Array = (
        distinct
        if of is None
        else np.bincount(group, weights=np.asarray(of, dtype=np.float64)) / sizes
    )
    places = np.arange(1, found.size + 1)
    if replacement:
        weights = (places / found.size) ** n - ((places - 1) / found.size) ** n
    else:
        falls = np.maximum(places[:0:-1] - n, 0) / (
            places[:0:-1] - 1
        )  # of C(place - 1, n - 1), from the last place down
        weights = n / found.size * np.concatenate([[1.0], np.cumprod(falls)])[::-1]
    return float(weights @ np.repeat(kept, sizes))
