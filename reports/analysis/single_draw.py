"""Cells with a single draw: two trained models compared on the same test rows.

A single draw says nothing about the methods. It can say whether these two models differ on other
test rows.
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
    """Numbers of test rows that only one of two models answers correctly."""

    run: Run
    only_run: int
    only_baseline: int


def single_draw_table(comparison: Comparison) -> Table | None:
    """Return McNemar's exact test for each classification cell with one run of the method and one of the baseline."""
    pairs = _discordant_pairs(comparison)
    if not pairs:
        return None
    p = [mcnemar(pair.only_run, pair.only_baseline) for pair in pairs]
    rows = [
        (
            *(TableCell(text) for text in (pair.run.method, pair.run.task, str(pair.run.size))),
            *(
                TableCell(str(count))
                for count in (pair.only_run, pair.only_baseline, len(pair.run.predictions))
            ),
            TableCell(probability(raw)),
            TableCell(probability(adjusted), strong=bool(adjusted <= ALPHA)),
        )
        for pair, raw, adjusted in zip(pairs, p, benjamini_hochberg(p), strict=True)
    ]
    return Table(
        title="Single draws, model against model",
        head=(
            "method",
            "task",
            "size",
            "only method right",
            f"only {comparison.baseline} right",
            "test rows",
            "p",
            "p B-H",
        ),
        rows=tuple(rows),
        labels=3,
        legend=(
            "p: McNemar's exact test on the rows that only one of the two models answers correctly; B-H: "
            f"Benjamini-Hochberg over the {len(pairs)} of this table. It covers these two trained models on other test "
            "rows, which is neither E1 nor E2 nor E3: another draw may reverse the result. Exploratory. "
            "Bold or *: p at most .05."
        ),
    )


def _discordant_pairs(comparison: Comparison) -> list[DiscordantPair]:
    cells: dict[tuple[str, str, int], list[Run]] = {}
    for run in comparison.runs:
        cells.setdefault((run.method, run.task, run.size), []).append(run)
    alone = {key: runs[0] for key, runs in cells.items() if len(runs) == 1 and finished(runs[0])}
    pairs = []
    for size, task, method in product(comparison.sizes, comparison.tasks, comparison.methods):
        one, base = alone.get((method, task, size)), alone.get((comparison.baseline, task, size))
        if one is None or base is None or method == comparison.baseline or one.rows != base.rows:
            continue
        first, second = _correct(one), _correct(base)
        if first is not None and second is not None and first.shape == second.shape:
            pair = DiscordantPair(one, int((first & ~second).sum()), int((second & ~first).sum()))
            pairs.append(pair)
    return pairs


def _correct(run: Run) -> NDArray[np.bool_] | None:
    """Return which test rows (n,) are answered correctly; None if unknown, or for a regression."""
    if not run.classes or not run.labels:
        return None
    labels = np.concatenate(list(run.labels.values()))
    return np.asarray(run.predictions == labels) if labels.shape == run.predictions.shape else None
