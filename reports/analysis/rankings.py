"""Ranks of the methods that finished every task."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from reports.analysis.cells import Cell
from reports.analysis.contrasts import pairwise_contrasts
from reports.analysis.paired_runs import PairedRuns
from reports.statistics import ranks
from reports.statistics.conventions import DIGITS, Array, tied_scores


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Ranks of methods and tests of all pairs, on task means; sequences are in the order of `methods`."""

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]  # methods without a score on every task
    means: tuple[float, ...]  # points
    ranks: tuple[float, ...]  # mean rank, 1 is best
    difference: tuple[tuple[float, ...], ...]  # points, row minus column
    adjusted: tuple[tuple[float, ...], ...]  # p of each pair for other tasks, Holm over all pairs
    settled: tuple[
        tuple[bool, ...], ...
    ]  # whether the claim of each pair for other tasks is settled
    m: int  # number of pairs
    cliques: tuple[tuple[int, ...], ...]  # groups of methods of which no pair is settled
    best_mean: tuple[str, ...]
    best_rank: tuple[str, ...]
    best_without: tuple[tuple[str, tuple[str, ...]], ...]  # best by mean without each of the tasks


def rank_methods(paired_runs: PairedRuns, cells: list[Cell]) -> Ranking | None:
    """Rank the methods that finished every task, over all sizes; None with fewer than two of them or two tasks.

    Ranks and pairs are then over the same tasks.
    """
    scope = None if len(paired_runs.sizes) > 1 else paired_runs.sizes[0]
    means = {
        (c.method, c.task): c.mean
        for c in cells
        if c.size == scope and c.task and c.state == "complete" and math.isfinite(c.mean)
    }
    tasks = paired_runs.tasks
    methods = tuple(
        method for method in paired_runs.methods if all((method, task) in means for task in tasks)
    )
    if len(methods) < 2 or len(tasks) < 2:
        return None
    # tasks × methods; ties hold within a task
    scores = np.stack(
        [tied_scores([means[method, task] for method in methods]) for task in tasks]
    ).round(DIGITS)
    difference, adjusted, settled = _pairs(paired_runs, methods)

    def names(indices: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(methods[index] for index in indices)

    return Ranking(
        methods=methods,
        tasks=tasks,
        left_out=tuple(name for name in paired_runs.methods if name not in methods),
        means=tuple(map(float, scores.mean(axis=0))),
        ranks=tuple(map(float, ranks.mean_ranks(scores))),
        difference=_as_tuples(difference),
        adjusted=_as_tuples(adjusted),
        settled=tuple(tuple(map(bool, row)) for row in settled),
        m=len(methods) * (len(methods) - 1) // 2,
        cliques=tuple(ranks.cliques(settled)),
        best_mean=names(ranks.winners(scores)),
        best_rank=names(ranks.winners(scores, by="rank")),
        best_without=tuple(
            (task, names(best))
            for task, best in zip(tasks, ranks.winners_without(scores), strict=True)
        ),
    )


def _pairs(
    paired_runs: PairedRuns, methods: Sequence[str]
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return difference, adjusted p and whether it is settled, each (methods, methods), of every pair."""
    count = len(methods)
    difference, adjusted = np.zeros((count, count)), np.ones((count, count))
    settled = np.zeros((count, count), dtype=bool)
    tests = pairwise_contrasts(paired_runs, methods)
    for (i, j), test in zip(combinations(range(count), 2), tests, strict=True):
        difference[i, j], difference[j, i] = test.effect, -test.effect
        adjusted[i, j] = adjusted[j, i] = test.widest.p_adj
        settled[i, j] = settled[j, i] = test.widest.settled
    return difference, adjusted, settled


def _as_tuples(square: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in square)
