"""What a cell opens to: its runs, their dev curves, and the test rows that are most often answered wrongly."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any, Final

from reports.analysis.comparison import Comparison
from reports.analysis.paired_runs import Run
from reports.escape import plain
from reports.formats.html.misanswered import TextPool, Texts, CellErrors, fill, wrong

CURVES: Final = 10  # runs of a cell whose dev curve is shown


def details(comparison: Comparison, texts: Texts | None) -> dict[str, Any]:
    """Plain values for the page's script: cells by their key, and the texts that they speak of, each once."""
    pool = TextPool(texts)
    groups: dict[tuple[str, str, int], list[Run]] = defaultdict(list)
    for run in comparison.runs:
        groups[run.method, run.task, run.size].append(run)
    cells: dict[str, Any] = {}
    found: list[CellErrors] = []
    for cell in comparison.cells:
        runs = groups.get((cell.method, cell.task or "", cell.size or 0))
        if cell.task is None or cell.size is None or not runs:
            continue
        found.append(wrong(runs))
        cells[key(cell.method, cell.task, cell.size)] = {
            "title": plain(f"{cell.method} on {cell.task}, size {cell.size}"),
            "mean": _number(cell.mean),
            "low": _number(cell.low),
            "high": _number(cell.high),
            "interval": f"{cell.estimand}: {cell.interval}",
            "runs": [_run(run) for run in runs],
            "curves": [_curve(run) for run in runs if run.curve][:CURVES],
            "curved": sum(bool(run.curve) for run in runs),
            "middle": _middle([run.curve for run in runs if run.curve]),
        }
    fill(found, pool)
    for content, one in zip(cells.values(), found, strict=True):
        content["wrong"] = one.plain()
    return {"schema": 2, "cells": cells, "texts": pool.texts}


def key(method: str, task: str, size: int) -> str:
    """The name of a cell as the page's script reads it from a table."""
    return f"{plain(method)}\n{plain(task)}\n{size}"


def _run(run: Run) -> list[Any]:
    seconds = run.seconds_training + run.seconds_evaluation
    spent = round(seconds, 1) if run.status in ("done", "diverged") else None
    return [
        run.draw,
        run.seed,
        run.status,
        _points(run.score),
        _points(run.dev_score),
        spent,
        run.digest[:12],
        run.collapsed,
    ]


def _curve(run: Run) -> list[Any]:
    return [run.draw, run.seed, [[step, _points(score, 1)] for step, score in run.curve]]


def _middle(curves: Sequence[Sequence[tuple[int, float]]]) -> list[list[Any]]:
    """The mean of several curves at the steps that all of them have: a mean over ever fewer runs would mislead."""
    if len(curves) < 2:
        return []
    scores = [dict(curve) for curve in curves]
    steps: Iterable[int] = sorted(set.intersection(*(set(one) for one in scores)))
    return [[step, _points(fmean(one[step] for one in scores), 1)] for step in steps]


def _points(score: float | None, digits: int = 2) -> float | None:
    return None if score is None else _number(100 * score, digits)


def _number(value: float, digits: int = 2) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
