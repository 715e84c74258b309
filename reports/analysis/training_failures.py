"""Cells in which a method did not train, so that its scores say nothing about the method."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Final

from reports.analysis.run import Run
from reports.statistics.intervals import t_interval

MOST_COLLAPSED: Final = 0.25  # share of runs that may collapse or diverge
RISE: Final = 1.0  # points that the dev score may rise over the last third of the steps


def training_failure(runs: Sequence[Run]) -> str:
    """Return why the runs of one method on one task and size did not train; empty if they did.

    More than a quarter collapsed or diverged; or their mean dev score still rose by more than one
    point over the last third of the steps, with a 95 % interval over draws above 0. The second
    applies only to methods that train by steps.
    """
    lost = sum(run.collapsed or run.status == "diverged" for run in runs)
    if lost > MOST_COLLAPSED * len(runs):
        return f"{lost} of {len(runs)} runs collapsed or diverged"
    rises: dict[int, list[float]] = {}
    for run in runs:
        if math.isfinite(rise := late_rise(run)):
            rises.setdefault(run.draw, []).append(rise)
    late = t_interval([fmean(values) for values in rises.values()])
    if late.mean > RISE and late.low > 0:
        return f"dev scores still rose by {late.mean:.1f} points over the last third of the steps"
    return ""


def late_rise(run: Run) -> float:
    """Return the gain of the dev score over the last third of the steps in points; NaN if it was not evaluated."""
    last = run.curve[-1][0] if run.curve else 0
    before = [score for step, score in run.curve if step <= 2 * last / 3]
    return 100 * (run.curve[-1][1] - before[-1]) if before else math.nan
