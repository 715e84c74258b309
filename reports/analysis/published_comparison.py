"""Scores beside those that a paper prints, metric by metric; nothing is tested, because the protocols differ."""

import math
from collections.abc import Sequence

from reports.analysis.comparison import Comparison
from reports.analysis.paired_runs import NothingToCompare
from reports.document import DASH, Table, TableCell, metric_title
from reports.published import STUDIES, PublishedScore, PublishedStudy


def find_study(name: str) -> PublishedStudy:
    """Return the study of that name.

    Raises:
        NothingToCompare: There is no such study.
    """
    if name not in STUDIES:
        raise NothingToCompare(f"--against: no study {name!r}; there are {', '.join(STUDIES)}")
    return STUDIES[name]


def published_tables(comparison: Comparison, study: PublishedStudy) -> list[Table]:
    """Return a table for each common size, with a row per method here and per name of the method in the paper.

    Raises:
        NothingToCompare: The paper and the runs have no task, size and method in common.
    """
    methods = {method.partition("(")[0] for method in comparison.methods}
    common = [
        score
        for score in study.numbers
        if score.task in comparison.tasks
        and score.method in methods
        and (score.size in comparison.sizes or not score.size)
    ]
    if not common:
        raise NothingToCompare(
            f"{study.title} has nothing in common with these runs: it has {_extent(study)}"
        )
    sizes = sorted({score.size for score in common})
    return [_table(comparison, study, size, common) for size in sizes]


def _extent(study: PublishedStudy) -> str:
    tasks = ", ".join(dict.fromkeys(score.task for score in study.numbers))
    sizes = sorted({score.size for score in study.numbers})
    shown = ", ".join(str(size) if size else "all rows" for size in sizes)
    methods = ", ".join(dict.fromkeys(score.method for score in study.numbers))
    return f"{tasks}; sizes {shown}; {methods}"


def _table(
    comparison: Comparison, study: PublishedStudy, size: int, common: Sequence[PublishedScore]
) -> Table:
    """Return the table of one size; size 0 of the paper stands beside the largest size here."""
    scores = [score for score in common if score.size == size]
    columns = [
        (task, metric)
        for task in comparison.tasks
        for metric in dict.fromkeys(score.metric for score in scores if score.task == task)
    ]
    size_here = size or max(comparison.sizes)
    rows = []
    for method in comparison.methods:
        published = [score for score in scores if score.method == method.partition("(")[0]]
        if not published:
            continue
        here = (TableCell(_score(comparison, method, *column, size_here)) for column in columns)
        rows.append((TableCell(method), TableCell("here"), *here))
        for name in dict.fromkeys(score.called for score in published):
            values = {(s.task, s.metric): s.points for s in published if s.called == name}
            cells = (
                TableCell(f"{values[column]:.2f}" if column in values else DASH)
                for column in columns
            )
            rows.append((TableCell(""), TableCell(name), *cells))
    return Table(
        title=f"Beside {study.title}, {f'size {size}' if size else 'all rows there'}",
        head=(
            "method",
            "from",
            *(
                f"{task} {metric_title(name, comparison.classes_of(task))}"
                for task, name in columns
            ),
        ),
        rows=tuple(rows),
        labels=2,
        legend=_protocols(comparison, study, size_here),
    )


def _score(comparison: Comparison, method: str, task: str, metric: str, size: int) -> str:
    value = comparison.cell(method, task, size).metrics.get(metric, math.nan)
    return DASH if math.isnan(value) else f"{100 * value:.2f}"


def _protocols(comparison: Comparison, study: PublishedStudy, size: int) -> str:
    """Return how the two protocols differ, as far as the paper describes its own."""
    runs = [run for run in comparison.runs if run.size == size]
    dev = sorted({run.n_dev for run in runs})
    draws = len({run.draw for run in runs})
    tested = sorted({run.n_test for run in runs})
    parts = [f"backbone here {comparison.backbone}, there {study.backbone}"]
    if study.dev:
        shown = " or ".join(map(str, dev))
        parts.append(f"rows for choosing checkpoints here {shown}, there {study.dev}")
    if study.draws:
        parts.append(f"draws here {draws}, there {study.draws}")
    shown = f"{tested[0]} to {tested[-1]}" if len(tested) > 1 else str(tested[0])
    parts.append(f"test rows here {shown}")
    return (
        f"Metrics × 100. Not comparable as they stand: {'; '.join(parts)}; there {study.about}. "
        f"No difference is tested. Source: {study.source}."
    )
