"""The report for programs: every number in full precision, every mark a field of its own."""

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Final

from reports import escape
from reports.analysis.cells import FATES, Cell
from reports.analysis.comparison import Comparison
from reports.analysis.contrasts import Contrast
from reports.analysis.task_characteristics import Characteristics
from reports.analysis.verdict import verdict

SCHEMA: Final = 2


def as_json(
    comparison: Comparison, *, command: str = "", characteristics: Characteristics | None = None
) -> str:
    """One object with sorted keys; NaN is null; differences and means are in points, metrics in their own units."""
    content = {
        "schema": SCHEMA,
        "unit": "points (score x 100)",
        "verdict": list(verdict(comparison)),
        "command": command,
        "backbone": comparison.backbone,
        "recipe": comparison.recipe,
        "baseline": {"method": comparison.baseline, "declared": comparison.declared},
        "methods": comparison.methods,
        "tasks": [
            {"name": task, "seen": task in comparison.seen, "holdout": task in comparison.holdout}
            for task in comparison.tasks
        ],
        "sizes": comparison.sizes,
        "labels": [
            {"size": size, "n_train": train, "n_dev": dev, "labels": train + dev}
            for size, pairs in comparison.labels.items()
            for train, dev in pairs
        ],
        "better": comparison.better,
        "runs": {"done": comparison.done, "planned": comparison.planned},
        "cells": [asdict(cell) for cell in comparison.cells],
        "tests": [{**asdict(test), "settled": test.settled} for test in comparison.tests],
        "details": [_plain(detail) for detail in comparison.details],
        "standing": _plain(comparison.standing) if comparison.standing else None,
        "subspace": {"rules": _plain(comparison.rules), "samples": _plain(comparison.samples)},
        **({"characteristics": _plain(characteristics)} if characteristics else {}),
        "notes": [asdict(note) for note in comparison.notes],
    }
    return json.dumps(_clean(content), sort_keys=True, indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> object:
    """Dataclasses and named tuples as objects by name, arrays as lists."""
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(inner) for name, inner in value._asdict().items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _clean(value: object) -> object:
    """The value as JSON has it: numbers that are none become null, tuples lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    return value


COSTS: Final = (
    "n_train",
    "n_dev",
    "n_test",
    "dev",
    "trained",
    "stored",
    "seconds_training",
    "seconds_evaluation",
    "peak_bytes",
    "packed",  # how many of the runs shared their seconds and bytes with a pack
)


def as_csv(comparison: Comparison) -> str:
    """One row for each method, task and size, with its test against the baseline; empty where there is no number."""
    metrics = sorted({name for cell in comparison.cells for name in cell.metrics})
    cells = [cell for cell in comparison.cells if cell.task is not None and cell.size is not None]
    rows = [_row(comparison, cell, metrics) for cell in cells]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if rows:
        writer.writerow([escape.csv(name) for name in rows[0]])
    writer.writerows([_field(value) for value in row.values()] for row in rows)
    return out.getvalue()


def _row(comparison: Comparison, cell: Cell, metrics: list[str]) -> dict[str, object]:
    test = _test(comparison, cell)
    row: dict[str, object] = {
        "backbone": comparison.backbone,
        "recipe": comparison.recipe,
        "method": cell.method,
        "task": cell.task,
        "size": cell.size,
        "state": cell.state,
        "planned": cell.planned,
        **{name: cell.fates.get(name, 0) for name in FATES},
        "draws": cell.draws,
        "mean": cell.mean,
        "low": cell.low,
        "high": cell.high,
        "sd": cell.sd,
        "df": cell.df,
        "interval": cell.interval,
        "estimand": cell.estimand,
        "best": cell.best,
        "direction": cell.direction,
        "collapsed": cell.collapsed,
        "seen": cell.task in comparison.seen,
        "holdout": cell.task in comparison.holdout,
        "baseline": comparison.baseline,
        "effect": test.effect if test else math.nan,
        "effect_low": test.ci[0] if test else math.nan,
        "effect_high": test.ci[1] if test else math.nan,
        "effect_estimand": test.ci_estimand if test else "",
        "n": test.n if test else math.nan,
        "p_raw": test.p_raw if test else math.nan,
        "p_adj": test.p_adj if test else math.nan,
        "p_estimand": test.estimand if test else "",
        "test": test.test if test else "",
        "family": test.family if test else "",
        "correction": test.correction if test else "",
        "m": test.m if test else math.nan,
        "question": test is not None and test.planned_for,
        "mde": test.mde if test else math.nan,
        "notes": " ".join(test.notes) if test else "",
        **{name: _count(cell.costs.get(name, math.nan)) for name in COSTS},
    }
    for name in metrics:
        row[f"metric {name}"] = cell.metrics.get(name, math.nan)
        row[f"undefined {name}"] = cell.undefined.get(name, 0)
    return row


def _test(comparison: Comparison, cell: Cell) -> Contrast | None:
    """The narrowest test about a cell: with one task, that of its size, or of the whole comparison."""
    task = cell.task if len(comparison.tasks) > 1 else None
    size = cell.size if task is not None or len(comparison.sizes) > 1 else None
    found = [
        test
        for test in comparison.tests
        if (test.method, test.task, test.size) == (cell.method, task, size)
    ]
    return found[0] if found else None


def _count(value: float) -> float | int:
    """A whole number as one: most of these are counts."""
    return int(value) if math.isfinite(value) and value.is_integer() else value


def _field(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return escape.csv("" if value is None else str(value))
