"""Estimates end at the lowest and highest value that a score or a difference can have."""

from dataclasses import replace

import numpy as np

from reports import compare
from reports.analysis.selection_rules import mean_optimism


def test_optimism_and_the_prediction_for_one_more_task_end_at_the_range(grid):
    """The intervals of both are at most as wide as the range of the metric, however few runs there are."""
    runs = [
        replace(
            run,
            score=abs(float((run.method == "a") == (run.task < "p")) - 0.01 * run.draw),
            dev_score=float(run.draw),
            predictions=np.empty(0),
            labels={},
        )
        for run in grid({"a": 0.0, "b": 0.0}, draws=2, sizes=(50,))
    ]
    optimism = mean_optimism([run for run in runs if (run.method, run.task) == ("a", "cola")])
    assert (optimism.low, optimism.high) == (-100, 100)
    (detail,) = compare(runs).secondary
    assert (detail.pooled.predicted_low, detail.pooled.predicted_high) == (-100, 100)
    matthews = [replace(run, scored_by=("matthews",)) for run in runs]
    (detail,) = compare(matthews).secondary
    assert detail.pooled.predicted_low < -100
    unknown = [replace(run, scored_by=("evaluate:rouge",)) for run in runs]
    (detail,) = compare(unknown).secondary
    assert detail.pooled.predicted_low < -150
