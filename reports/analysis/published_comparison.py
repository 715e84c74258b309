"""The user's numbers beside those that a paper prints, metric by metric; nothing is tested: the protocols differ."""

import math
from collections.abc import Sequence

from reports.analysis.comparison import Comparison
from reports.analysis.paired_runs import NothingToCompare
from reports.document import DASH, Table, TableCell
from reports.published import STUDIES, PublishedScore, PublishedStudy


def study(name: str) -> PublishedStudy:
    """The study of that name.

    Raises:
        Nothing: there is none.
    """
    if name not in STUDIES:
        raise NothingToCompare(f"--against: no study {name!r}; there are {', '.join(STUDIES)}")
    return STUDIES[name]


def beside(comparison: Comparison, paper: PublishedStudy) -> list[Table]:
    """A table for each size that both have: a row for each method here, and one for each of its names there.

    Raises:
        Nothing: they have no task, size and method in common.
    """
    mine = {method.partition("(")[0] for method in comparison.methods}
    common = [
        one
        for one in paper.numbers
        if one.task in comparison.tasks
        and one.method in mine
        and (one.size in comparison.sizes or not one.size)
    ]
    if not common:
        raise NothingToCompare(
            f"{paper.title} has nothing in common with these runs: it has {_extent(paper)}"
        )
    return [
        _table(comparison, paper, size, common) for size in sorted({one.size for one in common})
    ]


def _extent(paper: PublishedStudy) -> str:
    sizes = sorted({one.size for one in paper.numbers})
    shown = ", ".join(str(size) if size else "all rows" for size in sizes)
    methods = ", ".join(dict.fromkeys(one.method for one in paper.numbers))
    return (
        f"{', '.join(dict.fromkeys(one.task for one in paper.numbers))}; sizes {shown}; {methods}"
    )


def _table(
    comparison: Comparison, paper: PublishedStudy, size: int, common: Sequence[PublishedScore]
) -> Table:
    numbers = [one for one in common if one.size == size]
    columns = [
        (task, metric)
        for task in comparison.tasks
        for metric in dict.fromkeys(one.metric for one in numbers if one.task == task)
    ]
    ours = size or max(comparison.sizes)
    rows = []
    for method in comparison.methods:
        theirs = [one for one in numbers if one.method == method.partition("(")[0]]
        if not theirs:
            continue
        rows.append(
            (
                TableCell(method),
                TableCell("here"),
                *(TableCell(_mine(comparison, method, *column, ours)) for column in columns),
            )
        )
        for called in dict.fromkeys(one.called for one in theirs):
            printed = {(one.task, one.metric): one.value for one in theirs if one.called == called}
            cells = [
                TableCell(f"{printed[column]:.2f}" if column in printed else DASH)
                for column in columns
            ]
            rows.append((TableCell(""), TableCell(called), *cells))
    return Table(
        title=f"Beside {paper.title}, {f'size {size}' if size else 'all rows there'}",
        head=("method", "from", *(f"{task} {metric}" for task, metric in columns)),
        rows=tuple(rows),
        labels=2,
        legend=_differences(comparison, paper, ours),
    )


def _mine(comparison: Comparison, method: str, task: str, metric: str, size: int) -> str:
    value = comparison.cell(method, task, size).metrics.get(metric, math.nan)
    return DASH if math.isnan(value) else f"{100 * value:.2f}"


def _differences(comparison: Comparison, paper: PublishedStudy, size: int) -> str:
    """What was done otherwise there, as far as it is known."""
    runs = [run for run in comparison.runs if run.size == size]
    dev = sorted({run.n_dev for run in runs})
    draws = len({run.draw for run in runs})
    tested = sorted({run.n_test for run in runs})
    parts = [f"backbone here {comparison.backbone}, there {paper.backbone}"]
    if paper.dev:
        parts.append(
            f"rows that checkpoints are chosen on here {' or '.join(map(str, dev))}, there {paper.dev}"
        )
    if paper.draws:
        parts.append(f"draws here {draws}, there {paper.draws}")
    parts.append(
        f"test rows here {f'{tested[0]} to {tested[-1]}' if len(tested) > 1 else tested[0]}"
    )
    return (
        f"Metrics × 100. Not comparable as they stand: {'; '.join(parts)}; there {paper.about}. Nothing is tested between "
        f"them. Source: {paper.source}."
    )
