"""Task characteristics as tables."""

import math
from collections.abc import Sequence

from reports.analysis.comparison import Comparison
from reports.analysis.task_characteristics import Character, Characteristics, Link
from reports.analysis.verdict import points, probability
from reports.document import DASH, Entry, Table
from reports.statistics.conventions import ALPHA
from reports.tables.subspace import correlated


def traits(comparison: Comparison, found: Characteristics) -> list[Table]:
    """What the tasks are like, and what gains go with."""
    methods = [method for method in comparison.methods if method != comparison.baseline]
    unread = [one.task for one in found.tasks if math.isnan(one.words)]
    missing = f" The texts of {', '.join(unread)} are not at hand." if unread else ""
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
        rows=tuple(_row(one, methods) for one in found.tasks),
        legend=(
            "Of the test rows, where they are split anew those of one draw. words: of a row. balance: entropy of the labels, 1 "
            "where classes are alike. overlap: of the words of a row's two texts, shared over all (Jaccard). people: what "
            "they reached on GLUE's test rows after twenty examples (Nangia and Bowman 2019), a low estimate of the ceiling "
            "that doubtful labels set. best: the highest mean of a method. "
            f"Methods: points over {comparison.baseline}, sizes and draws averaged.{missing}"
        ),
    )
    return [table, _links(found)] if found.links else [table]


def _row(one: Character, methods: list[str]) -> tuple[Entry, ...]:
    texts = DASH if math.isnan(one.pair) else "pair" if one.pair else "single"
    return (
        Entry(one.task),
        Entry(str(one.classes or DASH)),
        Entry(_number(one.words, 1)),
        Entry(_number(one.balance, 2)),
        Entry(texts),
        Entry(_number(one.overlap, 2)),
        Entry(_number(one.people, 1)),
        Entry(_number(one.best, 1)),
        *(Entry(points(one.gains.get(method, math.nan))) for method in methods),
    )


def _links(found: Characteristics) -> Table:
    return Table(
        title="Gains against task characteristics",
        head=("characteristic", "method", "rank correlation", "p", "p adjusted", "tasks"),
        rows=tuple(_link(link) for link in found.links),
        labels=2,
        legend=(
            "Spearman's, over tasks, of values as they are shown: a task is one point, however many runs it has. p: over all "
            "orders of up to 8 tasks, sampled above; interval: Bonett and Wright's (2000), from four tasks on. size: of the "
            "labelled examples, within each task (two sizes can only agree or disagree), averaged, with a t interval and a "
            f"sign flip over tasks. Adjusted by Benjamini and Hochberg, exploratory; {_reach(found.links)}. Tasks differ in "
            "much else: what goes together need not be cause. best stands in no correlation, as gains are part of it."
        ),
    )


def _reach(links: Sequence[Link]) -> str:
    """What the adjustment leaves possible: each correlation by its own tasks, their ties and its test."""
    tested = [link.found.smallest for link in links if not math.isnan(link.found.p)]
    least = min(1.0, min(tested, default=1.0) * len(tested))
    shown = probability(least) if least < 0.0005 else f"= {probability(least)}"
    most = f"can reach p {shown}" if least <= ALPHA else "cannot reach .05"
    return f"of {len(tested)} correlations that have a p a single one {most} after adjustment, by its tasks and their ties"


def _link(link: Link) -> tuple[Entry, ...]:
    found = correlated(link.found, link.p_adj)
    return Entry(link.characteristic), Entry(link.method), *found, Entry(str(link.found.n))


def _number(value: float, digits: int) -> str:
    return DASH if math.isnan(value) else f"{value:.{digits}f}"
