"""Scores of classification: of the class probabilities, raw and scaled by a temperature, and of each class."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Final, NamedTuple

import numpy as np

from reports.analysis.run import Array, Run, has_score, run_status
from reports.statistics.calibration import (
    TEMPERATURES,
    ProbabilityScores,
    probability_scores,
    scaled,
)
from reports.statistics.confusion import (
    ClassScores,
    class_scores,
    confusion_matrix,
    multilabel_scores,
)

UNDEFINED: Final = ProbabilityScores(*[math.nan] * 5)
UNSTORED: Final = "without stored probabilities"
UNFITTED: Final = "without a temperature"


class StoredRuns(NamedTuple):
    """The planned runs of one method, of which some store probabilities, or a temperature as well."""

    runs: tuple[Run, ...]  # that store it
    planned: int
    without: Mapping[str, int]  # number of the other runs by the reason, the most frequent first

    @property
    def complete(self) -> bool:
        """Whether every planned run stores it."""
        return 0 < len(self.runs) == self.planned


@dataclass(frozen=True, kw_only=True)
class ProbabilityEstimate:
    """The scores of one method on one task, as means over its runs; NaN unless all store probabilities."""

    method: str
    task: str
    runs: int  # that store probabilities
    planned: int
    without: Mapping[str, int]
    scores: ProbabilityScores


@dataclass(frozen=True, kw_only=True)
class TemperatureEstimate:
    """The scores of one method on one task, raw and scaled, as means over its runs.

    They are NaN unless all runs store a temperature.
    """

    method: str
    task: str
    runs: int  # that store a temperature
    planned: int
    without: Mapping[str, int]
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
    runs: int  # that count
    planned: int
    classes: tuple[str, ...]
    # test rows (classes, classes) by label, then by prediction; empty for a multilabel task
    confusion: Array
    support: Array  # test rows (classes,) of each class
    precision: Array  # (classes,), as in `ClassScores`
    recall: Array
    f1: Array


def stored_runs(
    runs: Sequence[Run], *, temperature: bool = False
) -> dict[tuple[str, str], StoredRuns]:
    """Return which planned runs store probabilities, by method and task; tasks where no run does are absent.

    A run is planned if any method can be run on its task, size, draw and seed.

    Args:
        runs: all runs of a report.
        temperature: whether a run has to store a temperature as well.
    """
    planned = _planned_blocks(runs)
    tasks = {run.task for run in runs if not _reason(run, temperature=temperature)}
    index = {(run.method, run.task, (run.size, run.draw, run.seed)): run for run in runs}
    result = {}
    for method in dict.fromkeys(run.method for run in runs):
        for task in sorted(tasks):
            found = [index.get((method, task, block)) for block in sorted(planned[task])]
            reasons = Counter(_reason(run, temperature=temperature) for run in found)
            stored = tuple(
                run for run in found if run and not _reason(run, temperature=temperature)
            )
            without = {reason: count for reason, count in reasons.most_common() if reason}
            result[method, task] = StoredRuns(stored, len(found), without)
    return result


def _planned_blocks(runs: Iterable[Run]) -> dict[str, set[tuple[int, int, int]]]:
    """Return by task the size, draw and seed of every run that any method can do."""
    planned: dict[str, set[tuple[int, int, int]]] = {}
    for run in runs:
        if run.status != "infeasible":
            planned.setdefault(run.task, set()).add((run.size, run.draw, run.seed))
    return planned


def _reason(run: Run | None, *, temperature: bool) -> str:
    """Return why a run does not store probabilities, or a temperature; empty if it does."""
    if run is None or not run.probabilities:
        status = run_status(run)
        return UNSTORED if status in ("done", "undefined") else status
    return UNFITTED if temperature and run.temperature is None else ""


def probability_estimates(runs: Sequence[Run]) -> tuple[ProbabilityEstimate, ...]:
    """Return the scores of every method on every task for which probabilities are stored."""
    return tuple(
        ProbabilityEstimate(
            method=method,
            task=task,
            runs=len(stored.runs),
            planned=stored.planned,
            without=stored.without,
            scores=_mean_of(stored, stored.runs),
        )
        for (method, task), stored in sorted(stored_runs(runs).items())
    )


def _mean_of(stored: StoredRuns, runs: Sequence[Run]) -> ProbabilityScores:
    """Return the mean scores of some runs; NaN if not all planned runs are stored."""
    return _mean([_scores(run) for run in runs]) if stored.complete else UNDEFINED


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
    """Return the raw and the scaled scores of every method on every task for which temperatures are stored."""
    return tuple(
        _temperature_estimate(method, task, stored)
        for (method, task), stored in sorted(stored_runs(runs, temperature=True).items())
    )


def _temperature_estimate(method: str, task: str, stored: StoredRuns) -> TemperatureEstimate:
    fitted = stored.runs if stored.complete else ()
    temperatures = [run.temperature for run in fitted if run.temperature is not None]
    return TemperatureEstimate(
        method=method,
        task=task,
        runs=len(stored.runs),
        planned=stored.planned,
        without=stored.without,
        temperature=median(temperatures) if temperatures else math.nan,
        lowest=min(temperatures, default=math.nan),
        highest=max(temperatures, default=math.nan),
        unscaled=temperatures.count(1.0),
        bounded=sum(map(_is_bound, temperatures)),
        raw=_mean_of(stored, fitted),
        scaled=_mean_of(stored, scaled_runs(fitted)),
    )


def class_estimates(runs: Sequence[Run]) -> tuple[ClassEstimate, ...]:
    """Return the estimates of every method, task and size with classes for which predictions are stored."""
    cells: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        known = sum(map(len, run.labels.values()))
        if has_score(run) and run.classes and known and known == len(run.predictions):
            cells.setdefault((run.method, run.task, run.size), []).append(run)
    planned = _planned_blocks(runs)
    return tuple(
        _class_estimate(cells[key], sum(block[0] == key[2] for block in planned[key[1]]))
        for key in sorted(cells)
    )


def _class_estimate(runs: Sequence[Run], planned: int) -> ClassEstimate:
    by_draw: dict[int, list[tuple[Array, Array, ClassScores]]] = {}
    for run in runs:
        by_draw.setdefault(run.draw, []).append(_class_counts(run))
    draws = [
        (
            np.mean([confusion for confusion, _, _ in entries], axis=0),
            np.mean([support for _, support, _ in entries], axis=0),
            [_known_mean(parts) for parts in zip(*(scores for *_, scores in entries), strict=True)],
        )
        for entries in by_draw.values()
    ]
    precision, recall, f1 = (
        _known_mean(parts) for parts in zip(*(scores for *_, scores in draws), strict=True)
    )
    return ClassEstimate(
        method=runs[0].method,
        task=runs[0].task,
        size=runs[0].size,
        draws=len(by_draw),
        runs=len(runs),
        planned=planned,
        classes=tuple(runs[0].classes),
        confusion=np.asarray(np.mean([confusion for confusion, _, _ in draws], axis=0)),
        support=np.asarray(np.mean([support for _, support, _ in draws], axis=0)),
        precision=precision,
        recall=recall,
        f1=f1,
    )


def _class_counts(run: Run) -> tuple[Array, Array, ClassScores]:
    """Return the confusion matrix, the rows of each class and its scores; no matrix for a multilabel task."""
    labels = np.concatenate(list(run.labels.values()))
    if labels.ndim == 2:
        return np.empty((0, 0)), labels.sum(axis=0), multilabel_scores(run.predictions, labels)
    confusion = confusion_matrix(run.predictions, labels, len(run.classes))
    return confusion.astype(np.float64), confusion.sum(axis=1), class_scores(confusion)


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
