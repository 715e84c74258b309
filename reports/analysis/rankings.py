"""Ranks of all methods over the tasks that every method finished."""

import math
from dataclasses import dataclass

import numpy as np

from reports.analysis.cells import Cell
from reports.analysis.paired_runs import PairedRuns
from reports.statistics import ranks
from reports.statistics.conventions import DIGITS, Array, tied_scores


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Ranks of methods and tests of all pairs, on task means; sequences are in the order of `methods`."""

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    means: tuple[float, ...]  # points
    ranks: tuple[float, ...]  # mean rank, 1 is best
    difference: tuple[tuple[float, ...], ...]  # points, row minus column
    adjusted: tuple[tuple[float, ...], ...]  # p of each pair by sign flips, Holm over all pairs
    m: int  # number of pairs
    smallest: float  # the smallest adjusted p that this many tasks allow
    cliques: tuple[tuple[int, ...], ...]  # groups of methods of which no pair differs
    best_mean: tuple[str, ...]
    best_rank: tuple[str, ...]
    best_without: tuple[tuple[str, tuple[str, ...]], ...]  # best by mean without each of the tasks


def rank_methods(paired_runs: PairedRuns, cells: list[Cell]) -> Ranking | None:
    """Rank the methods over all sizes; None with fewer than two methods or two complete tasks."""
    scope = None if len(paired_runs.sizes) > 1 else paired_runs.sizes[0]
    means = {
        (c.method, c.task): c.mean
        for c in cells
        if c.size == scope and c.task and c.state == "complete" and math.isfinite(c.mean)
    }
    methods = paired_runs.methods
    tasks = [
        task for task in paired_runs.tasks if all((method, task) in means for method in methods)
    ]
    if len(methods) < 2 or len(tasks) < 2:
        return None
    # tasks × methods; ties hold within a task
    scores = np.stack(
        [tied_scores([means[method, task] for method in methods]) for task in tasks]
    ).round(DIGITS)
    pairs = ranks.pairwise(scores)

    def names(indices: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(methods[index] for index in indices)

    return Ranking(
        methods=methods,
        tasks=tuple(tasks),
        means=tuple(map(float, scores.mean(axis=0))),
        ranks=tuple(map(float, ranks.mean_ranks(scores))),
        difference=_as_tuples(pairs.difference),
        adjusted=_as_tuples(pairs.adjusted),
        m=pairs.m,
        smallest=pairs.smallest,
        cliques=tuple(ranks.cliques(pairs.adjusted)),
        best_mean=names(ranks.winners(scores)),
        best_rank=names(ranks.winners(scores, by="rank")),
        best_without=tuple(
            (task, names(best))
            for task, best in zip(tasks, ranks.winners_without(scores), strict=True)
        ),
    )


def _as_tuples(square: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in square)
