"""Ranks of methods over tasks, the best method, and groups of methods that do not differ.

Scores are task means (tasks, methods); higher is better, and none may be missing: ranks among
different sets of methods cannot be compared.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reports.statistics.conventions import DIGITS, Array, ranks_of


def complete(scores: ArrayLike) -> Array:
    """Return the scores (tasks, methods), rounded so that equal ones tie.

    Raises:
        ValueError: The shape is wrong, or a score is missing.
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
    """Return ranks (tasks, methods) within each task; the best is 1, and ties share the average rank."""
    return np.array([ranks_of(-row) for row in complete(scores)])


def mean_ranks(scores: ArrayLike) -> Array:
    """Return the mean rank (methods,) over the tasks."""
    ranks: Array = average_ranks(scores).mean(axis=0)
    return ranks


def cliques(differ: ArrayLike) -> list[tuple[int, ...]]:
    """Return the maximal groups of methods of which no pair differs, given `differ` (methods, methods).

    No group is part of another; a method may be in several groups or in none. These are the bars of a
    critical-difference figure: neighbours in rank do not belong under one bar unless each pair under
    it is undecided.
    """
    table = np.asarray(differ, dtype=bool)
    near = [
        {j for j in range(len(table)) if j != i and not (table[i, j] or table[j, i])}
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


def winners(scores: ArrayLike, *, by: Literal["mean", "rank"] = "mean") -> tuple[int, ...]:
    """Return the methods with the best mean score or the best mean rank; several if they tie."""
    table = complete(scores)
    values = np.round(table.mean(axis=0) if by == "mean" else -mean_ranks(table), DIGITS)
    best: NDArray[np.intp] = np.flatnonzero(values == values.max())
    return tuple(int(index) for index in best)


def winners_without(scores: ArrayLike) -> list[tuple[int, ...]]:
    """Return the winners by mean without each task in turn; empty for a single task."""
    table = complete(scores)
    if len(table) < 2:
        return []
    return [winners(np.delete(table, task, axis=0)) for task in range(len(table))]
