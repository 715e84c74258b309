"""Cells of a single draw: two trained models on the same test rows, one against the other.

With one draw nothing can be said of the methods; whether these two models differ on other rows can.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports.analysis.comparison import Comparison
from reports.analysis.paired_runs import Run, finished
from reports.analysis.verdict import probability
from reports.document import Table, TableCell
from reports.statistics.conventions import ALPHA
from reports.statistics.mcnemar import mcnemar
from reports.statistics.multiple_testing import benjamini_hochberg


class DiscordantPair(NamedTuple):
    """What one model alone answers rightly, and the baseline's alone."""

    run: Run
    mine: int
    theirs: int


def single(comparison: Comparison) -> Table | None:
    """McNemar's exact test in each cell of a classification that holds one run of the method and one of the baseline."""
    duels = _duels(comparison)
    if not duels:
        return None
    p = [mcnemar(duel.mine, duel.theirs) for duel in duels]
    rows = [
        (
            *(TableCell(text) for text in (duel.run.method, duel.run.task, str(duel.run.size))),
            *(
                TableCell(str(count))
                for count in (duel.mine, duel.theirs, len(duel.run.predictions))
            ),
            TableCell(probability(raw)),
            TableCell(probability(held), strong=bool(held <= ALPHA)),
        )
        for duel, raw, held in zip(duels, p, benjamini_hochberg(p), strict=True)
    ]
    return Table(
        title="Single draws, model against model",
        head=(
            "method",
            "task",
            "size",
            "only it right",
            f"only {comparison.baseline} right",
            "test rows",
            "p",
            "p B-H",
        ),
        rows=tuple(rows),
        labels=3,
        legend=(
            "p: McNemar's exact test of the rows that one of two models alone answers rightly; B-H: Benjamini-Hochberg over "
            f"the {len(duels)} of this table. It speaks of these two trained models on other test rows, and so is none of E1, "
            "E2 and E3: another draw may turn it round. Exploratory. Bold or *: p at most .05."
        ),
    )


def _duels(comparison: Comparison) -> list[DiscordantPair]:
    found: dict[tuple[str, str, int], list[Run]] = {}
    for one in comparison.runs:
        found.setdefault((one.method, one.task, one.size), []).append(one)
    alone = {
        place: runs[0] for place, runs in found.items() if len(runs) == 1 and finished(runs[0])
    }
    duels = []
    for size, task, method in product(comparison.sizes, comparison.tasks, comparison.methods):
        run, base = alone.get((method, task, size)), alone.get((comparison.baseline, task, size))
        if run is None or base is None or method == comparison.baseline or run.rows != base.rows:
            continue
        here, there = _right(run), _right(base)
        if here is not None and there is not None and here.shape == there.shape:
            duels.append(
                DiscordantPair(run, int((here & ~there).sum()), int((there & ~here).sum()))
            )
    return duels


def _right(run: Run) -> NDArray[np.bool_] | None:
    """Which test rows (n,) it answers rightly; None where answers are not known, or are no classes."""
    if not run.classes or not run.labels:
        return None
    labels = np.concatenate(list(run.labels.values()))
    return np.asarray(run.predictions == labels) if labels.shape == run.predictions.shape else None
