"""Levels of tests that are repeated while draws are added."""

import math
from collections.abc import Sequence

import numpy as np

from reports.statistics.conventions import ALPHA, Array

STEPS = 400  # intervals of the numerical integration between the bounds of a look


def undeclared_level(look: int, *, alpha: float = ALPHA) -> float:
    """Return the level of look `look`, counted from 1, if the number of looks was not declared.

    The first look has the whole level. Look k from the second on has alpha / (k (k + 1)), so that
    the levels of all later looks together are at most alpha / 2.
    """
    return alpha if look == 1 else alpha / (look * (look + 1))


def declared_level(draws: Sequence[float], maximum: int, *, alpha: float = ALPHA) -> float:
    """Return the two-sided level of the last of these looks, if the maximum was declared.

    The error is spent as by O'Brien and Fleming's bounds (Lan & DeMets 1983): on either side,
    2 - 2 Phi(z / sqrt(t)) is spent when the share t of the draws is there, where z is the quantile of
    1 - alpha / 4. The bounds follow by numerical integration over a Brownian motion (Armitage,
    McPherson & Rowe 1969).

    Args:
        draws: Number of draws at each look, ascending; added seeds count as fractions of draws.
        maximum: The declared number of draws.
        alpha: The level of all looks together.
    """
    from scipy.special import ndtr, ndtri

    shares = [count / maximum for count in draws]
    quantile = float(ndtri(1 - alpha / 4))
    spent = [4 - 4 * float(ndtr(quantile / math.sqrt(share))) for share in shares]
    grid, weights, level, before = np.zeros(1), np.ones(1), alpha, 0.0
    for number, share in enumerate(shares):
        step = math.sqrt(share - (shares[number - 1] if number else 0))
        error = spent[number] - before
        bound = _bound(grid, weights, step, error)
        level = float(2 * ndtr(-bound / math.sqrt(share)))
        ends = np.linspace(-bound, bound, STEPS + 1)
        grid_next = (ends[1:] + ends[:-1]) / 2
        density = np.exp(-0.5 * ((grid_next[:, None] - grid) / step) ** 2) / (
            step * math.sqrt(2 * math.pi)
        )
        weights = (density @ weights) * (ends[1] - ends[0])
        grid, before = grid_next, spent[number]
    return level


def _bound(grid: Array, weights: Array, step: float, error: float) -> float:
    """Return the bound that a motion from `grid` with these weights crosses, on either side, with this probability."""
    from scipy.special import ndtr

    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        outside = ndtr((grid - middle) / step) + ndtr((-middle - grid) / step)
        low, high = (middle, high) if float(weights @ outside) > error else (low, middle)
    return high
