"""Secondary estimates: whether a method is equivalent to the baseline, and what one more task may show."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.analysis.contrasts import Contrast
from reports.statistics.conventions import DIGITS
from reports.statistics.equivalence import Equivalence, equivalence
from reports.statistics.random_effects import RandomEffects, random_effects


@dataclass(frozen=True, kw_only=True)
class SecondaryEstimates:
    """One method against the baseline over several tasks, in points."""

    method: str
    tasks: tuple[str, ...]
    pooled: RandomEffects  # tasks as a random sample, with a prediction for one more task
    equivalence: Equivalence  # whether the mean over tasks lies within the rope


def secondary_estimates(
    tests: Sequence[Contrast],
) -> tuple[SecondaryEstimates, ...]:
    """Return the estimates for each overall comparison over two tasks or more."""
    return tuple(
        _estimates(test)
        for test in tests
        if test.family == "overall" and test.others and test.others.n > 1
    )


def _estimates(test: Contrast) -> SecondaryEstimates:
    means = np.round([np.mean(draws) for draws in test.differences.values()], DIGITS)
    return SecondaryEstimates(
        method=test.method,
        tasks=tuple(test.differences),
        pooled=random_effects(means, list(test.variances.values())),
        equivalence=equivalence(means, margin=test.rope),
    )
