"""Runs with stored predictions, for tests of the HTML page."""

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
