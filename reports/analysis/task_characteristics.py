"""Characteristics of tasks, and their correlation with the gains over the baseline."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np

from reports.analysis.comparison import Comparison
from reports.analysis.run import Run, has_score
from reports.published import human_score
from reports.statistics import correlation
from reports.statistics.conventions import Array
from reports.statistics.correlation import Correlation
from reports.statistics.multiple_testing import benjamini_hochberg

TextsOf = Callable[[Run], Sequence[Sequence[str]] | None]
SIZE: Final = "size"
MEASURES: Final = ("words", "balance", "pair", "overlap", "people")
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True)
class TaskCharacteristics:
    """One task, measured on the test rows of one run; NaN if unknown or not applicable.

    Values are rounded, so that their ranks do not depend on the sample of test rows.
    """

    task: str
    classes: int  # 0: a regression
    words: float  # per row, all its texts together
    balance: float  # entropy of the labels divided by its maximum: 1 for equally frequent classes
    pair: float  # 1: two texts per row; 0: one text
    overlap: float  # words that the two texts of a row share, divided by all their words (Jaccard)
    people: float  # score of people in points; label noise limits the score of any method
    best: float  # the highest mean score of a method, in points
    gains: Mapping[str, float]  # of each method over the baseline, in points


@dataclass(frozen=True, kw_only=True)
class GainCorrelation:
    """The rank correlation of one characteristic with the gain of one method."""

    characteristic: str
    method: str
    found: Correlation
    p_adj: float  # Benjamini-Hochberg over all correlations


@dataclass(frozen=True, kw_only=True)
class Characteristics:
    """The characteristics of all tasks, and their correlations with gains."""

    tasks: tuple[TaskCharacteristics, ...]
    links: tuple[GainCorrelation, ...]


def characteristics(comparison: Comparison, texts_of: TextsOf) -> Characteristics:
    """Measure the tasks.

    Args:
        comparison: The comparison of the report.
        texts_of: Returns the texts of a run's test rows, or None. Without texts, only the labels
            of a task are measured.
    """
    tasks = tuple(_measure(comparison, task, texts_of) for task in comparison.tasks)
    return Characteristics(tasks=tasks, links=tuple(_correlations(comparison, tasks)))


def _measure(comparison: Comparison, task: str, texts_of: TextsOf) -> TaskCharacteristics:
    runs = [run for run in comparison.runs if run.task == task and has_score(run) and run.labels]
    run = runs[0] if runs else None
    rows = (texts_of(run) if run else None) or []
    labels = np.concatenate(list(run.labels.values())) if run else np.empty(0)
    scope = None if len(comparison.sizes) > 1 else comparison.sizes[0]
    means = [comparison.cell(method, task, scope).mean for method in comparison.methods]
    gains = {test.method: test.differences.get(task) for test in comparison.family("overall")}
    return TaskCharacteristics(
        task=task,
        classes=len(run.classes) if run else 0,
        words=round(fmean(sum(len(text.split()) for text in row) for row in rows), 1)
        if rows
        else math.nan,
        balance=round(label_balance(labels, len(run.classes)), 2) if run else math.nan,
        pair=float(max(len(row) for row in rows) > 1) if rows else math.nan,
        overlap=round(word_overlap(rows), 2),
        people=round(human_score(task, run.scored_by), 1) if run else math.nan,
        best=max((mean for mean in means if math.isfinite(mean)), default=math.nan),
        gains={method: fmean(values) for method, values in gains.items() if values},
    )


def label_balance(labels: Sequence[float] | Array, classes: int) -> float:
    """Return the entropy of labels (n,) divided by the logarithm of the number of classes.

    NaN for a regression, a single class or a multilabel task.
    """
    if classes < 2 or not len(labels) or np.ndim(labels) > 1:
        return math.nan
    shares = [count / len(labels) for count in Counter(map(float, labels)).values()]
    return -math.fsum(share * math.log(share) for share in shares) / math.log(classes) + 0.0


def word_overlap(rows: Sequence[Sequence[str]]) -> float:
    """Return the mean Jaccard index (1901) of the words of two texts, ignoring case."""
    pairs = [[set(_WORD.findall(text.lower())) for text in row] for row in rows if len(row) == 2]
    shares = [
        len(first & second) / len(first | second) for first, second in pairs if first | second
    ]
    return fmean(shares) if shares else math.nan


def _correlations(
    comparison: Comparison, tasks: Sequence[TaskCharacteristics]
) -> list[GainCorrelation]:
    methods = [test.method for test in comparison.family("overall")]
    results = [
        (SIZE, method, _with_size(comparison, method))
        for method in methods
        if len(comparison.sizes) > 1
    ]
    gains = {
        method: [_as_shown(task.gains.get(method, math.nan)) for task in tasks]
        for method in methods
    }
    for name in MEASURES:
        values = [float(getattr(task, name)) for task in tasks]
        results += [(name, method, correlation.over(values, gains[method])) for method in methods]
    defined = [result for result in results if not math.isnan(result[2].rho)]
    p = [result[2].p for result in defined if not math.isnan(result[2].p)]
    adjusted = iter(map(float, benjamini_hochberg(p)))
    return [
        GainCorrelation(
            characteristic=name,
            method=method,
            found=result,
            p_adj=math.nan if math.isnan(result.p) else next(adjusted),
        )
        for name, method, result in defined
    ]


def _as_shown(gain: float) -> float:
    """Round a gain as tables do, so that invisible digits do not decide its rank."""
    return round(gain, 1)


def _with_size(comparison: Comparison, method: str) -> Correlation:
    """Correlate size with gain within each task; two sizes give +1 or -1."""
    tests = [
        test
        for test in comparison.family("cells")
        if test.method == method and not math.isnan(test.effect)
    ]
    cells = [
        [(test.size or 0, _as_shown(test.effect)) for test in tests if test.task == task]
        for task in comparison.tasks
    ]
    tasks = [
        [([size for size, _ in pairs], [gain for _, gain in pairs])] for pairs in cells if pairs
    ]
    return correlation.within(tasks, fewest=2)
