"""Runs whose true effects are known: every draw and every test row has an effect of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
        holdout: the draws hold out another quarter of the rows each, instead of testing on all of them.
        group: rows per group; all rows of a group have the same effects.
        largest: share of the rows that belong to the first group instead.
        large: number of groups of 50 rows in front of these groups.
        accuracy: of every method, on average.
        by_draw: standard deviation of the effect of a method's training in one draw.
        by_row: standard deviation of the difficulty of a test row, common to all methods.
        by_method: standard deviation of the effect of one test row on one method.
        gain: accuracy of every method after the first minus that of the first, in points.
    """

    draws: int
    rows: int
    holdout: bool = False
    group: int = 1
    largest: float = 0.0
    large: int = 0
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
    groups = np.arange(study.rows) // study.group
    groups = np.maximum(groups - round(study.largest * study.rows) // study.group, 0)
    in_large = np.arange(study.rows) < 50 * study.large
    groups = np.where(in_large, np.arange(study.rows) // 50, groups + study.large)
    groups = np.unique(groups, return_inverse=True)[1]
    tested = [_held_out(rng, groups) if study.holdout else None for _ in range(study.draws)]
    difficulty = rng.normal(0, study.by_row, study.rows)[groups]
    spread = np.sqrt(1 + study.by_draw**2 + study.by_row**2 + study.by_method**2)
    runs = []
    for number, method in enumerate(methods):
        own = rng.normal(0, study.by_method, study.rows)[groups]
        probit = rng.normal(0, 1, shape) + difficulty + own
        probit += rng.normal(0, study.by_draw, (study.draws, 1))
        probit += ndtri(study.accuracy + (study.gain / 100 if number else 0)) * spread
        correct = probit > 0  # (draws, rows)
        answers = np.where(correct, labels, 1 - labels).astype(np.float64)
        runs += [
            make_run(method, task, size, draw, answers[draw], labels, groups, tested[draw])
            for draw in range(study.draws)
        ]
    return runs


def simulate_errors(rng: np.random.Generator, *, draws: int, rows: int) -> list[Run]:
    """Return regressions of two methods with equal expected squared errors on log-normal labels.

    The errors of the first do not depend on the label, those of the other are proportional to it.
    """
    labels = np.exp(rng.normal(0, 1, rows))
    errors = {
        METHODS[0]: 0.3 * np.e * rng.normal(0, 1, rows),  # E[label²] is e²
        METHODS[1]: 0.3 * labels * rng.normal(0, 1, rows),
    }
    runs = []
    for method, own in errors.items():
        for draw in range(draws):
            values = labels + own * (1 + rng.normal(0, 0.1)) + rng.normal(0, 0.05, rows)
            run = make_run(method, "task", 100, draw, values, labels, np.arange(rows), None)
            score = -float(np.sqrt(np.mean(np.square(values - labels))))
            changes = {"scored_by": ("rmse",), "better": {"rmse": "lower"}, "classes": ()}
            runs.append(replace(run, score=score, metrics={"rmse": -score}, **changes))
    return runs


def simulate_sets(
    rng: np.random.Generator,
    *,
    draws: int,
    rows: int,
    metric: str,
    recalls: Sequence[float],
    by_draw: float = 0.1,
) -> list[Run]:
    """Return runs of two methods with equal expected micro-F1 on a multilabel task of five classes.

    With unequal recalls, the method that finds more classes also marks more rows that lack them.

    Args:
        rng: the source of all effects.
        draws: per method.
        rows: test rows.
        metric: `micro-f1`, or `macro-f1`, which is equal only if the recalls are.
        recalls: probability that a method marks a class of a row, for each of `METHODS`.
        by_draw: standard deviation of the effect of a method's training in one draw.
    """
    shares, micro_f1 = np.array([0.4, 0.25, 0.15, 0.1, 0.1]), 0.7
    labels = (rng.random((rows, len(shares))) < shares).astype(np.float64)
    difficulty = rng.normal(0, 1, (rows, 1))
    spread = np.sqrt(1 + 1 + 0.5**2 + by_draw**2)
    runs = []
    for method, recall in zip(METHODS, recalls, strict=True):
        # micro-F1 = 2 TP / (marks + labels), with the shares' sum 1 and that of their complements 4
        wrong = (2 * recall / micro_f1 - recall - 1) * shares.sum() / (1 - shares).sum()
        level = ndtri(np.where(labels == 1, recall, 1 - wrong)) * spread  # of a correct mark
        own = rng.normal(0, 0.5, (rows, 1))
        for draw in range(draws):
            effect = difficulty + own + rng.normal(0, by_draw) + rng.normal(0, 1, labels.shape)
            marks = np.where(level + effect > 0, labels, 1 - labels)
            run = make_run(
                method, "task", 100, draw, marks, labels.astype(int), np.arange(rows), None
            )
            scores = {
                "micro-f1": 2 * (marks * labels).sum() / (marks + labels).sum(),
                "macro-f1": np.mean(2 * (marks * labels).sum(0) / (marks + labels).sum(0)),
            }
            runs.append(
                replace(
                    run,
                    score=float(scores[metric]),
                    metrics={metric: float(scores[metric])},
                    better={metric: "higher"},
                    scored_by=(metric,),
                    classes=tuple("abcde"),
                )
            )
    return runs


def _held_out(rng: np.random.Generator, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers of a random quarter of the rows, in whole groups."""
    names = rng.permutation(groups[-1] + 1)
    return np.flatnonzero(np.isin(groups, names[: round(len(names) / 4)]))


def make_run(
    method: str,
    task: str,
    size: int,
    draw: int,
    answers: Array,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    tested: NDArray[np.int64] | None,
) -> Run:
    """Return a finished run that gave these answers (rows,), on the held-out rows if there are any."""
    if tested is not None:
        answers, labels, groups = answers[tested], labels[tested], groups[tested]
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
        holdout=tested is not None,
        groups=groups.astype(np.float64),
        identities=None if tested is None else tested.astype(np.float64),
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
