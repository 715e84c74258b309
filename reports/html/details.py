"""What a cell opens to: its runs, their dev curves, and the test rows that are most often answered wrongly."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from reports.comparison import Comparison
from reports.escape import plain
from reports.frame import Run, finished

WRONG: Final = 20  # rows shown of a cell
CURVES: Final = 10  # runs of a cell whose dev curve is shown
LETTERS: Final = 300  # of a text
BUDGET: Final = 900_000  # letters of texts in a page

Texts = Callable[[Run], Sequence[Sequence[str]] | None]


def details(comparison: Comparison, texts: Texts | None) -> dict[str, Any]:
    """Plain values for the page's script: cells by their key, and the texts that they speak of, each once."""
    pool = Pool(texts)
    cells = {}
    for cell in comparison.cells:
        if cell.task is None or cell.size is None:
            continue
        runs = [r for r in comparison.runs if (r.method, r.task, r.size) == (cell.method, cell.task, cell.size)]
        if runs:
            cells[key(cell.method, cell.task, cell.size)] = {
                "title": plain(f"{cell.method} on {cell.task}, size {cell.size}"),
                "mean": _number(cell.mean),
                "low": _number(cell.low),
                "high": _number(cell.high),
                "interval": f"{cell.estimand}: {cell.interval}",
                "runs": [_run(run) for run in runs],
                "curves": [_curve(run) for run in runs if run.curve][:CURVES],
                "wrong": _wrong(runs, pool),
            }
    return {"schema": 1, "cells": cells, "texts": pool.texts, "cut": pool.cut}


def key(method: str, task: str, size: int) -> str:
    """The name of a cell as the page's script reads it from a table."""
    return f"{plain(method)}\n{plain(task)}\n{size}"


def _run(run: Run) -> list[Any]:
    seconds = run.seconds_training + run.seconds_evaluation
    score, dev = _number(100 * run.score if run.score is not None else math.nan), _number(100 * (run.dev_score or math.nan))
    return [run.draw, run.seed, run.status, score, dev, round(seconds, 1), run.digest[:12], run.collapsed]


def _curve(run: Run) -> list[Any]:
    return [run.draw, run.seed, [[step, _number(100 * score, 1)] for step, score in run.curve]]


def _number(value: float, digits: int = 2) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


class Pool:
    """Texts of test rows, each kept once."""

    def __init__(self, texts: Texts | None) -> None:
        self._read = texts
        self._known: dict[tuple[str, int], Sequence[Sequence[str]] | None] = {}
        self._places: dict[str, int] = {}
        self._left = BUDGET
        self.texts: list[str] = []
        self.cut = False  # whether texts were left out for want of room

    def of(self, run: Run, row: int) -> list[int] | None:
        """Where the texts of a run's test row stand; None if they are not at hand."""
        which = (run.task, run.draw if run.holdout else -1)
        if which not in self._known:
            self._known[which] = self._read(run) if self._read else None
        rows = self._known[which]
        if rows is None or len(rows) != len(run.given):
            return None
        if self._left < 0:
            self.cut = True
            return None
        return [self._place(plain(text[:LETTERS]) + ("…" if len(text) > LETTERS else "")) for text in rows[row]]

    def _place(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = len(self.texts)
            self.texts.append(text)
            self._left -= len(text)
        return self._places[text]


def _wrong(runs: Sequence[Run], pool: Pool) -> list[list[Any]]:
    """The rows most often answered wrongly, or furthest off: [row, texts, label, answer, share of runs or mean error]."""
    known = [run for run in runs if finished(run) and len(run.given) and run.right]
    if known and known[0].holdout:
        known = known[:1]  # every draw has test rows of its own
    if not known:
        return []
    right = np.concatenate(list(known[0].right.values()))
    known = [run for run in known if len(run.given) == len(right)]
    if not known:
        return []
    given = np.stack([run.given for run in known])  # [runs, rows]
    classes = known[0].classes
    off = (given != right).mean(axis=0) if classes else np.abs(given - right).mean(axis=0)
    worst = [int(row) for row in np.argsort(-off, kind="stable")[:WRONG] if off[row] > 0]
    found = []
    for row in worst:
        answers = given[:, row]
        answer = _commonest(answers[answers != right[row]]) if classes else float(answers.mean())
        share = float(round(off[row], 3))
        found.append([row, pool.of(known[0], row), _named(right[row], classes), _named(answer, classes), share])
    return found


def _commonest(values: np.ndarray) -> float:
    return float(Counter(values.tolist()).most_common(1)[0][0])


def _named(value: float, classes: Sequence[str]) -> str:
    return plain(classes[int(value)]) if classes and int(value) < len(classes) else f"{value:.3g}"
