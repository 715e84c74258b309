"""Runs with stored predictions or probabilities, for tests of the HTML page and of figures."""

from dataclasses import replace

import numpy as np


def predicted_runs(grid, **plan):
    """Return the runs of a plan with made-up labels, predictions, classes and dev curves."""
    rng = np.random.default_rng(0)
    runs = []
    for run in grid(**plan):
        labels = (np.arange(60) % 2).astype(float)
        predictions = np.where(rng.random(60) < run.score, labels, 1 - labels)
        score = float((predictions == labels).mean())
        runs.append(
            replace(
                run,
                predictions=predictions,
                labels={"": labels},
                scored_by=("accuracy",),
                score=score,
                classes=("no", "yes"),
                curve=[(10, score / 2), (20, score)],
            )
        )
    return runs


def with_probabilities(runs, rows=200):
    """Return the runs with probabilities of two classes and labels that are drawn from them."""
    changed = []
    for number, run in enumerate(runs):
        rng = np.random.default_rng(number)
        second = np.round(rng.uniform(0, 1, rows), 4)
        changed.append(
            replace(
                run,
                probabilities={"": np.column_stack([1 - second, second])},
                labels={"": (rng.random(rows) < second).astype(float)},
                predictions=(second > 0.5).astype(float),
                n_test=rows,
            )
        )
    return changed
