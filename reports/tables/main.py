"""A comparison as a document: what stands in which table."""

import math
from collections.abc import Sequence

from reports.analysis import estimates
from reports.analysis.cells import Cell
from reports.analysis.comparison import Comparison
from reports.analysis.contrasts import Contrast
from reports.analysis.estimates import EXPLAINED
from reports.analysis.verdict import points, probability, verdict
from reports.document import DASH, Document, Entry, Table
from reports.tables.appendix import appendix
from reports.tables.subspace import subspace


def document(comparison: Comparison, *, command: str = "") -> Document:
    """The report of a comparison."""
    scopes: list[int | None] = [*([None] if len(comparison.sizes) > 1 else []), *comparison.sizes]
    tables = [_scores(comparison, scope) for scope in scopes]
    tests = [
        _tests(comparison, comparison.family("overall")),
        _tests(comparison, comparison.family("per size")),
    ]
    methods, tasks = (
        _count(len(comparison.methods), "method"),
        _count(len(comparison.tasks), "task"),
    )
    return Document(
        title=f"{methods} on {tasks}",
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
                if (table := _parts(comparison, size)) is not None
            ),
        ),
        command=command,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    chosen = "" if comparison.declared else " (by default)"
    labels = "; ".join(
        f"size {size}: {_labels(pairs)}" for size, pairs in comparison.labels.items()
    )
    facts = [
        ("Backbone", comparison.backbone),
        ("Recipe", comparison.recipe),
        ("Baseline", f"{comparison.baseline}{chosen}"),
        ("Runs", f"{comparison.done} of {comparison.planned} have a score"),
        ("Labels seen", labels),
        ("Numbers", "points (score × 100), higher is better, ± half of the 95 % interval"),
        ("Intervals", _intervals(comparison)),
    ]
    tests = comparison.family("overall")
    if tests:
        carries = EXPLAINED["E3"] if tests[0].estimand == "E3" else "other draws of this task"
        facts.append(
            (
                "Tests",
                f"{tests[0].estimand}: {carries}; two-sided, paired on the same rows, {tests[0].test}; {_families(comparison)}",
            )
        )
    return facts


def _intervals(comparison: Comparison) -> str:
    """What the intervals speak of, and how they are made."""
    text = comparison.covered
    how = (
        "t interval, draws and test rows crossed"
        if "E2" in text
        else "t interval over draws and their seeds"
    )
    corrected = (
        "; widened for shared rows where test rows are split anew (§)" if comparison.holdout else ""
    )
    return f"{text}; {how}{corrected}"


def _labels(pairs: Sequence[tuple[int, int]]) -> str:
    return " or ".join(f"{train + dev} ({train} train + {dev} dev)" for train, dev in pairs)


def _families(comparison: Comparison) -> str:
    question = comparison.question
    parts = [] if question is None else [f"the question of this study, {question.method}, alone"]
    for name in ("overall", "per size", "cells"):
        tests = [test for test in comparison.family(name) if not test.planned_for]
        if tests and tests[0].m:
            label = {"overall": "overall", "per size": "at single sizes", "cells": "per cell"}[name]
            rank = " (exploratory)" if question is not None or name == "cells" else ""
            most = max(test.m for test in tests)
            parts.append(
                f"{f'{tests[0].correction} over {most}' if most > 1 else 'one comparison'} {label}{rank}"
            )
    return ", ".join(parts)


# Scores


def _scores(comparison: Comparison, scope: int | None) -> Table:
    columns: list[tuple[str | None, bool]] = [(task, False) for task in comparison.tasks]
    averages = {c.without_seen for c in comparison.cells if c.task is None and c.size == scope}
    columns += [(None, without) for without in sorted(averages)]
    rows, cells = [], []
    for method in comparison.methods:
        row = [
            comparison.cell(method, task, scope, without_seen=without) for task, without in columns
        ]
        cells += row
        rows.append((Entry(method), *(_entry(cell) for cell in row)))
    kept = [
        any(cell.task is None or cell.planned for cell in cells[i :: len(columns)])
        for i in range(len(columns))
    ]
    head = [_heading(comparison, task, without) for task, without in columns]
    title = "Over all sizes" if scope is None else f"Size {scope}"
    return Table(
        title=title,
        head=("method", *(text for text, keep in zip(head, kept, strict=True) if keep)),
        rows=tuple(
            (row[0], *(e for e, keep in zip(row[1:], kept, strict=True) if keep)) for row in rows
        ),
        legend=_legend(comparison, cells),
    )


def _heading(comparison: Comparison, task: str | None, without: bool) -> str:
    if task is None:
        return "average without †" if without else "average"
    return f"{task}{' †' if task in comparison.seen else ''}{' §' if task in comparison.holdout else ''}"


def _entry(cell: Cell) -> Entry:
    """`84.3 ± 1.2`, then marks, then how many runs it is of where some are missing."""
    if cell.state == "unplanned":
        return Entry(DASH)
    if cell.state == "infeasible":
        return Entry("infeasible")
    share = "" if cell.state == "complete" else f" {cell.done}/{cell.planned}"
    if math.isnan(cell.mean):
        word = (
            cell.state if cell.task is not None and cell.state in ("failed", "diverged") else DASH
        )
        return Entry(f"{word}{share}")
    half = "" if math.isnan(cell.low) else f" ± {(cell.high - cell.low) / 2:.1f}"
    arrow = {"better": "↑", "worse": "↓", "": ""}[cell.direction]
    return Entry(
        f"{cell.mean:.1f}{half}",
        marks=f"{arrow}{'‡' if cell.collapsed else ''}{'!' if cell.diverged else ''}{share}",
        strong=cell.best,
        cell=f"{cell.method}\n{cell.task}\n{cell.size}"
        if cell.task is not None and cell.size is not None
        else None,
    )


