"""Scores of classification: of the class probabilities, raw and scaled by a temperature, and of each class."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import numpy as np

from reports.analysis.run import Array, Run, has_score
from reports.statistics.calibration import (
    TEMPERATURES,
    ProbabilityScores,
    probability_scores,
    scaled,
)
from reports.statistics.confusion import ClassScores, class_scores, confusion_matrix


@dataclass(frozen=True, kw_only=True)
class ProbabilityEstimate:
    """The scores of one method on one task, as means over its runs with stored probabilities."""

    method: str
    task: str
    runs: int
    scores: ProbabilityScores


@dataclass(frozen=True, kw_only=True)
class TemperatureEstimate:
    """The scores of one method on one task, raw and scaled, as means over its runs with a temperature."""

    method: str
    task: str
    runs: int
    without: int  # runs with stored probabilities, but without a temperature
    temperature: float  # the median over runs
    lowest: float
    highest: float
    unscaled: int  # runs without an error on the dev rows, whose temperature is 1
    bounded: int  # runs whose temperature is a bound of `TEMPERATURES`
    raw: ProbabilityScores
    scaled: ProbabilityScores


@dataclass(frozen=True, kw_only=True)
class ClassEstimate:
    """The confusion matrix and the scores of each class of one method on one task and size.

    Both are means over draws; seeds of a draw are averaged first. Several test sets count together.
    """

    method: str
    task: str
    size: int
    draws: int
    runs: int
    classes: tuple[str, ...]
    confusion: Array  # test rows (classes, classes) by label, then by prediction
    precision: Array  # (classes,), as in `ClassScores`
    recall: Array
    f1: Array

    @property
    def support(self) -> Array:
        """Test rows (classes,) of each class."""
        return np.asarray(self.confusion.sum(axis=1))


def probability_estimates(runs: Sequence[Run]) -> tuple[ProbabilityEstimate, ...]:
    """Return the scores of every method and task for which probabilities are stored."""
    cells: dict[tuple[str, str], list[ProbabilityScores]] = {}
    for run in runs:
        if run.probabilities:
            cells.setdefault((run.method, run.task), []).append(_scores(run))
    return tuple(
        ProbabilityEstimate(method=method, task=task, runs=len(scores), scores=_mean(scores))
        for (method, task), scores in sorted(cells.items())
    )


def scaled_runs(runs: Iterable[Run]) -> list[Run]:
    """Return the runs that store a temperature, with probabilities scaled by it."""
    return [
        replace(
            run,
            probabilities={
                split: scaled(values, run.temperature)
                for split, values in run.probabilities.items()
            },
        )
        for run in runs
        if run.temperature is not None
    ]


def temperature_estimates(runs: Sequence[Run]) -> tuple[TemperatureEstimate, ...]:
    """Return the raw and the scaled scores of every method and task for which temperatures are stored."""
    cells: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.probabilities:
            cells.setdefault((run.method, run.task), []).append(run)
    estimates = []
    for (method, task), found in sorted(cells.items()):
        fitted = [run for run in found if run.temperature is not None]
        temperatures = [run.temperature for run in fitted if run.temperature is not None]
        if fitted:
            estimates.append(
                TemperatureEstimate(
                    method=method,
                    task=task,
                    runs=len(fitted),
                    without=len(found) - len(fitted),
                    temperature=median(temperatures),
                    lowest=min(temperatures),
                    highest=max(temperatures),
                    unscaled=temperatures.count(1.0),
                    bounded=sum(map(_is_bound, temperatures)),
                    raw=_mean([_scores(run) for run in fitted]),
                    scaled=_mean([_scores(run) for run in scaled_runs(fitted)]),
                )
            )
    return tuple(estimates)


def class_estimates(runs: Iterable[Run]) -> tuple[ClassEstimate, ...]:
    """Return the estimates of every method, task and size with classes for which predictions are stored."""
    cells: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        known = sum(map(len, run.labels.values()))
        if has_score(run) and run.classes and known and known == len(run.predictions):
            cells.setdefault((run.method, run.task, run.size), []).append(run)
    return tuple(_class_estimate(cells[key]) for key in sorted(cells))


def _class_estimate(runs: Sequence[Run]) -> ClassEstimate:
    by_draw: dict[int, list[tuple[Array, ClassScores]]] = {}
    for run in runs:
        labels = np.concatenate(list(run.labels.values()))
        confusion = confusion_matrix(run.predictions, labels, len(run.classes))
        entry = confusion.astype(np.float64), class_scores(confusion)
        by_draw.setdefault(run.draw, []).append(entry)
    draws = [
        (
            np.mean([confusion for confusion, _ in entries], axis=0),
            [_known_mean(parts) for parts in zip(*(scores for _, scores in entries), strict=True)],
        )
        for entries in by_draw.values()
    ]
    precision, recall, f1 = (
        _known_mean(parts) for parts in zip(*(scores for _, scores in draws), strict=True)
    )
    return ClassEstimate(
        method=runs[0].method,
        task=runs[0].task,
        size=runs[0].size,
        draws=len(by_draw),
        runs=len(runs),
        classes=tuple(runs[0].classes),
        confusion=np.asarray(np.mean([confusion for confusion, _ in draws], axis=0)),
        precision=precision,
        recall=recall,
        f1=f1,
    )


def _known_mean(parts: Sequence[Array]) -> Array:
    """Return the means (classes,) over the parts in which a value is known; NaN if there are none."""
    values = np.stack(parts)
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    sums = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0))


def _is_bound(temperature: float) -> bool:
    return any(math.isclose(temperature, bound, rel_tol=1e-6) for bound in TEMPERATURES)


def _scores(run: Run) -> ProbabilityScores:
    """Return the mean scores of a run's test sets."""
    return _mean(
        [
            probability_scores(values, run.labels[split])
            for split, values in run.probabilities.items()
        ]
    )


def _mean(scores: Sequence[ProbabilityScores]) -> ProbabilityScores:
    """Return the mean of each score over those that define it."""
    means = []
    for values in zip(*scores, strict=True):
        known = [value for value in values if not math.isnan(value)]
        means.append(fmean(known) if known else math.nan)
    return ProbabilityScores(*means)
