"""Runs whose true effects are known: every draw and every test row has an effect of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from reports.analysis.run import Run

Array = NDArray[np.float64]
METHODS = ("base", "other")


@dataclass(frozen=True, kw_only=True)
class Study:
    """A design and its variances; the probit of a correct answer has unit residual variance.

    Attributes:
        draws: per task.
        rows: test rows per task.
        accuracy: of every method, on average.
        by_draw: standard deviation of the effect of a method's training in one draw.
        by_row: standard deviation of the difficulty of a test row, common to all methods.
        by_method: standard deviation of the effect of one test row on one method.
        gain: accuracy of every method after the first minus that of the first, in points.
    """

    draws: int
    rows: int
    accuracy: float = 0.8
    by_draw: float = 0.15
    by_row: float = 1.0
    by_method: float = 0.5
    gain: float = 0.0


def simulate(
    rng: np.random.Generator,
    study: Study,
    *,
    task: str = "task",
    size: int = 100,
    methods: Sequence[str] = METHODS,
) -> list[Run]:
    """Return one run for each method and draw of a task."""
    shape = study.draws, study.rows
    labels = rng.integers(0, 2, study.rows)
    difficulty = rng.normal(0, study.by_row, study.rows)
    spread = np.sqrt(1 + study.by_draw**2 + study.by_row**2 + study.by_method**2)
    runs = []
    for number, method in enumerate(methods):
        probit = rng.normal(0, 1, shape) + difficulty + rng.normal(0, study.by_method, study.rows)
        probit += rng.normal(0, study.by_draw, (study.draws, 1))
        probit += ndtri(study.accuracy + (study.gain / 100 if number else 0)) * spread
        correct = probit > 0  # (draws, rows)
        answers = np.where(correct, labels, 1 - labels).astype(np.float64)
        runs += [
            make_run(method, task, size, draw, answers[draw], labels) for draw in range(study.draws)
        ]
    return runs


def make_run(
    method: str, task: str, size: int, draw: int, answers: Array, labels: NDArray[np.int64]
) -> Run:
    """Return a finished run that gave these answers (rows,)."""
    score = float((answers == labels).mean())
    return Run(
        digest=f"{method} {task} {size} {draw}",
        backbone="tiny",
        recipe="recipe",
        method=method,
        task=task,
        size=size,
        draw=draw,
        seed=0,
        status="done",
        score=score,
        metrics={"accuracy": score},
        better={"accuracy": "higher"},
        dev_score=score,
        collapsed=len(np.unique(answers)) == 1,
        rows=f"{task} {size} {draw}",
        n_train=size,
        n_dev=30,
        n_test=len(labels),
        holdout=False,
        seen=False,
        trained=1,
        stored=4,
        seconds_training=1.0,
        seconds_evaluation=0.1,
        peak_bytes=1,
        shared=False,
        versions="bench 1",
        predictions=answers,
        labels={"": labels.astype(np.float64)},
        scored_by=("accuracy",),
        classes=("no", "yes"),
    )