def _legend(comparison: Comparison, cells: Sequence[Cell]) -> str:
    parts = []
    if any(cell.best for cell in cells):
        parts.append("* or bold: best mean of the column among complete cells")
    if whiskers := estimates.named(cell.estimand for cell in cells if not math.isnan(cell.low)):
        parts.append(f"±: half of the 95 % interval, {whiskers}")
    if any(cell.direction for cell in cells):
        where = (
            "average: over tasks, E3, Holm; cell: over draws, E1, Benjamini-Hochberg, exploratory"
        )
        where = where if len(comparison.tasks) > 1 else "over draws, E1, Holm"
        parts.append(
            f"↑ ↓: better or worse than {comparison.baseline}, adjusted p at most .05 ({where})"
        )
    if any(cell.state in ("incomplete", "failed", "diverged", "missing") for cell in cells):
        parts.append(
            f"n/N: runs with a score of those planned; {DASH}: no number, or an average that is not complete"
        )
    if any(cell.planned and cell.draws == 1 and cell.task for cell in cells):
        parts.append("no ±: a single draw allows no interval")
    elif any(cell.interval == "none: no variance" for cell in cells):
        parts.append("no ±: all draws alike")
    if any(cell.collapsed for cell in cells):
        parts.append("‡: some runs predict one answer for every row")
    if any(cell.diverged for cell in cells):
        parts.append("!: some runs broke down and count as one constant answer")
    if comparison.seen:
        parts.append("†: the backbone has been trained on this data")
    if comparison.holdout:
        parts.append("§: test rows split anew for each draw")
    return ". ".join(parts) + "." if parts else ""


# Tests


def _tests(comparison: Comparison, tests: Sequence[Contrast]) -> Table | None:
    if not tests:
        return None
    sized = tests[0].family == "per size"
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
        low, high = test.ci
        row = [
            Entry(test.method),
            Entry(points(test.effect), marks=mark, strong=test.settled),
            Entry(DASH if math.isnan(low) else f"[{low:.1f}, {high:.1f}]"),
            Entry(probability(test.p_raw)),
            Entry(probability(test.p_adj)),
            Entry(f"{test.wins}/{test.ties}/{test.losses}"),
            Entry(_detects(test)),
            Entry(str(test.n) if test.n == test.planned else f"{test.n}/{test.planned}"),
        ]
        rows.append(
            (Entry("" if test.size is None else str(test.size)), *row) if sized else tuple(row)
        )
    covered = estimates.named(test.ci_estimand for test in tests)
    legend = (
        f"+/=/-: {unit} where the method is better, equal, worse. detects: the difference found with a power of 80 % "
        f"(never: the smallest p possible is above .05). {_adjustment(comparison, tests)}. Intervals are {covered}, p is "
        f"{tests[0].estimand}; bold or * with ↑ ↓: settled."
    )
    scope = " at each size" if sized else " over all sizes" if len(comparison.sizes) > 1 else ""
    return Table(
        title=f"Against {comparison.baseline}{scope}",
        head=("size", *head) if sized else tuple(head),
        rows=tuple(rows),
        labels=2 if sized else 1,
        legend=legend,
    )


def _adjustment(comparison: Comparison, tests: Sequence[Contrast]) -> str:
    """Over what the p values of a table are adjusted, and which of them answer a question that was asked before."""
    question, sized = comparison.question, tests[0].family == "per size"
    most = max(test.m for test in tests)
    alone = question is not None and not sized
    over = f"the {most} {'other comparisons' if alone else 'comparisons'} of this table{', all sizes together' * sized}"
    parts = (
        [f"{question.method}, the question of this study, is tested alone"]
        if question is not None and alone
        else []
    )
    parts += (
        [f"p Holm: over {over}"]
        if most > 1
        else []
        if alone
        else ["One comparison: p needs no adjustment"]
    )
    if question is not None and len(tests) > alone:
        parts.append(f"{'the others' if alone else 'all of them'} exploratory")
    return "; ".join(parts)


def _detects(test: Contrast) -> str:
    if "NOT_REACHABLE" in test.notes:
        return "never"
    return DASH if math.isnan(test.mde) else f"{test.mde:.1f}"


# Appendix


def _parts(comparison: Comparison, size: int) -> Table | None:
    """The metrics of tasks that have several, as means in their own units."""
    columns = []
    for task in comparison.tasks:
        cells = [comparison.cell(method, task, size) for method in comparison.methods]
        names = sorted(
            {name for cell in cells for name in cell.metrics if not name.startswith("rule ")}
        )  # a table of its own
        columns += [(task, name) for name in names] if len(names) > 1 else []
    if not columns:
        return None
    rows = []
    for method in comparison.methods:
        cells = [comparison.cell(method, task, size) for task, _ in columns]
        values = [
            cell.metrics.get(name, math.nan) for cell, (_, name) in zip(cells, columns, strict=True)
        ]
        holes = [
            cell.undefined.get(name, 0) for cell, (_, name) in zip(cells, columns, strict=True)
        ]
        entries = [
            Entry(
                (DASH if math.isnan(value) else f"{value:.4g}")
                + (f" ({cell.done - hole}/{cell.done})" if hole else "")
            )
            for value, hole, cell in zip(values, holes, cells, strict=True)
        ]
        rows.append((Entry(method), *entries))
    lower = {name for name, way in comparison.better.items() if way == "lower"}
    head = [
        f"{task} {name}{' (lower is better)' if name in lower else ''}" for task, name in columns
    ]
    legend = (
        "Means over runs in the metrics' own units; (n/N): the runs where the metric is defined."
    )
    return Table(
        title=f"All metrics, size {size}", head=("method", *head), rows=tuple(rows), legend=legend
    )
