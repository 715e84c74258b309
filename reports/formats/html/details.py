"""The details of each cell for the page's script: its runs, their dev curves, and wrongly predicted examples."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any, Final

from reports.analysis.comparison import Comparison
from reports.analysis.run import Run
from reports.escape import plain
from reports.formats.html.misanswered import CellErrors, TextPool, Texts, fill, misanswered

MAX_CURVES: Final = 10  # dev curves per cell


def details(comparison: Comparison, texts: Texts | None) -> dict[str, Any]:
    """Return cells by their key, and the texts that they refer to by index, as values for JSON."""
    pool = TextPool(texts)
    groups: dict[tuple[str, str, int], list[Run]] = defaultdict(list)
    for run in comparison.runs:
        groups[run.method, run.task, run.size].append(run)
    cells: dict[str, Any] = {}
    errors: list[CellErrors] = []
    for cell in comparison.cells:
        runs = groups.get((cell.method, cell.task or "", cell.size or 0))
        if cell.task is None or cell.size is None or not runs:
            continue
        errors.append(misanswered(runs))
        cells[key(cell.method, cell.task, cell.size)] = {
            "title": plain(f"{cell.method} on {cell.task}, size {cell.size}"),
            "mean": _number(cell.mean),
            "low": _number(cell.low),
            "high": _number(cell.high),
            "range": [_number(end) for end in runs[0].bounds],
            "interval": f"{cell.population}: {cell.interval}",
            "runs": [_run(run) for run in runs],
            "curves": [_curve(run) for run in runs if run.curve][:MAX_CURVES],
            "curve_count": sum(bool(run.curve) for run in runs),
            "mean_curve": _mean_curve([run.curve for run in runs if run.curve]),
        }
    fill(errors, pool)
    for content, cell_errors in zip(cells.values(), errors, strict=True):
        content["wrong"] = cell_errors.plain()
    return {"cells": cells, "texts": list(pool.indices)}


def key(method: str, task: str, size: int) -> str:
    """Return the key under which a button in a table refers to its cell."""
    return f"{plain(method)}\n{plain(task)}\n{size}"


def _run(run: Run) -> list[Any]:
    seconds = round(run.seconds_training + run.seconds_evaluation, 1)
    return [
        run.draw,
        run.seed,
        run.status,
        _points(run.score),
        _points(run.dev_score),
        seconds if run.status in ("done", "diverged") else None,
        run.digest[:12],
        run.collapsed,
    ]


def _curve(run: Run) -> list[Any]:
    return [run.draw, run.seed, [[step, _points(score, 1)] for step, score in run.curve]]


def _mean_curve(curves: Sequence[Sequence[tuple[int, float]]]) -> list[list[Any]]:
    """Return the mean of several curves at the steps that all of them share.

    A mean over fewer and fewer runs would mislead.
    """
    if len(curves) < 2:
        return []
    scores = [dict(curve) for curve in curves]
    steps: Iterable[int] = sorted(set.intersection(*map(set, scores)))
    return [[step, _points(fmean(curve[step] for curve in scores), 1)] for step in steps]


def _points(score: float | None, digits: int = 2) -> float | None:
    return None if score is None else _number(100 * score, digits)


def _number(value: float, digits: int = 2) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
