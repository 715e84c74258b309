"""All methods against each other over the tasks that all of them finished."""

from dataclasses import dataclass

import numpy as np

from reports.analysis.cells import Cell
from reports.analysis.paired_runs import PairedRuns
from reports.statistics import friedman, ranks
from reports.statistics.conventions import DIGITS, Array
from reports.statistics.friedman import FriedmanTest


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Ranks and pairs, over task means; arrays are in the order of `methods`."""

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    means: tuple[float, ...]  # points
    ranks: tuple[float, ...]  # mean rank, 1 is best
    permuted: FriedmanTest
    difference: tuple[tuple[float, ...], ...]  # points, row minus column
    adjusted: tuple[tuple[float, ...], ...]  # p of each pair by sign flips, Holm over all pairs
    m: int  # pairs
    smallest: float  # the smallest adjusted p that so many tasks allow
    cliques: tuple[tuple[int, ...], ...]  # methods of which no pair differs, best rank first
    best_mean: tuple[str, ...]
    best_rank: tuple[str, ...]
    best_without: tuple[tuple[str, tuple[str, ...]], ...]  # by mean, for each task left out


def standing(paired_runs: PairedRuns, cells: list[Cell]) -> Ranking | None:
    """Over all sizes; None with fewer than two methods or tasks that are complete."""
    scope = None if len(paired_runs.sizes) > 1 else paired_runs.sizes[0]
    found = {
        (c.method, c.task): c.mean
        for c in cells
        if c.size == scope and c.task and c.state == "complete"
    }
    tasks = [
        task
        for task in paired_runs.tasks
        if all((method, task) in found for method in paired_runs.methods)
    ]
    if len(paired_runs.methods) < 2 or len(tasks) < 2:
        return None
    scores = np.round(
        [[found[method, task] for method in paired_runs.methods] for task in tasks], DIGITS
    )
    pairs = ranks.pairwise(scores)

    def named(places: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(paired_runs.methods[place] for place in places)

    return Ranking(
        methods=paired_runs.methods,
        tasks=tuple(tasks),
        means=tuple(map(float, scores.mean(axis=0))),
        ranks=tuple(map(float, ranks.mean_ranks(scores))),
        permuted=friedman.friedman(scores),
        difference=_rows(pairs.difference),
        adjusted=_rows(pairs.adjusted),
        m=pairs.m,
        smallest=pairs.smallest,
        cliques=tuple(ranks.cliques(pairs.adjusted)),
        best_mean=named(ranks.winners(scores)),
        best_rank=named(ranks.winners(scores, by="rank")),
        best_without=tuple(
            (task, named(best))
            for task, best in zip(tasks, ranks.winners_without(scores), strict=True)
        ),
    )


def _rows(square: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in square)
