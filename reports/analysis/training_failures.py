"""Cells in which a method did not train, so that its scores say nothing about the method."""

import math
from collections import Counter
from collections.abc import Iterable
from statistics import fmean
from typing import Final

from reports.analysis.run import Run
from reports.document import plural
from reports.statistics.conventions import ALPHA
from reports.statistics.intervals import t_interval

MOST_COLLAPSED: Final = 0.25  # share of runs that may collapse or diverge
RISE: Final = 1.0  # points that the dev score may rise over the last third of the steps


def training_failures(finished_runs: Iterable[Run]) -> dict[tuple[str, str, int], str]:
    """Return why a method did not train, by method, task and size; cells that trained are absent.

    A method did not train in a cell if more than a quarter of its runs collapsed or diverged, or if their
    mean dev score still rose by more than one point over the last third of the steps, with an interval
    over draws above 0. The interval of 95 % is simultaneous over the cells of the method: over 24 cells,
    intervals of 95 % each would call a method untrained in 45 % of the studies in which all of its cells
    trained. Only a method that trains by steps can collapse or still rise: if one answer is the best that a
    closed form finds, that is its result.
    """
    cells: dict[tuple[str, str, int], list[Run]] = {}
    for run in finished_runs:
        cells.setdefault((run.method, run.task, run.size), []).append(run)
    rises = {cell: gains for cell, runs in cells.items() if (gains := _late_rises(runs))}
    rising = Counter(method for method, *_ in rises)
    failures = {}
    for cell, members in cells.items():
        lost = sum((run.collapsed and run.by_steps) or run.status == "diverged" for run in members)
        late = t_interval(rises.get(cell, []), level=1 - ALPHA / max(rising[cell[0]], 1))
        if lost > MOST_COLLAPSED * len(members):
            failures[cell] = f"{lost} of {plural(len(members), 'run')} collapsed or diverged"
        elif late.mean > RISE and (late.low > 0 or (len(rises[cell]) > 1 and late.sd == 0)):
            # Dev texts that are scored by their loss have another score than test texts.
            by_loss = any(run.writes and run.dev_score is None for run in members)
            rising_score = (
                "the mean probability of a token of dev texts" if by_loss else "dev scores"
            )
            failures[cell] = (
                f"{rising_score} still rose by {late.mean:.1f} points over the last third of the steps"
            )
    return failures


def _late_rises(runs: Iterable[Run]) -> list[float]:
    """Return the gain of the dev score of each draw over the last third of the steps, in points."""
    rises: dict[int, list[float]] = {}
    for run in runs:
        if math.isfinite(rise := late_rise(run)):
            rises.setdefault(run.draw, []).append(rise)
    return [fmean(values) for values in rises.values()]


def late_rise(run: Run) -> float:
    """Return the gain of the dev score over the last third of the steps in points; NaN if there are no such steps."""
    if not run.by_steps:
        return math.nan
    last = run.curve[-1][0] if run.curve else 0
    before = [score for step, score in run.curve if step <= 2 * last / 3]
    return 100 * (run.curve[-1][1] - before[-1]) if before else math.nan
