"""The score of one constant prediction, below which a method has learned nothing."""

from collections.abc import Iterable
from statistics import fmean

import numpy as np

from reports.analysis.run import Run
from reports.statistics import influence


def majority_score(runs: Iterable[Run]) -> float | None:
    """Return the score in points of predicting the most frequent test label, or the mean of a regression.

    It is the mean over test sets that differ between draws. None if the labels are not stored or a
    metric is not known.
    """
    scores = {}
    for run in runs:
        labels = np.concatenate(list(run.labels.values())) if run.labels else np.empty(0)
        key = labels.tobytes()
        if key in scores or not labels.size:
            continue
        values, counts = np.unique(labels, return_counts=True)
        constant = values[counts.argmax()] if run.classes else labels.mean()
        rows = influence.row_scores(np.full(labels.size, constant), run.labels, run.scored_by)
        if rows is None:
            return None
        scores[key] = 100 * float(rows.mean())
    return fmean(scores.values()) if scores else None
