"""What else may be said of one method against the baseline, beyond the mean, its interval and its p."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.analysis.contrasts import Contrast
from reports.analysis.paired_runs import Run, finished, overlap
from reports.statistics import (
    bayes,
    effects,
    paired_tests,
    random_effects,
    replicability,
    superiority,
)
from reports.statistics.bayes import Posterior
from reports.statistics.effects import Equivalence, Pseudomedian
from reports.statistics.random_effects import Pooled
from reports.statistics.replicability import Directions
from reports.statistics.superiority import Superiority


@dataclass(frozen=True, kw_only=True)
class Detail:
    """One method against the baseline over several tasks; points, and chances from 0 to 1."""

    method: str
    tasks: tuple[str, ...]
    superiority: Superiority  # how often a draw of it wins
    middle: Pseudomedian  # over tasks
    wilcoxon: float  # p over tasks
    biserial: float  # the rank-biserial correlation over tasks
    standardised: float  # the mean over tasks in their standard deviations, d_z
    pooled: Pooled  # as a sample of tasks, with what a new task may show
    posterior: (
        Posterior  # chances that the baseline is better, neither is, the method is, on a new task
    )
    equivalence: Equivalence  # whether the mean over tasks lies within the rope
    counted: Directions  # on how many tasks it is ahead and behind


def details(tests: Sequence[Contrast], runs: Sequence[Run]) -> tuple[Detail, ...]:
    """One for each comparison overall that is made over two tasks or more."""
    return tuple(
        _detail(test, runs)
        for test in tests
        if test.family == "overall" and test.unit == "tasks" and test.n > 1
    )


def _detail(test: Contrast, runs: Sequence[Run]) -> Detail:
    per_task: Mapping[str, Sequence[float]] = test.differences
    values = list(per_task.values())
    means = np.round([np.mean(draws) for draws in values], paired_tests.DIGITS)
    mine = [run for run in runs if run.method == test.method and finished(run)]
    shared = [overlap(run for run in mine if run.task == task) for task in per_task]
    noise = [
        paired_tests.over_draws(draws, overlap=o).variance
        for draws, o in zip(values, shared, strict=True)
    ]
    return Detail(
        method=test.method,
        tasks=tuple(per_task),
        superiority=superiority.superiority([[[value] for value in draws] for draws in values]),
        middle=effects.hodges_lehmann(means),
        wilcoxon=effects.wilcoxon(means),
        biserial=effects.rank_biserial(means),
        standardised=effects.standardised(means),
        pooled=random_effects.pooled(means, noise),
        posterior=bayes.signed_rank(means, rope=test.rope),
        equivalence=effects.equivalence(means, margin=test.rope),
        counted=replicability.directions(values, shared),
    )
