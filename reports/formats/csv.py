"""Write a report as CSV: one row for each method, task and size."""

import csv
import io
import math
from typing import Final

from reports import escape
from reports.analysis.cells import Cell
from reports.analysis.comparison import Comparison
from reports.analysis.contrasts import Contrast
from reports.analysis.inferences import Inference
from reports.analysis.run import STATUSES

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
    "packed",  # the number of runs whose seconds and bytes are shares of a pack
)


def as_csv(comparison: Comparison) -> str:
    """Return a row for each method, task and size, with its test against the baseline.

    A field is empty if there is no number.
    """
    table = rows(comparison)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if table:
        writer.writerow([escape.csv(name) for name in table[0]])
    writer.writerows([_field(value) for value in row.values()] for row in table)
    return out.getvalue()


def rows(comparison: Comparison) -> list[dict[str, object]]:
    """Return what `as_csv` writes, by the name of the column; a number that is not there is NaN."""
    metrics = sorted({name for cell in comparison.cells for name in cell.metrics})
    cells = [cell for cell in comparison.cells if cell.task is not None and cell.size is not None]
    return [_row(comparison, cell, metrics) for cell in cells]


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
        **{name: cell.fates.get(name, 0) for name in STATUSES},
        "draws": cell.draws,
        "mean": cell.mean,
        "low": cell.low,
        "high": cell.high,
        "sd": cell.sd,
        "df": cell.df,
        "interval": cell.interval,
        "population": cell.population,
        "majority": comparison.majority.get(cell.task or "", math.nan),
        "best": cell.best,
        "direction": cell.direction,
        "collapsed": cell.collapsed,
        "seen": cell.task in comparison.seen,
        "holdout": cell.task in comparison.holdout,
        "baseline": comparison.baseline,
        "effect": test.effect if test else math.nan,
        **_claim("these tasks", test.these if test else None, test),
        **_claim("other tasks", test.others if test else None, test),
        "family": test.family if test else "",
        "hypothesis": test is not None and test.declared,
        "notes": " ".join(test.notes) if test else "",
        **{name: _count(cell.costs.get(name, math.nan)) for name in COSTS},
    }
    for name in metrics:
        row[f"metric {name}"] = cell.metrics.get(name, math.nan)
        row[f"undefined {name}"] = cell.undefined.get(name, 0)
    return row


def _claim(name: str, claim: Inference | None, test: Contrast | None) -> dict[str, object]:
    """Return the columns of one claim, which are empty without it; an exploratory cell settles nothing."""
    values: dict[str, object] = {
        "population": "",
        **dict.fromkeys(("low", "high", "n", "p_raw", "p_adj", "m", "mde"), math.nan),
        **dict.fromkeys(("test", "correction", "settled", "barred"), ""),
    }
    if claim:
        values |= {key: value for key, value in vars(claim).items() if key in values}
        settles = claim.settled and test is not None and test.family != "cells"
        values |= {"settled": settles, "barred": "; ".join(claim.barred)}
    return {f"{name} {key}": value for key, value in values.items()}


def _test(comparison: Comparison, cell: Cell) -> Contrast | None:
    """Return the most specific test of a cell: with one task, that of its size or the overall test."""
    task = cell.task if len(comparison.tasks) > 1 else None
    size = cell.size if task is not None or len(comparison.sizes) > 1 else None
    key = (cell.method, task, size)
    tests = (test for test in comparison.tests if (test.method, test.task, test.size) == key)
    return next(tests, None)


def _count(value: float) -> float | int:
    """Return an integer if the value is whole, because most of these values are counts."""
    return int(value) if math.isfinite(value) and value.is_integer() else value


def _field(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return escape.csv("" if value is None else str(value))
