"""The score to expect of the model for use, from the draws of its study."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from harness.ledger import Ledger
from harness.ledger.database import damage_errors
from harness.results.best_model import Choice
from harness.results.runs import runs
from reports.analysis.run import Run
from reports.statistics.conventions import Array
from reports.statistics.final_score import DrawScores, expected


class ExpectedScore(NamedTuple):
    """The score to expect of a model that is trained on all rows, as fractions.

    Attributes:
        size: the training rows of the draws.
        draws: their number.
        mean: their mean test score.
        low: the end of the 95 % interval; None: the draws allow none.
        high: the other end.
    """

    size: int
    draws: int
    mean: float
    low: float | None
    high: float | None


def of_all_rows(db: str, choice: Choice, rows: int, *, interval: bool) -> ExpectedScore:
    """Return the score to expect of the chosen method after training on so many rows.

    There is no interval with fewer than two draws, if a run diverged, or if the score has no known part of each test
    row.

    Args:
        db: the database.
        choice: the method, with its jobs.
        rows: the training rows of the final model.
        interval: whether the draws tested such a model as the final one; otherwise, there is no interval.

    Raises:
        CorruptData: the database is damaged.
    """
    smaller = choice.smaller.jobs if choice.smaller else []
    entries = [*choice.best.jobs, *smaller]
    with damage_errors(db), Ledger(db) as ledger:
        found = runs(entries, {entry.digest: ledger.blobs(entry.digest) for entry in entries})
    large: dict[int, list[Run]] = {}  # the runs of each draw, which differ in the seed
    halves: dict[int, list[Run]] = {}
    for run in found:
        (large if run.size == choice.size else halves).setdefault(run.draw, []).append(run)
    first, mean = found[0], fmean(run.score or 0.0 for one in large.values() for run in one)
    draws = [_tested(one, halves.get(draw, [])) for draw, one in large.items()]
    known = [draw for draw in draws if draw is not None]
    if not interval or len(known) < max(2, len(draws)):
        return ExpectedScore(choice.size, len(draws), mean, None, None)
    least, most = first.bounds
    result = expected(
        known,
        smaller=smaller[0].n_train if smaller else 0,
        size=first.n_train,
        rows=rows,
        bounds=(least / 100, most / 100),
    )
    return ExpectedScore(choice.size, len(draws), mean, result.low, result.high)


def _tested(runs_of_draw: Sequence[Run], halves: Sequence[Run]) -> DrawScores | None:
    """Return the mean scores of a draw's test rows over its seeds, with those of the smaller runs, if all are known."""
    scores = _mean_scores(runs_of_draw)
    if scores is None:
        return None
    first = runs_of_draw[0]
    same = halves and halves[0].row_names.tolist() == first.row_names.tolist()
    return DrawScores(first.row_groups, scores, _mean_scores(halves) if same else None)


def _mean_scores(of_draw: Sequence[Run]) -> Array | None:
    """Return the mean over runs of the scores of their test rows; None if one diverged or its scores are not known."""
    scores = [run.row_scores for run in of_draw if run.status == "done"]
    known = [one for one in scores if one is not None]
    return np.mean(known, axis=0) if len(known) == len(of_draw) else None
