"""The score to expect of the model for use, from the draws of its study."""

from typing import NamedTuple

from harness.ledger import Ledger
from harness.ledger.database import damage_errors
from harness.results.best_model import Choice
from harness.results.runs import runs
from reports.analysis.run import Run
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


def of_all_rows(db: str, choice: Choice, rows: int) -> ExpectedScore:
    """Return the score to expect of the chosen method after training on all rows.

    There is no interval with fewer than two draws, or if the score has no known part of each test row.

    Raises:
        CorruptData: the database is damaged.
    """
    smaller = choice.smaller.jobs if choice.smaller else []
    entries = [*choice.best.jobs, *smaller]
    with damage_errors(db), Ledger(db) as ledger:
        found = runs(entries, {entry.digest: ledger.blobs(entry.digest) for entry in entries})
    large = [run for run in found if run.size == choice.size]
    halves = {(run.draw, run.seed): run for run in found if run.size != choice.size}
    mean = sum(run.score or 0.0 for run in large) / len(large)
    count = len({run.draw for run in large})
    draws = [_tested(run, halves.get((run.draw, run.seed))) for run in large]
    known = [draw for draw in draws if draw is not None]
    if len(known) < max(2, len(draws)):
        return ExpectedScore(choice.size, count, mean, None, None)
    least, most = large[0].bounds
    result = expected(
        known,
        smaller=smaller[0].n_train if smaller else 0,
        size=large[0].n_train,
        rows=rows,
        bounds=(least / 100, most / 100),
    )
    return ExpectedScore(choice.size, count, mean, result.low, result.high)


def _tested(run: Run, half: Run | None) -> DrawScores | None:
    """Return the test rows of a run, with those of the smaller run if it has the same; None if they are not known."""
    if run.row_scores is None:
        return None
    same = (
        half is not None
        and half.row_scores is not None
        and half.row_names.tolist() == run.row_names.tolist()
    )
    return DrawScores(run.row_groups, run.row_scores, half.row_scores if half and same else None)
