"""Methods ranked against each other over tasks: ranks, wins, who wins, and which differ from which.

Scores are task means (tasks, methods), higher is better, without holes: ranks of unequal company
cannot be compared.
"""

import math
from functools import lru_cache
from itertools import combinations
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reports.statistics.paired_tests import (
    ALPHA,
    DIGITS,
    Array,
    differences,
    holm,
    sign_flip,
    smallest,
)

ROOT_TWO: Final = math.sqrt(
    2
)  # the studentized range divides by the error of a mean, not of a difference


def complete(scores: ArrayLike) -> Array:
    """The scores (tasks, methods), rounded so that equal ones tie.

    Raises:
        ValueError: they are no table, or a score is missing.
    """
    table = np.asarray(scores, dtype=np.float64).round(DIGITS)
    if table.ndim != 2 or table.shape[0] < 1 or table.shape[1] < 2:
        raise ValueError(
            f"expected scores of tasks by at least two methods, got the shape {table.shape}"
        )
    if not np.isfinite(table).all():
        raise ValueError("ranks need a score for every method on every task")
    return table


def average_ranks(scores: ArrayLike) -> Array:
    """Ranks (tasks, methods) within each task, the best 1; those tied share the average of their places."""
    table = complete(scores)
    above = (table[:, None, :] > table[:, :, None]).sum(axis=2)
    equal = (table[:, None, :] == table[:, :, None]).sum(axis=2)  # itself too
    ranks: Array = above + (equal + 1) / 2
    return ranks


def mean_ranks(scores: ArrayLike) -> Array:
    """The mean rank (methods,) over the tasks."""
    ranks: Array = average_ranks(scores).mean(axis=0)
    return ranks


def rank_error(tasks: int, methods: int) -> float:
    """The standard error of a difference of two mean ranks if the methods are equal (Demšar 2006)."""
    return math.sqrt(methods * (methods + 1) / (6 * tasks))


def critical_difference(
    tasks: int, methods: int, *, alpha: float = ALPHA, against: Literal["all", "baseline"] = "all"
) -> float:
    """The difference of mean ranks that is significant: between any two (Nemenyi), or to one baseline (Bonferroni-Dunn)."""
    if against == "baseline":
        from scipy.special import ndtri

        return float(ndtri(1 - alpha / (2 * (methods - 1)))) * rank_error(tasks, methods)
    low, high = 0.0, 100.0
    for _ in range(60):  # to the last digits
        middle = (low + high) / 2
        low, high = (middle, high) if _range_tail(middle, methods) > alpha else (low, middle)
    return high / ROOT_TWO * rank_error(tasks, methods)


def _range_tail(width: float, count: int) -> float:
    """The chance that the range of so many standard normal values is at least `width`, by quadrature.

    It is the studentized range with infinitely many degrees of freedom; `scipy.stats` has that, and
    takes a second to load.
    """
    from scipy.special import ndtr

    nodes, weights = _quadrature()
    low, high = -9.0, 9.0 + min(width, 9.0)  # the greatest value lies in there
    z = (high - low) / 2 * nodes + (high + low) / 2
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    inside = count * density * (ndtr(z) - ndtr(z - width)) ** (count - 1)
    return min(max(1 - float(weights @ inside) * (high - low) / 2, 0.0), 1.0)


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Array, Array]:
    """Places and weights of an integral from -1 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    return nodes, weights


def nemenyi(scores: ArrayLike) -> Array:
    """Adjusted p (methods, methods) of all pairs by Nemenyi's test of mean ranks, 1 on the diagonal.

    A verdict on two methods depends on which others were ranked with them; `pairwise` has no such
    trouble.
    """
    means = mean_ranks(scores)
    tasks, methods = np.shape(scores)
    gaps = np.abs(means[:, None] - means[None, :]) / rank_error(tasks, methods)
    p: Array = np.array([[_range_tail(gap * ROOT_TWO, methods) for gap in row] for row in gaps])
    np.fill_diagonal(p, 1.0)
    return p


class Pairwise(NamedTuple):
    """All pairs of methods: mean differences row minus column, raw and adjusted p, each (methods, methods)."""

    difference: Array
    raw: Array
    adjusted: Array
    m: int  # pairs in the family
    smallest: float  # the smallest adjusted p that this many tasks allow


def pairwise(scores: ArrayLike) -> Pairwise:
    """Sign flip over task means for every pair, adjusted by Holm over all pairs; p is 1 on the diagonal."""
    table = complete(scores)
    tasks, methods = table.shape
    pairs = list(combinations(range(methods), 2))
    raw = [sign_flip(differences(table[:, i], table[:, j])) for i, j in pairs]
    means = table.mean(axis=0)
    return Pairwise(
        difference=np.round(means[:, None] - means[None, :], DIGITS),
        raw=_square(methods, pairs, raw),
        adjusted=_square(methods, pairs, holm(raw)),
        m=len(pairs),
        smallest=smallest_adjusted(tasks, len(pairs)),
    )


def _square(methods: int, pairs: list[tuple[int, int]], values: ArrayLike) -> Array:
    square = np.ones((methods, methods))
    for (i, j), value in zip(pairs, np.asarray(values), strict=True):
        square[i, j] = square[j, i] = value
    return square


def smallest_adjusted(tasks: int, comparisons: int) -> float:
    """The smallest p that the best of `comparisons` sign flips over `tasks` can have after Holm's adjustment."""
    return min(1.0, comparisons * smallest(tasks))


