"""Mean scores of the class probabilities of each method on each task."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from reports.analysis.run import Run
from reports.statistics.calibration import ProbabilityScores, probability_scores


@dataclass(frozen=True, kw_only=True)
class ProbabilityEstimate:
    """The scores of one method on one task, as means over its runs with stored probabilities."""

    method: str
    task: str
    runs: int
    scores: ProbabilityScores


def probability_estimates(runs: Sequence[Run]) -> tuple[ProbabilityEstimate, ...]:
    """Return the scores of every method and task for which probabilities are stored."""
    cells: dict[tuple[str, str], list[ProbabilityScores]] = {}
    for run in runs:
        if run.probabilities:
            splits = [
                probability_scores(values, run.labels[split])
                for split, values in run.probabilities.items()
            ]
            cells.setdefault((run.method, run.task), []).append(_mean(splits))
    return tuple(
        ProbabilityEstimate(method=method, task=task, runs=len(scores), scores=_mean(scores))
        for (method, task), scores in sorted(cells.items())
    )


def _mean(scores: Sequence[ProbabilityScores]) -> ProbabilityScores:
    """Return the mean of each score over those that define it."""
    means = []
    for values in zip(*scores, strict=True):
        known = [value for value in values if not math.isnan(value)]
        means.append(fmean(known) if known else math.nan)
    return ProbabilityScores(*means)
