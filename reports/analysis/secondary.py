"""Secondary estimates: whether a method is equivalent to the baseline, and what one more task may show."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reports.analysis.contrasts import Contrast
from reports.statistics.conventions import DIGITS
from reports.statistics.equivalence import Equivalence, equivalence
from reports.statistics.multiple_testing import holm
from reports.statistics.random_effects import RandomEffects, random_effects


@dataclass(frozen=True, kw_only=True)
class SecondaryEstimates:
    """One method against the baseline over several tasks, in points."""

    method: str
    tasks: tuple[str, ...]
    pooled: RandomEffects  # tasks as a random sample, with a prediction for one more task
    equivalence: Equivalence  # whether the mean over tasks lies within the rope


def secondary_estimates(
    tests: Sequence[Contrast], span: float = math.inf
) -> tuple[SecondaryEstimates, ...]:
    """Return the estimates for each overall comparison over two tasks or more.

    Args:
        tests: The comparisons.
        span: The largest possible difference of two scores on a task, in points.
    """
    estimates = [
        _estimates(test, span)
        for test in tests
        if test.family == "overall" and test.others and test.others.n > 1
    ]
    return tuple(_adjusted(estimates, [test for test in tests if test.family == "overall"]))


def _adjusted(
    estimates: Sequence[SecondaryEstimates], tests: Sequence[Contrast]
) -> Iterator[SecondaryEstimates]:
    """Yield the estimates with p of equivalence by Holm over the methods, at the level of their look."""
    levels = {test.method: test.these.alpha for test in tests}
    tested = [each for each in estimates if not math.isnan(each.equivalence.p)]
    adjusted = dict(
        zip(
            (each.method for each in tested),
            holm([each.equivalence.p for each in tested]),
            strict=True,
        )
    )
    for each in estimates:
        p = float(adjusted.get(each.method, math.nan))
        result = each.equivalence._replace(p=p, equivalent=p < levels[each.method])
        yield replace(each, equivalence=result)


def _estimates(test: Contrast, span: float) -> SecondaryEstimates:
    means = np.round([np.mean(draws) for draws in test.differences.values()], DIGITS)
    return SecondaryEstimates(
        method=test.method,
        tasks=tuple(test.differences),
        pooled=_within(random_effects(means, list(test.variances.values())), span),
        equivalence=equivalence(means, margin=test.rope),
    )


def _within(pooled: RandomEffects, span: float) -> RandomEffects:
    """Return the estimate with its prediction cut to the possible differences, which loses no coverage."""
    if math.isnan(pooled.predicted_low):
        return pooled
    low, high = max(pooled.predicted_low, -span), min(pooled.predicted_high, span)
    return pooled._replace(predicted_low=low, predicted_high=high)
