"""Arrange a comparison as a document: facts, scores, tests and the order of all tables."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Final

from reports.analysis.cells import Cell
from reports.analysis.comparison import Comparison
from reports.analysis.contrasts import Contrast
from reports.analysis.estimates import EXPLAINED, describe_populations
from reports.analysis.inferences import FEWEST_TASKS, Inference, coverage
from reports.analysis.run import has_score
from reports.analysis.verdict import points, probability, verdict
from reports.document import (
    DASH,
    Document,
    Note,
    Table,
    TableCell,
    interval,
    metric_title,
    number,
    plural,
)
from reports.tables.appendix import appendix
from reports.tables.subspace import subspace

NOTES: Final = 3  # that a short report shows
UNEQUAL: Final = "sizes have different draws; these numbers come from the draws that all sizes have"


def brief_document(comparison: Comparison) -> Document:
    """Return the short report: the verdict, one table of scores, and the most important notes."""
    table = _scores(comparison, _scopes(comparison)[0])
    shown = [note for note in comparison.notes if not _is_said(comparison, note)][:NOTES]
    notes = len(comparison.notes) - len(shown)
    more = f"{plural(notes, 'more note')} and all tables" if notes > 0 else "all tables"
    return Document(
        title=_title(comparison),
        verdict=(
            *verdict(comparison, full=False),
            *(
                f"{'! ' * (note.level == 'red')}{note.brief or f'{note.code}: {note.text}'}"
                for note in shown
            ),
        ),
        facts=((f"{comparison.done} of {comparison.planned} runs", f"--full shows {more}"),),
        tables=(replace(table, legend=_brief_legend(comparison, table)),),
        notes=(),
        appendix=(),
        command="",
    )


def _is_said(comparison: Comparison, note: Note) -> bool:
    """Return whether a short report need not show a note: its verdict says the same, or leaves the claim out."""
    # The note is about claims for other tasks. With fewer than FEWEST_TASKS tasks, these claims are barred anyway.
    if note.code == "NOT_REACHABLE":
        return 1 < len(comparison.tasks) < FEWEST_TASKS
    kinds = {bar.kind.upper() for test in comparison.family("overall") for bar in test.barred}
    return note.code in kinds


def _brief_legend(comparison: Comparison, table: Table) -> str:
    shown = "".join(cell.text + cell.marks for row in table.rows for cell in row)
    parts = [
        "* or bold: best complete cell of the column. ±: distance to the farther bound of the 95 % interval."
    ]
    if {"↑", "↓"} & set(shown):
        parts.append(f"↑ ↓: better or worse than {comparison.baseline} by an exploratory test.")
    if "‡" in shown:
        parts.append("‡: some runs predict one class only.")
    if "!" in shown:
        parts.append("!: some runs diverged and are scored as a constant prediction.")
    if "/" in shown:
        parts.append("n/N: n of N planned runs have a score.")
    if DASH in shown:
        parts.append(f"{DASH}: no score, or an incomplete average.")
    if "†" in "".join(table.head):
        parts.append("†: the backbone was trained on this data.")
    if "§" in "".join(table.head):
        parts.append("§: every draw has its own test rows.")
    if "¶" in "".join(table.head):
        parts.append(f"¶: {UNEQUAL}.")
    if of_one_class := _scored_by(comparison, metric="f1"):
        parts.append(f"Scores: {of_one_class}.")
    return " ".join(parts)


def document(comparison: Comparison, *, command: str = "") -> Document:
    """Return the full report of a comparison."""
    tables = [_scores(comparison, scope) for scope in _scopes(comparison)]
    tests = [
        _tests(comparison, comparison.family("overall")),
        _tests(comparison, comparison.family("per size")),
    ]
    return Document(
        title=_title(comparison),
        verdict=verdict(comparison),
        facts=tuple(_facts(comparison)),
        tables=(*tables, *(table for table in tests if table is not None)),
        notes=comparison.notes,
        appendix=(
            *appendix(comparison),
            *subspace(comparison),
            *(
                table
                for size in comparison.sizes
                if (table := _metrics(comparison, size)) is not None
            ),
        ),
        command=command,
    )


def _title(comparison: Comparison) -> str:
    return f"{plural(len(comparison.methods), 'method')} on {plural(len(comparison.tasks), 'task')}"


def _scopes(comparison: Comparison) -> list[int | None]:
    """Return the sizes of the tables of scores; None: all sizes together."""
    return [*([None] if len(comparison.sizes) > 1 else []), *comparison.sizes]


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    by_default = "" if comparison.baseline_named else " (by default)"
    labels = "; ".join(
        f"size {size}: {_labels(pairs)}" for size, pairs in comparison.labels.items()
    )
    facts = [
        ("Backbone", comparison.backbone),
        ("Recipe", comparison.recipe),
        ("Baseline", f"{comparison.baseline}{by_default}"),
        ("Runs", f"{comparison.done} of {comparison.planned} have a score"),
        ("Labels used", labels),
        ("Scores", _scored_by(comparison)),
        (
            "Numbers",
            "points (score × 100), higher is better; ± is the distance to the farther bound of the 95 % interval",
        ),
        ("Intervals", _intervals(comparison)),
    ]
    if tests := comparison.family("overall"):
        facts.append(("Tests", _populations(comparison, tests)))
    return facts


def _scored_by(comparison: Comparison, *, metric: str | None = None) -> str:
    """Return for each task the metrics whose mean is its score.

    If `metric` is given, return only the tasks that use this metric.
    """
    tasks: dict[str, list[str]] = {}
    for task in comparison.tasks:
        metrics = next((run.scored_by for run in comparison.runs if run.task == task), ())
        if metric is not None and metric not in metrics:
            continue
        titles = [metric_title(name, comparison.classes_of(task)) for name in metrics]
        text = f"mean of {' and '.join(titles)}" if len(titles) > 1 else "".join(titles)
        tasks.setdefault(text or "unknown", []).append(task)
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in tasks.items())


def _populations(comparison: Comparison, tests: Sequence[Contrast]) -> str:
    """Return what each claim is about, and how it is tested and adjusted."""
    claims = {claim.population: claim for test in tests for claim in test.inferences if claim.n > 1}
    parts = [f"{name}: {EXPLAINED[name]}, {claim.test}" for name, claim in claims.items()]
    return "; ".join([*parts, "two-sided, paired on the same examples", _families(comparison)])


def _intervals(comparison: Comparison) -> str:
    """Return the population of the intervals and how they are computed."""
    unknown = any(run.holdout and run.identities is None for run in comparison.runs)
    widened = (
        "; widened for tasks whose results do not store which rows each draw held out"
        if unknown
        else ""
    )
    return f"{comparison.covered}; t intervals, paired differences in the tests{widened}"


def _labels(pairs: Sequence[tuple[int, int]]) -> str:
    return " or ".join(f"{train + dev} ({train} train + {dev} dev)" for train, dev in pairs)


def _families(comparison: Comparison) -> str:
    hypothesis = comparison.hypothesis
    parts = (
        [] if hypothesis is None else [f"{hypothesis.method}, the hypothesis of this study, alone"]
    )
    for name in ("overall", "per size", "cells"):
        tests = [test for test in comparison.family(name) if not test.declared]
        if tests and tests[0].these.m:
            label = {"overall": "overall", "per size": "at single sizes", "cells": "per cell"}[name]
            exploratory = " (exploratory)" if hypothesis is not None or name == "cells" else ""
            most = max(test.these.m for test in tests)
            correction = (
                f"{tests[0].these.correction} over {most}" if most > 1 else "one comparison"
            )
            parts.append(f"{correction} {label}{exploratory}")
    return ", ".join(parts)


# Scores


def _scores(comparison: Comparison, scope: int | None) -> Table:
    columns: list[tuple[str | None, bool]] = [(task, False) for task in comparison.tasks]
    averages = {c.without_seen for c in comparison.cells if c.task is None and c.size == scope}
    columns += [(None, without) for without in sorted(averages)]
    kept = []
    for task, without in columns:
        cells = [
            comparison.cell(method, task, scope, without_seen=without)
            for method in comparison.methods
        ]
        if task is None or any(cell.planned for cell in cells):
            kept.append((_heading(comparison, task, scope, without=without), cells))
    rows = [
        (TableCell(method), *(_entry(cells[i]) for _, cells in kept))
        for i, method in enumerate(comparison.methods)
    ]
    return Table(
        title="Over all sizes" if scope is None else f"Size {scope}",
        head=("method", *(heading for heading, _ in kept)),
        rows=(*_majority(comparison, [cells[0] for _, cells in kept]), *rows),
        legend=_legend(comparison, [cell for _, cells in kept for cell in cells], scope),
    )


def _majority(comparison: Comparison, cells: Sequence[Cell]) -> Iterator[tuple[TableCell, ...]]:
    """Yield the row with the scores of the constant prediction; nothing if all tasks write text.

    `cells` are the cells of one method, one for each column.
    """
    scores = comparison.majority

    def score(cell: Cell) -> float | None:
        if cell.task is not None:
            return scores.get(cell.task)
        tasks = [
            other.task
            for other in comparison.cells
            if other.method == cell.method and other.size == cell.size and other.task
            if not (cell.without_seen and other.task in comparison.seen)
        ]
        known = [scores[task] for task in tasks if task in scores]
        return fmean(known) if tasks and len(known) == len(tasks) else None

    if all(run.writes for run in comparison.runs):
        return
    single = {run.task for run in comparison.runs if run.classes and not run.multilabel}
    name = "majority class" if single & {*comparison.tasks} else "best constant"
    yield (TableCell(name), *(TableCell(number(score(cell), 1)) for cell in cells))


def _heading(comparison: Comparison, task: str | None, scope: int | None, *, without: bool) -> str:
    if task is None:
        unequal = set(comparison.unequal_draws) - set(comparison.seen if without else ())
        name = "average without †" if without else "average"
        return f"{name}{' ¶' if scope is None and unequal else ''}"
    marks = (
        ("†", task in comparison.seen),
        ("§", task in comparison.holdout),
        ("¶", scope is None and task in comparison.unequal_draws),
    )
    return " ".join([task, *(mark for mark, shown in marks if shown)])


def _entry(cell: Cell) -> TableCell:
    """Return `84.3 ± 1.2`, marks, and the share of finished runs if some are missing."""
    if cell.state == "unplanned":
        return TableCell(DASH)
    if cell.state == "infeasible":
        return TableCell("infeasible")
    share = "" if cell.state == "complete" else f" {cell.done}/{cell.planned}"
    if math.isnan(cell.mean):
        ended = cell.task is not None and cell.state in ("failed", "diverged", "undefined")
        return TableCell(f"{cell.state if ended else DASH}{share}")
    # If the interval is cut at the lowest or highest possible score, the half on the other side is wider.
    half = max(cell.high - cell.mean, cell.mean - cell.low)
    shown = "" if math.isnan(half) else f" ± {half:.1f}"
    arrow = {"better": "↑", "worse": "↓", "": ""}[cell.direction]
    return TableCell(
        f"{cell.mean:.1f}{shown}",
        marks=f"{arrow}{'‡' if cell.collapsed else ''}{'!' if cell.diverged else ''}{share}",
        strong=cell.best,
        runs_key=f"{cell.method}\n{cell.task}\n{cell.size}"
        if cell.task is not None and cell.size is not None
        else None,
    )


def _legend(comparison: Comparison, cells: Sequence[Cell], scope: int | None) -> str:
    parts = []
    if any(cell.best for cell in cells):
        parts.append("* or bold: best mean of the column among complete cells")
    if populations := {cell.population for cell in cells if not math.isnan(cell.low)}:
        parts.append(
            f"±: distance to the farther bound of the 95 % interval ({describe_populations(populations)})"
        )
    if any(cell.direction for cell in cells):
        parts.append(
            f"↑ ↓: differs from {comparison.baseline} on these tasks, p at most .05 (later looks: less) after "
            "Benjamini-Hochberg over all differences of these tables; exploratory, the claims are below"
        )
    if any(
        cell.state in ("incomplete", "failed", "diverged", "undefined", "missing") for cell in cells
    ):
        parts.append(
            f"n/N: n of N planned runs have a score; {DASH}: no score, or an incomplete average"
        )
    if any(cell.planned and cell.draws == 1 and cell.task for cell in cells):
        parts.append("no ±: a single draw allows no interval")
    elif any(cell.interval == "none: no variance" for cell in cells):
        parts.append("no ±: all draws have the same score")
    if any(cell.collapsed for cell in cells):
        parts.append("‡: some runs predict the same class for every example")
    if any(cell.diverged for cell in cells):
        parts.append("!: some runs diverged and are scored as a constant prediction")
    if comparison.seen:
        parts.append("†: the backbone was trained on data of this task")
    if comparison.holdout:
        parts.append("§: every draw has its own test split")
    if scope is None and comparison.unequal_draws:
        parts.append(f"¶: {UNEQUAL}")
    return ". ".join(parts) + "." if parts else ""


# Tests


def _tests(comparison: Comparison, tests: Sequence[Contrast]) -> Table | None:
    if not tests:
        return None
    per_size, wide = tests[0].family == "per size", tests[0].others is not None
    unit = tests[0].unit
    where = "these tasks" if wide else comparison.tasks[0]
    head = ["method", "points", where, "p", f"p {tests[0].these.correction}"]
    head += ["other tasks", "p", f"p {tests[0].these.correction}"] if wide else []
    head += ["+/=/-", "detects", unit]
    rows = []
    for test in tests:
        mark = ("↑" if test.effect > 0 else "↓") if test.settled else ""
        row = [
            TableCell(test.method),
            TableCell(points(test.effect), marks=mark, strong=test.settled),
            *(cell for claim in test.inferences for cell in _claim(claim)),
            TableCell(f"{test.wins}/{test.ties}/{test.losses}"),
            TableCell(number(test.these.mde, 1)),
            TableCell(str(test.n) if test.n == test.planned else f"{test.n}/{test.planned}"),
        ]
        rows.append(
            (TableCell("" if test.size is None else str(test.size)), *row)
            if per_size
            else tuple(row)
        )
    legend = (
        f"+/=/-: {unit} on which the method is better, equal, worse. detects: the smallest difference on these "
        f"tasks that the test detects with a power of 80 %. {_adjustment(comparison, tests)}. Intervals of "
        f"{coverage(claim for test in tests for claim in test.inferences)} are not adjusted. "
        "Bold or *: settled; ↑ ↓: the direction of the difference, if a claim in this row is settled."
    )
    scope = " at each size" if per_size else " over all sizes" if len(comparison.sizes) > 1 else ""
    return Table(
        title=f"Against {comparison.baseline}{scope}",
        head=("size", *head) if per_size else tuple(head),
        rows=tuple(rows),
        labels=2 if per_size else 1,
        legend=legend,
    )


def _claim(claim: Inference) -> tuple[TableCell, ...]:
    return (
        TableCell(interval(claim.low, claim.high), strong=claim.settled),
        TableCell(probability(claim.p_raw)),
        TableCell(probability(claim.p_adj)),
    )


def _adjustment(comparison: Comparison, tests: Sequence[Contrast]) -> str:
    """Return over which comparisons p is adjusted, and which comparisons are exploratory."""
    hypothesis, per_size = comparison.hypothesis, tests[0].family == "per size"
    most = max(test.these.m for test in tests)
    alone = hypothesis is not None and not per_size
    parts = []
    if hypothesis is not None and alone:
        parts.append(f"{hypothesis.method}, the hypothesis of this study, is tested alone")
    if most > 1:
        comparisons = "other comparisons" if alone else "comparisons"
        parts.append(
            f"p Holm: over the {most} {comparisons} of this table{', all sizes together' * per_size}"
        )
    elif not alone:
        parts.append("One comparison: p needs no adjustment")
    if hypothesis is not None and len(tests) > alone:
        parts.append(f"{'the others' if alone else 'all of them'} are exploratory")
    return "; ".join(parts)


# Appendix


def _metrics(comparison: Comparison, size: int) -> Table | None:
    """Return the metrics of tasks that have several."""
    columns = []
    for task in comparison.tasks:
        names = sorted(
            {
                name
                for run in comparison.runs
                if (run.task, run.size) == (task, size) and has_score(run)
                for name in run.metrics
            }
        )
        columns += [(task, name) for name in names] if len(names) > 1 else []
    if not columns:
        return None
    rows = [
        (
            TableCell(method),
            *(_metric(comparison.cell(method, task, size), name) for task, name in columns),
        )
        for method in comparison.methods
    ]
    lower = {name for name, direction in comparison.better.items() if direction == "lower"}
    head = [
        f"{task} {metric_title(name, comparison.classes_of(task))}"
        f"{' (lower is better)' if name in lower else ''}"
        for task, name in columns
    ]
    legend = (
        "Means over runs in the units of the metrics; (n/N): the metric is defined on n of N runs."
    )
    return Table(
        title=f"All metrics, size {size}", head=("method", *head), rows=tuple(rows), legend=legend
    )


def _metric(cell: Cell, name: str) -> TableCell:
    value, undefined = cell.metrics.get(name, math.nan), cell.undefined.get(name, 0)
    share = f" ({cell.done - undefined}/{cell.done})" if undefined else ""
    return TableCell(f"{DASH if math.isnan(value) else f'{value:.4g}'}{share}")
