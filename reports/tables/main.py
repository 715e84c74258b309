"""Arrange a comparison as a document: facts, scores, tests and the order of all tables."""

import math
from collections.abc import Sequence

from reports.analysis import estimates
from reports.analysis.cells import Cell
from reports.analysis.comparison import Comparison
from reports.analysis.contrasts import Contrast
from reports.analysis.estimates import EXPLAINED
from reports.analysis.paired_runs import finished
from reports.analysis.verdict import points, probability, verdict
from reports.document import DASH, Document, Table, TableCell, interval, number, plural
from reports.tables.appendix import appendix
from reports.tables.subspace import subspace


def document(comparison: Comparison, *, command: str = "") -> Document:
    """Return the report of a comparison."""
    scopes: list[int | None] = [*([None] if len(comparison.sizes) > 1 else []), *comparison.sizes]
    tables = [_scores(comparison, scope) for scope in scopes]
    tests = [
        _tests(comparison, comparison.family("overall")),
        _tests(comparison, comparison.family("per size")),
    ]
    return Document(
        title=f"{plural(len(comparison.methods), 'method')} on {plural(len(comparison.tasks), 'task')}",
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


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    by_default = "" if comparison.declared else " (by default)"
    labels = "; ".join(
        f"size {size}: {_labels(pairs)}" for size, pairs in comparison.labels.items()
    )
    facts = [
        ("Backbone", comparison.backbone),
        ("Recipe", comparison.recipe),
        ("Baseline", f"{comparison.baseline}{by_default}"),
        ("Runs", f"{comparison.done} of {comparison.planned} have a score"),
        ("Labels used", labels),
        ("Numbers", "points (score × 100), higher is better; ± half of the 95 % interval"),
        ("Intervals", _intervals(comparison)),
    ]
    tests = comparison.family("overall")
    if tests:
        scope = EXPLAINED["E3"] if tests[0].estimand == "E3" else "other draws of this task"
        text = (
            f"{tests[0].estimand}: {scope}; two-sided, paired on the same examples, "
            f"{tests[0].test}; {_families(comparison)}"
        )
        facts.append(("Tests", text))
    return facts


def _intervals(comparison: Comparison) -> str:
    """Return the estimand of the intervals and how they are computed."""
    crossed = "E2" in comparison.covered
    kind = ", draws crossed with test examples" if crossed else " over draws and their seeds"
    widened = "; widened where every draw has its own test split (§)" if comparison.holdout else ""
    return f"{comparison.covered}; t interval{kind}{widened}"


def _labels(pairs: Sequence[tuple[int, int]]) -> str:
    return " or ".join(f"{train + dev} ({train} train + {dev} dev)" for train, dev in pairs)


def _families(comparison: Comparison) -> str:
    question = comparison.question
    parts = [] if question is None else [f"{question.method}, the question of this study, alone"]
    for name in ("overall", "per size", "cells"):
        tests = [test for test in comparison.family(name) if not test.planned_for]
        if tests and tests[0].m:
            label = {"overall": "overall", "per size": "at single sizes", "cells": "per cell"}[name]
            exploratory = " (exploratory)" if question is not None or name == "cells" else ""
            most = max(test.m for test in tests)
            correction = f"{tests[0].correction} over {most}" if most > 1 else "one comparison"
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
            kept.append((_heading(comparison, task, without), cells))
    return Table(
        title="Over all sizes" if scope is None else f"Size {scope}",
        head=("method", *(heading for heading, _ in kept)),
        rows=tuple(
            (TableCell(method), *(_entry(cells[i]) for _, cells in kept))
            for i, method in enumerate(comparison.methods)
        ),
        legend=_legend(comparison, [cell for _, cells in kept for cell in cells]),
    )


def _heading(comparison: Comparison, task: str | None, without: bool) -> str:
    if task is None:
        return "average without †" if without else "average"
    return f"{task}{' †' if task in comparison.seen else ''}{' §' if task in comparison.holdout else ''}"


def _entry(cell: Cell) -> TableCell:
    """Return `84.3 ± 1.2`, marks, and the share of finished runs if some are missing."""
    if cell.state == "unplanned":
        return TableCell(DASH)
    if cell.state == "infeasible":
        return TableCell("infeasible")
    share = "" if cell.state == "complete" else f" {cell.done}/{cell.planned}"
    if math.isnan(cell.mean):
        ended = cell.task is not None and cell.state in ("failed", "diverged")
        return TableCell(f"{cell.state if ended else DASH}{share}")
    half = "" if math.isnan(cell.low) else f" ± {(cell.high - cell.low) / 2:.1f}"
    arrow = {"better": "↑", "worse": "↓", "": ""}[cell.direction]
    return TableCell(
        f"{cell.mean:.1f}{half}",
        marks=f"{arrow}{'‡' if cell.collapsed else ''}{'!' if cell.diverged else ''}{share}",
        strong=cell.best,
        runs_key=f"{cell.method}\n{cell.task}\n{cell.size}"
        if cell.task is not None and cell.size is not None
        else None,
    )


def _legend(comparison: Comparison, cells: Sequence[Cell]) -> str:
    parts = []
    if any(cell.best for cell in cells):
        parts.append("* or bold: best mean of the column among complete cells")
    if whiskers := estimates.estimand_names(
        cell.estimand for cell in cells if not math.isnan(cell.low)
    ):
        parts.append(f"±: half of the 95 % interval, {whiskers}")
    if any(cell.direction for cell in cells):
        tests = (
            "average: over tasks, E3, Holm; cell: over draws, E1, Benjamini-Hochberg, exploratory"
            if len(comparison.tasks) > 1
            else "over draws, E1, Holm"
        )
        parts.append(
            f"↑ ↓: better or worse than {comparison.baseline}, adjusted p at most .05 ({tests})"
        )
    if any(cell.state in ("incomplete", "failed", "diverged", "missing") for cell in cells):
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
    return ". ".join(parts) + "." if parts else ""


# Tests


def _tests(comparison: Comparison, tests: Sequence[Contrast]) -> Table | None:
    if not tests:
        return None
    per_size = tests[0].family == "per size"
    unit = tests[0].unit
    head = [
        "method",
        "points",
        "95 % interval",
        "p",
        f"p {tests[0].correction}",
        "+/=/-",
        "detects",
        unit,
    ]
    rows = []
    for test in tests:
        mark = ("↑" if test.effect > 0 else "↓") if test.settled else ""
        row = [
            TableCell(test.method),
            TableCell(points(test.effect), marks=mark, strong=test.settled),
            TableCell(interval(*test.ci)),
            TableCell(probability(test.p_raw)),
            TableCell(probability(test.p_adj)),
            TableCell(f"{test.wins}/{test.ties}/{test.losses}"),
            TableCell(_detects(test)),
            TableCell(str(test.n) if test.n == test.planned else f"{test.n}/{test.planned}"),
        ]
        rows.append(
            (TableCell("" if test.size is None else str(test.size)), *row)
            if per_size
            else tuple(row)
        )
    covered = estimates.estimand_names(test.ci_estimand for test in tests)
    legend = (
        f"+/=/-: {unit} on which the method is better, equal, worse. detects: the smallest difference that "
        "the test detects with a power of 80 % (never: even the smallest possible p is above .05). "
        f"{_adjustment(comparison, tests)}. Intervals are {covered}, p is {tests[0].estimand}; bold or * with "
        "↑ ↓: settled."
    )
    scope = " at each size" if per_size else " over all sizes" if len(comparison.sizes) > 1 else ""
    return Table(
        title=f"Against {comparison.baseline}{scope}",
        head=("size", *head) if per_size else tuple(head),
        rows=tuple(rows),
        labels=2 if per_size else 1,
        legend=legend,
    )


def _adjustment(comparison: Comparison, tests: Sequence[Contrast]) -> str:
    """Return over which comparisons p is adjusted, and which comparisons are exploratory."""
    question, per_size = comparison.question, tests[0].family == "per size"
    most = max(test.m for test in tests)
    alone = question is not None and not per_size
    parts = []
    if question is not None and alone:
        parts.append(f"{question.method}, the question of this study, is tested alone")
    if most > 1:
        comparisons = "other comparisons" if alone else "comparisons"
        parts.append(
            f"p Holm: over the {most} {comparisons} of this table{', all sizes together' * per_size}"
        )
    elif not alone:
        parts.append("One comparison: p needs no adjustment")
    if question is not None and len(tests) > alone:
        parts.append(f"{'the others' if alone else 'all of them'} are exploratory")
    return "; ".join(parts)


def _detects(test: Contrast) -> str:
    if "NOT_REACHABLE" in test.notes:
        return "never"
    return number(test.mde, 1)


# Appendix


def _metrics(comparison: Comparison, size: int) -> Table | None:
    """Return the metrics of tasks that have several."""
    columns = []
    for task in comparison.tasks:
        names = sorted(
            {
                name
                for run in comparison.runs
                if (run.task, run.size) == (task, size) and finished(run)
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
        f"{task} {name}{' (lower is better)' if name in lower else ''}" for task, name in columns
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
