"""The tables of class probabilities, raw and scaled by a temperature, and of each class."""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Final, TypeVar

from reports.analysis.classification import (
    ClassEstimate,
    ProbabilityEstimate,
    TemperatureEstimate,
    class_estimates,
    probability_estimates,
    temperature_estimates,
)
from reports.analysis.comparison import Comparison
from reports.document import DASH, Table, TableCell, number, plural
from reports.statistics.calibration import TEMPERATURES, ProbabilityScores

Estimate = TypeVar("Estimate", ProbabilityEstimate, TemperatureEstimate)
MAX_MATRIX: Final = 20  # classes; the matrix of more has too many columns to read


def probability_table(comparison: Comparison) -> Table | None:
    """Return the scores of the stored probabilities; None if there are none."""
    shown = _in_order(comparison, probability_estimates(comparison.runs))
    if not shown:
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
        rows=tuple(
            (
                *map(TableCell, (one.method, one.task, _count(one))),
                *(TableCell(number(score, 3)) for score in one.scores),
            )
            for one in shown
        ),
        labels=2,
        legend=(
            f"Means over runs{_sizes(comparison)} on the test rows; less is better for the first three. NLL: negative "
            "log-likelihood, in nats. Brier: squared distance, from 0 to 2. ECE: calibration error of the most "
            "probable class over 15 bins of equal size; debiased before the root (Kumar et al. 2019), so that a "
            f"calibrated model has about 0.04 with 100 test rows, 0.016 with 500 and 0.008 with 2000.{curves} "
            f"{DASH}: undefined{_incomplete(shown, 'probabilities')}."
        ),
    )


def temperature_table(comparison: Comparison) -> Table | None:
    """Return the scores of raw and scaled probabilities of the same runs; None if no temperature is stored."""
    shown = _in_order(comparison, temperature_estimates(comparison.runs))
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
        legend=_temperature_legend(comparison, shown),
    )


def _in_order(comparison: Comparison, estimates: Sequence[Estimate]) -> list[Estimate]:
    """Return the estimates in the order of the tasks and methods of a report."""
    by_cell = {(one.method, one.task): one for one in estimates}
    return [
        by_cell[method, task]
        for task in comparison.tasks
        for method in comparison.methods
        if (method, task) in by_cell
    ]


def _count(one: ProbabilityEstimate | TemperatureEstimate) -> str:
    return str(one.runs) if one.runs == one.planned else f"{one.runs}/{one.planned}"


def _sizes(comparison: Comparison) -> str:
    """Return the sizes that a mean contains, if there are several."""
    *others, last = map(str, comparison.sizes)
    return f" of sizes {', '.join(others)} and {last} together" if others else ""


def _incomplete(shown: Sequence[ProbabilityEstimate | TemperatureEstimate], what: str) -> str:
    """Return why some methods have no mean, as the end of a sentence."""
    reasons: Counter[str] = Counter()
    for one in shown:
        reasons.update(one.without)
    if not reasons:
        return ""
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return (
        f", or not every planned run stores {what} (n/N: n of N do; the others: {counts}); a mean over the "
        "rest is not printed, because it can favour a method that fails"
    )


def _temperature_row(
    one: TemperatureEstimate, name: str, temperature: str, scores: ProbabilityScores
) -> tuple[TableCell, ...]:
    values = (scores.nll, scores.brier, scores.ece)
    return (
        *map(TableCell, (one.method, one.task, name, _count(one), temperature)),
        *(TableCell(number(value, 3)) for value in values),
    )


def _temperature(one: TemperatureEstimate) -> str:
    if math.isnan(one.temperature):
        return DASH
    return f"{one.temperature:.2f} [{one.lowest:.2f}, {one.highest:.2f}]"


def _temperature_legend(comparison: Comparison, shown: Sequence[TemperatureEstimate]) -> str:
    low, high = TEMPERATURES
    unscaled, bounded = sum(one.unscaled for one in shown), sum(one.bounded for one in shown)
    explained = (
        f"Means over runs{_sizes(comparison)}, as in the table of class probabilities; less is better. T: median "
        "[lowest, highest] temperature of the runs, by which their logits are divided; it is fitted on the dev "
        f"examples of each run at the tested checkpoint, by maximum likelihood within {low:g} and {high:g} "
        "(Guo et al. 2017). Predictions do not change"
    )
    parts = [explained]
    if unscaled:
        parts.append(
            f"{plural(unscaled, 'run')} without an error on the dev examples: T is 1, since the likelihood "
            "has no maximum"
        )
    if bounded:
        parts.append(f"{plural(bounded, 'run')} with T at a bound")
    if incomplete := _incomplete(shown, "a temperature"):
        parts.append(f"{DASH}: not applicable{incomplete}")
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
    with_matrix = 0 < len(first.confusion) <= MAX_MATRIX
    matrix = tuple(f"as {name}" for name in first.classes) if with_matrix else ()
    counts = fmean(one.draws for one in shown)
    seeds = any(one.runs > one.draws for one in shown)
    parts = [f"Means over {counts:.3g} draws{' (seeds of a draw are averaged first)' * seeds}"]
    if with_matrix:
        parts.append(
            "as CLASS: test rows of the class on the left that are predicted as CLASS; bold or *: correct"
        )
    elif len(first.confusion):
        parts.append(f"The confusion matrix of more than {MAX_MATRIX} classes is left out")
    parts.append(
        "precision, recall and F1: of the class on the left, in percent; the precision of a class that is "
        f"never predicted is 0. {DASH}: no test row of the class"
    )
    lost = [f"{one.planned - one.runs} of {one.planned} of {one.method}" for one in shown]
    lost = [text for text, one in zip(lost, shown, strict=True) if one.runs < one.planned]
    if lost:
        parts.append(
            f"Left out, because they have no score or no stored predictions: {', '.join(lost)} runs"
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
