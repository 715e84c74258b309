"""What tasks are like, and whether gains over the baseline go with it."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np

from reports.analysis.comparison import Comparison
from reports.analysis.paired_runs import Run, finished
from reports.published import people
from reports.statistics import correlation, multiple_testing
from reports.statistics.conventions import Array
from reports.statistics.correlation import Correlation

Texts = Callable[[Run], Sequence[Sequence[str]] | None]
SIZE: Final = "size"
MEASURES: Final = ("words", "balance", "pair", "overlap", "people")
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True)
class TaskCharacteristics:
    """One task, measured on the test rows of one run; NaN where it is not known or does not apply.

    Rounded, so that ranks are not made of what a few rows happen to be.
    """

    task: str
    classes: int  # 0: a regression
    words: float  # of a row, all its texts together
    balance: float  # entropy of the labels over its greatest value: 1 where classes are alike
    pair: float  # 1: two texts a row; 0: one
    overlap: float  # of the words of the two texts of a row: shared over all (Jaccard)
    people: float  # what people reach, in points: labels that they do not agree with are a ceiling
    best: float  # the highest mean score of a method, in points
    gains: Mapping[str, float]  # of each method over the baseline, in points


@dataclass(frozen=True, kw_only=True)
class GainCorrelation:
    """A rank correlation of one characteristic with the gain of one method."""

    characteristic: str
    method: str
    found: Correlation
    p_adj: float  # Benjamini-Hochberg, over all of them


@dataclass(frozen=True, kw_only=True)
class Characteristics:
    """All tasks, and what gains go with."""

    tasks: tuple[TaskCharacteristics, ...]
    links: tuple[GainCorrelation, ...]


def characteristics(comparison: Comparison, texts: Texts) -> Characteristics:
    """Measure the tasks; those whose texts are not at hand are known by their labels alone."""
    tasks = tuple(_character(comparison, task, texts) for task in comparison.tasks)
    return Characteristics(tasks=tasks, links=tuple(_links(comparison, tasks)))


def _character(comparison: Comparison, task: str, texts: Texts) -> TaskCharacteristics:
    runs = [run for run in comparison.runs if run.task == task and finished(run) and run.labels]
    run = runs[0] if runs else None
    rows = (texts(run) if run else None) or []
    labels = np.concatenate(list(run.labels.values())) if run else np.empty(0)
    scope = None if len(comparison.sizes) > 1 else comparison.sizes[0]
    means = [comparison.cell(method, task, scope).mean for method in comparison.methods]
    tests = {test.method: test.differences.get(task) for test in comparison.family("overall")}
    return TaskCharacteristics(
        task=task,
        classes=len(run.classes) if run else 0,
        words=round(fmean(sum(len(text.split()) for text in row) for row in rows), 1)
        if rows
        else math.nan,
        balance=round(balance(labels, len(run.classes)), 2) if run else math.nan,
        pair=float(max(len(row) for row in rows) > 1) if rows else math.nan,
        overlap=round(overlap(rows), 2),
        people=round(people(task, run.scored_by), 1) if run else math.nan,
        best=max((mean for mean in means if math.isfinite(mean)), default=math.nan),
        gains={method: fmean(found) for method, found in tests.items() if found},
    )


def balance(labels: Sequence[float] | Array, classes: int) -> float:
    """The entropy of labels (n,) over the logarithm of the number of classes; NaN for a regression or a single class."""
    if classes < 2 or not len(labels):
        return math.nan
    shares = [count / len(labels) for count in Counter(map(float, labels)).values()]
    return -math.fsum(share * math.log(share) for share in shares) / math.log(classes) + 0.0


def overlap(rows: Sequence[Sequence[str]]) -> float:
    """The mean of Jaccard's (1901) share of the words of two texts that both have, upper and lower case alike."""
    pairs = [[set(_WORD.findall(text.lower())) for text in row] for row in rows if len(row) == 2]
    shares = [
        len(first & second) / len(first | second) for first, second in pairs if first | second
    ]
    return fmean(shares) if shares else math.nan


def _links(comparison: Comparison, tasks: Sequence[TaskCharacteristics]) -> list[GainCorrelation]:
    methods = [test.method for test in comparison.family("overall")]
    found = [
        (SIZE, method, _by_size(comparison, method))
        for method in methods
        if len(comparison.sizes) > 1
    ]
    gains = {
        method: [_shown(task.gains.get(method, math.nan)) for task in tasks] for method in methods
    }
    for name in MEASURES:
        values = [float(getattr(task, name)) for task in tasks]
        found += [(name, method, correlation.over(values, gains[method])) for method in methods]
    kept = [(name, method, one) for name, method, one in found if not math.isnan(one.rho)]
    known = [one.p for _, _, one in kept if not math.isnan(one.p)]
    adjusted = iter(map(float, multiple_testing.benjamini_hochberg(known)))
    return [
        GainCorrelation(
            characteristic=name,
            method=method,
            found=one,
            p_adj=math.nan if math.isnan(one.p) else next(adjusted),
        )
        for name, method, one in kept
    ]


def _shown(gain: float) -> float:
    """As tables have it: what differs in further digits is no order."""
    return round(gain, 1)


def _by_size(comparison: Comparison, method: str) -> Correlation:
    """Of the size with the gain within each task; two sizes can only agree or disagree."""
    tests = [
        test
        for test in comparison.family("cells")
        if test.method == method and not math.isnan(test.effect)
    ]
    cells = [
        [(test.size or 0, _shown(test.effect)) for test in tests if test.task == task]
        for task in comparison.tasks
    ]
    tasks = [
        [([size for size, _ in pairs], [gain for _, gain in pairs])] for pairs in cells if pairs
    ]
    return correlation.within(tasks, fewest=2)