def cliques(p: ArrayLike, *, alpha: float = ALPHA) -> list[tuple[int, ...]]:
    """The largest groups of two methods and more of which no pair differs, given p (methods, methods).

    No group lies within another; a method may be in several, or in none. These are the bars of a
    critical-difference
    figure: neighbours in rank do not belong under one bar unless each pair under it is undecided. A
    pair with no p (NaN) is undecided.
    """
    table = np.asarray(p, dtype=np.float64)
    differ = table <= alpha
    near = [
        {j for j in range(len(table)) if j != i and not (differ[i, j] or differ[j, i])}
        for i in range(len(table))
    ]
    found: list[tuple[int, ...]] = []

    def grow(
        clique: tuple[int, ...], open_: set[int], closed: set[int]
    ) -> None:  # Bron & Kerbosch 1973, with a pivot
        if not open_ and not closed:
            found.append(tuple(sorted(clique)))
            return
        pivot = max(sorted(open_ | closed), key=lambda node: len(near[node] & open_))
        for node in sorted(open_ - near[pivot]):
            grow((*clique, node), open_ & near[node], closed & near[node])
            open_, closed = open_ - {node}, closed | {node}

    grow((), set(range(len(table))), set())
    return sorted(clique for clique in found if len(clique) > 1)


def win_rates(scores: ArrayLike) -> Array:
    """The share (methods, methods) of tasks on which the row beats the column, ties one half; NaN on the diagonal.

    Scores may be missing (NaN) here: two methods are compared on the tasks that both have.
    """
    table = np.asarray(scores, dtype=np.float64).round(DIGITS)
    rates = _mean(_wins(table), axis=0)
    np.fill_diagonal(rates, math.nan)
    return rates


def mean_win_rates(scores: ArrayLike) -> Array:
    """How often (methods,) each method beats another: the share of rivals beaten on a task, averaged over its tasks.

    Scores may be missing (NaN): rivals are those that have the task, and each task that a method
    has weighs the same.
    """
    table = np.asarray(scores, dtype=np.float64).round(DIGITS)
    wins = _wins(table)
    wins[:, np.arange(table.shape[1]), np.arange(table.shape[1])] = (
        math.nan
    )  # nobody is his own rival
    return _mean(_mean(wins, axis=2), axis=0)


def _wins(table: Array) -> Array:
    """1, 1/2 or 0 (tasks, methods, methods) as the row beats, ties or loses to the column; NaN where one is missing."""
    return (np.sign(table[:, :, None] - table[:, None, :]) + 1) / 2


def _mean(values: Array, *, axis: int) -> Array:
    """The mean of what is there; NaN, without a warning, where nothing is."""
    there = ~np.isnan(values)
    counts = there.sum(axis=axis)
    means: Array = np.where(there, values, 0.0).sum(axis=axis) / np.where(counts, counts, math.nan)
    return means


def winners(scores: ArrayLike, *, by: Literal["mean", "rank"] = "mean") -> tuple[int, ...]:
    """The methods with the best mean score, or the best mean rank; several if they tie."""
    table = complete(scores)
    values = np.round(table.mean(axis=0) if by == "mean" else -mean_ranks(table), DIGITS)
    best: NDArray[np.intp] = np.flatnonzero(values == values.max())
    return tuple(int(index) for index in best)


def winners_without(
    scores: ArrayLike, *, by: Literal["mean", "rank"] = "mean"
) -> list[tuple[int, ...]]:
    """The winners when each task in turn is left out, in the order of the tasks; empty for a single task."""
    table = complete(scores)
    if len(table) < 2:
        return []
    return [winners(np.delete(table, task, axis=0), by=by) for task in range(len(table))]
