"""What else may be said of one method against the baseline, beyond the mean, its interval and its p."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.analysis.contrasts import Contrast
from reports.analysis.paired_runs import Run, finished, overlap
from reports.statistics import intervals, random_effects
from reports.statistics.conventions import DIGITS
from reports.statistics.equivalence import Equivalence, equivalence
from reports.statistics.random_effects import RandomEffects


@dataclass(frozen=True, kw_only=True)
class SecondaryEstimates:
    """One method against the baseline over several tasks; points."""

    method: str
    tasks: tuple[str, ...]
    pooled: RandomEffects  # as a sample of tasks, with what a new task may show
    equivalence: Equivalence  # whether the mean over tasks lies within the rope


def details(tests: Sequence[Contrast], runs: Sequence[Run]) -> tuple[SecondaryEstimates, ...]:
    """One for each comparison overall that is made over two tasks or more."""
    return tuple(
        _detail(test, runs)
        for test in tests
        if test.family == "overall" and test.unit == "tasks" and test.n > 1
    )


def _detail(test: Contrast, runs: Sequence[Run]) -> SecondaryEstimates:
    per_task: Mapping[str, Sequence[float]] = test.differences
    values = list(per_task.values())
    means = np.round([np.mean(draws) for draws in values], DIGITS)
    mine = [run for run in runs if run.method == test.method and finished(run)]
    shared = [overlap(run for run in mine if run.task == task) for task in per_task]
    noise = [
        intervals.over_draws(draws, overlap=o).variance
        for draws, o in zip(values, shared, strict=True)
    ]
    return SecondaryEstimates(
        method=test.method,
        tasks=tuple(per_task),
        pooled=random_effects.pooled(means, noise),
        equivalence=equivalence(means, margin=test.rope),
    )
