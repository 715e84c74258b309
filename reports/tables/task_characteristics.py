"""Tables of task characteristics and of their correlations with gains."""

import math
from collections.abc import Sequence

from reports.analysis.comparison import Comparison
from reports.analysis.task_characteristics import (
    Characteristics,
    GainCorrelation,
    TaskCharacteristics,
)
from reports.analysis.verdict import p_value, points
from reports.document import DASH, Table, TableCell, number, plural
from reports.statistics.conventions import ALPHA
from reports.tables.subspace import correlation_entries


def characteristics_tables(comparison: Comparison, measured: Characteristics) -> list[Table]:
    """Return a table of the characteristics, and one of their correlations with gains if there are any."""
    methods = [method for method in comparison.methods if method != comparison.baseline]
    unread = [task.task for task in measured.tasks if math.isnan(task.words)]
    missing = f" The texts of {', '.join(unread)} are not available." if unread else ""
    table = Table(
        title="Task characteristics",
        head=(
            "task",
            "classes",
            "words",
            "balance",
            "texts",
            "overlap",
            "people",
            "best",
            *methods,
        ),
        rows=tuple(_row(task, methods) for task in measured.tasks),
        legend=(
            "Measured on the test examples; if every draw has its own test split, on those of one draw. "
            "words: mean number of words of an example. balance: normalised entropy of the labels; 1 if all "
            "classes are equally frequent. overlap: Jaccard index of the words of an example's two texts. "
            "people: score of people on the test set of GLUE after twenty examples (Nangia and Bowman 2019), "
            "a low estimate of the ceiling that label noise sets. best: the highest mean of a method. "
            f"Methods: difference from {comparison.baseline} in points, averaged over sizes and "
            f"draws.{missing}"
        ),
    )
    return [table, _correlations(measured)] if measured.links else [table]


def _row(task: TaskCharacteristics, methods: list[str]) -> tuple[TableCell, ...]:
    texts = DASH if math.isnan(task.pair) else "pair" if task.pair else "single"
    return (
        TableCell(task.task),
        TableCell(str(task.classes or DASH)),
        TableCell(number(task.words, 1)),
        TableCell(number(task.balance, 2)),
        TableCell(texts),
        TableCell(number(task.overlap, 2)),
        TableCell(number(task.people, 1)),
        TableCell(number(task.best, 1)),
        *(TableCell(points(task.gains.get(method, math.nan))) for method in methods),
    )


def _correlations(measured: Characteristics) -> Table:
    return Table(
        title="Gains against task characteristics",
        head=("characteristic", "method", "rank correlation", "p", "p adjusted", "tasks"),
        rows=tuple(_link(link) for link in measured.links),
        labels=2,
        legend=(
            "Spearman correlation over tasks of the values in the table above; each task is one point, "
            "independent of its number of runs. p: permutation test, exact for up to 8 tasks, sampled above; "
            "interval: Bonett and Wright (2000), for at least four tasks. size: correlation with the number "
            "of labelled examples within each task (±1 with two sizes), averaged over tasks, with a t "
            "interval and a sign-flip test over tasks. Adjusted by Benjamini and Hochberg, exploratory; "
            f"{_reach(measured.links)}. Tasks differ in many other ways, so a correlation need not be a "
            "cause. best is left out, because it contains the gains."
        ),
    )


def _reach(links: Sequence[GainCorrelation]) -> str:
    """Return the smallest adjusted p that a single correlation can reach, given its tasks and their ties."""
    tested = [link.found.smallest for link in links if not math.isnan(link.found.p)]
    least = min(1.0, min(tested, default=1.0) * len(tested))
    reach = f"can reach {p_value(least)}" if least <= ALPHA else "cannot reach .05"
    return (
        f"of {plural(len(tested), 'correlation')} with a p, a single one {reach} after adjustment, "
        "given its tasks and their ties"
    )


def _link(link: GainCorrelation) -> tuple[TableCell, ...]:
    labels = (TableCell(link.characteristic), TableCell(link.method))
    return *labels, *correlation_entries(link.found, link.p_adj), TableCell(str(link.found.n))
