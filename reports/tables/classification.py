"""The tables of class probabilities, raw and scaled by a temperature, and of each class."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Final

from reports.analysis.classification import (
    ClassEstimate,
    TemperatureEstimate,
    class_estimates,
    probability_estimates,
    temperature_estimates,
)
from reports.analysis.comparison import Comparison
from reports.document import DASH, Table, TableCell, number, plural
from reports.statistics.calibration import TEMPERATURES, ProbabilityScores

MAX_MATRIX: Final = 20  # classes; the matrix of more has too many columns to read


def probability_table(comparison: Comparison) -> Table | None:
    """Return the scores of the stored probabilities; None if there are none."""
    estimates = {
        (estimate.method, estimate.task): estimate
        for estimate in probability_estimates(comparison.runs)
    }
    rows = [
        (
            TableCell(method),
            TableCell(task),
            TableCell(str(estimate.runs)),
            *(TableCell(number(score, 3)) for score in estimate.scores),
        )
        for task in comparison.tasks
        for method in comparison.methods
        if (estimate := estimates.get((method, task)))
    ]
    if not rows:
        return None
    positive = [
        f"{classes[1]} ({task})"
        for task in comparison.tasks
        if len(classes := comparison.classes_of(task)) == 2
    ]
    curves = f" AUROC and AP (average precision): of {', '.join(positive)}." if positive else ""
    return Table(
        title="Class probabilities",
        head=("method", "task", "runs", "NLL", "Brier", "ECE", "AUROC", "AP"),
        rows=tuple(rows),
        labels=2,
        legend=(
            "Means over runs on the test rows; less is better for the first three. NLL: negative log-likelihood, "
            "in nats. Brier: squared distance, from 0 to 2. ECE: calibration error of the most probable class over "
            f"15 bins of equal size, debiased (Kumar et al. 2019).{curves} {DASH}: undefined."
        ),
    )


def temperature_table(comparison: Comparison) -> Table | None:
    """Return the scores of raw and scaled probabilities of the same runs; None if no temperature is stored."""
    estimates = {(one.method, one.task): one for one in temperature_estimates(comparison.runs)}
    shown = [
        estimates[method, task]
        for task in comparison.tasks
        for method in comparison.methods
        if (method, task) in estimates
    ]
    if not shown:
        return None
    rows = [
        row
        for one in shown
        for row in (
            _temperature_row(one, "raw", DASH, one.raw),
            _temperature_row(one, "scaled", _temperature(one), one.scaled),
        )
    ]
    return Table(
        title="Class probabilities, raw and scaled by a temperature",
        head=("method", "task", "scores", "runs", "T", "NLL", "Brier", "ECE"),
        rows=tuple(rows),
        labels=3,
        legend=_temperature_legend(shown),
    )


def _temperature_row(
    one: TemperatureEstimate, name: str, temperature: str, scores: ProbabilityScores
) -> tuple[TableCell, ...]:
    runs = f"{one.runs}/{one.runs + one.without}" if one.without else str(one.runs)
    values = (scores.nll, scores.brier, scores.ece)
    return (
        *map(TableCell, (one.method, one.task, name, runs, temperature)),
        *(TableCell(number(value, 3)) for value in values),
    )


def _temperature(one: TemperatureEstimate) -> str:
    return f"{one.temperature:.2f} [{one.lowest:.2f}, {one.highest:.2f}]"


def _temperature_legend(shown: Sequence[TemperatureEstimate]) -> str:
    low, high = TEMPERATURES
    unscaled, bounded = sum(one.unscaled for one in shown), sum(one.bounded for one in shown)
    without = sum(one.without for one in shown)
    explained = (
        "Means over runs, as in the table of class probabilities; less is better. T: median [lowest, highest] "
        "temperature of the runs, by which their logits are divided; it is fitted on the dev examples of each run "
        f"at the tested checkpoint, by maximum likelihood within {low:g} and {high:g} (Guo et al. 2017). "
        "Predictions do not change"
    )
    parts = [explained]
    if unscaled:
        parts.append(
            f"{plural(unscaled, 'run')} without an error on the dev examples: T is 1, since the likelihood "
            "has no maximum"
        )
    if bounded:
        parts.append(f"{plural(bounded, 'run')} with T at a bound")
    if without:
        parts.append(
            f"n/N: n of N runs store a temperature; {plural(without, 'result')} of earlier versions left out"
        )
    return ". ".join(parts) + "."


def class_tables(comparison: Comparison, *, most_classes: float = math.inf) -> tuple[Table, ...]:
    """Return a table of the classes for each task and size.

    Args:
        comparison: the numbers.
        most_classes: tasks with more classes are left out.
    """
    estimates = {(one.method, one.task, one.size): one for one in class_estimates(comparison.runs)}
    tables = []
    for task in comparison.tasks:
        for size in comparison.sizes:
            shown = [
                estimates[method, task, size]
                for method in comparison.methods
                if (method, task, size) in estimates
            ]
            if shown and len(shown[0].classes) <= most_classes:
                tables.append(_class_table(shown))
    return tuple(tables)


def _class_table(shown: Sequence[ClassEstimate]) -> Table:
    first = shown[0]
    with_matrix = len(first.classes) <= MAX_MATRIX
    matrix = tuple(f"as {name}" for name in first.classes) if with_matrix else ()
    counts = fmean(one.draws for one in shown)
    seeds = any(one.runs > one.draws for one in shown)
    parts = [f"Means over {counts:.3g} draws{' (seeds of a draw are averaged first)' * seeds}"]
    if with_matrix:
        parts.append(
            "as CLASS: test rows of the class on the left that are predicted as CLASS; bold or *: correct"
        )
    else:
        parts.append(f"The confusion matrix of more than {MAX_MATRIX} classes is left out")
    parts.append(
        "precision, recall and F1: of the class on the left, in percent; the precision of a class that is "
        f"never predicted is 0. {DASH}: no test row of the class"
    )
    return Table(
        title=f"Classes of {first.task}, size {first.size}",
        head=("method", "class", *matrix, "rows", "precision", "recall", "F1"),
        rows=tuple(
            _class_row(one, number, with_matrix=with_matrix)
            for one in shown
            for number in range(len(one.classes))
        ),
        labels=2,
        legend=". ".join(parts) + ".",
    )


def _class_row(one: ClassEstimate, label: int, *, with_matrix: bool) -> tuple[TableCell, ...]:
    counts = one.confusion[label] if with_matrix else ()
    scores = (one.precision[label], one.recall[label], one.f1[label])
    return (
        TableCell(one.method),
        TableCell(one.classes[label]),
        *(TableCell(number(count, 1), strong=place == label) for place, count in enumerate(counts)),
        TableCell(number(one.support[label], 1).removesuffix(".0")),
        *(TableCell(number(100 * score, 1)) for score in scores),
    )
