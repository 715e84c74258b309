"""Difference of two ledgers of the same jobs: which cells moved, by how much, and what is not settled.

A run of the first ledger is paired with the run of the second that has the same method, backbone, recipe, task,
size, draw and seed, if both used the same rows. So effects of the draw cancel.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from reports.analysis import estimates
from reports.analysis.run import Run, has_score
from reports.analysis.verdict import points, probability
from reports.document import Document, Table, TableCell, interval, plural
from reports.statistics import intervals, multiple_testing
from reports.statistics.conventions import ALPHA, standard_deviation

Outcome = Literal["moved", "same shift", "not settled", "one draw", "equal"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("moved", "same shift", "not settled", "one draw", "equal")

CHANGES: Final[Mapping[Outcome, str]] = {
    "same shift": "changed in every draw by the same amount (no variance over draws)",
    "not settled": "changed, not settled (absence of significance is not evidence of equality)",
    "one draw": "changed, which a single draw cannot distinguish from noise",
}


class LedgerCell(NamedTuple):
    """A cell that both ledgers have, of one backbone and recipe."""

    method: str
    task: str
    size: int
    backbone: str
    recipe: str


@dataclass(frozen=True, kw_only=True)
class CellChange:
    """The change of one cell."""

    place: LedgerCell
    pairs: int  # blocks that both finished on the same rows
    equal: int  # number of pairs with exactly equal scores
    before: float  # mean over the pairs, in points
    after: float
    effect: float
    ci: tuple[float, float]
    uniform: (
        bool  # whether all draws differ by the same amount, so that there is no variance over draws
    )
    p_raw: float
    p_adj: float = math.nan

    @property
    def word(self) -> Outcome:
        """The outcome in one term."""
        if self.equal == self.pairs:
            return "equal"
        if self.uniform:
            return "same shift"
        if self.p_adj <= ALPHA:
            return "moved"
        return "one draw" if math.isnan(self.p_adj) else "not settled"

    @property
    def moved(self) -> bool:
        """Whether the cell moved beyond noise."""
        return self.word == "moved"


@dataclass(frozen=True, kw_only=True)
class LedgerDiff:
    """All cells with a block that both ledgers finished on the same rows, and the number of runs that only one has."""

    cells: tuple[CellChange, ...]
    only_before: int  # number of finished runs
    only_after: int
    other_rows: int  # number of blocks that both finished on different rows


def diff_ledgers(before: Iterable[Run], after: Iterable[Run]) -> LedgerDiff:
    """Return the change of each cell; p is adjusted by Benjamini and Hochberg over the cells with a p."""
    old, new = _finished(before), _finished(after)
    places: dict[LedgerCell, list[tuple[Run, Run]]] = {}
    other = 0
    for place, draw, seed in sorted(old.keys() & new.keys()):
        first, second = old[place, draw, seed], new[place, draw, seed]
        if first.rows == second.rows:
            places.setdefault(place, []).append((first, second))
        else:
            other += 1
    changes = [_change(place, pairs) for place, pairs in sorted(places.items())]
    tested = [move for move in changes if not math.isnan(move.p_raw)]
    adjusted = dict(
        zip(
            (move.place for move in tested),
            multiple_testing.benjamini_hochberg([m.p_raw for m in tested]),
            strict=True,
        )
    )
    cells = tuple(
        replace(move, p_adj=float(adjusted.get(move.place, math.nan))) for move in changes
    )
    return LedgerDiff(
        cells=cells,
        only_before=len(old.keys() - new.keys()),
        only_after=len(new.keys() - old.keys()),
        other_rows=other,
    )


def _finished(runs: Iterable[Run]) -> Mapping[tuple[LedgerCell, int, int], Run]:
    return {
        (
            LedgerCell(run.method, run.task, run.size, run.backbone, run.recipe),
            run.draw,
            run.seed,
        ): run
        for run in runs
        if has_score(run)
    }


def _change(place: LedgerCell, pairs: Sequence[tuple[Run, Run]]) -> CellChange:
    old, new = [first for first, _ in pairs], [second for _, second in pairs]
    estimate = estimates.task_difference([new], [old])
    # If each draw holds out its own test rows, those of two draws overlap, and draws are not independent. The
    # estimate over draws and test rows allows for that. If there is none, that over draws is used.
    over_rows = estimate.rows if old[0].holdout else None
    pooled = intervals.pooled([over_rows or estimate.draws])
    return CellChange(
        place=place,
        pairs=len(pairs),
        equal=sum(first.score == second.score for first, second in pairs),
        before=estimates.task_score([old]).draws.mean,
        after=estimates.task_score([new]).draws.mean,
        effect=pooled.mean,
        ci=(pooled.low, pooled.high),
        uniform=standard_deviation(estimate.values) == 0,
        p_raw=pooled.p,
    )


def headline(diff: LedgerDiff) -> str:
    """Return the result in one sentence; a cell with any unequal pair counts as changed."""
    if not diff.cells:
        return (
            "Nothing to compare: no job has a score on the same rows, backbone and recipe in both."
        )
    counts = Counter(move.word for move in diff.cells)
    parts = [f"{counts['moved'] or 'None'} of {len(diff.cells)} cells moved significantly"]
    parts += [f"{counts[word]} {text}" for word, text in CHANGES.items() if counts[word]]
    return f"{'; '.join(parts)}; {counts['equal']} are equal to the last digit."


def as_document(diff: LedgerDiff, *, before: str, after: str, command: str = "") -> Document:
    """Return the difference as a document.

    Cells are ordered by outcome, those that moved first, and within an outcome by the size of the change.
    """
    facts = [("Before", before), ("After", after)]
    for text, count in (("before", diff.only_before), ("after", diff.only_after)):
        if count:
            facts.append((f"Only {text}", plural(count, "finished run")))
    if diff.other_rows:
        facts.append(
            (
                "Other rows",
                f"{plural(diff.other_rows, 'pair')} of runs not compared: the two ledgers used different rows",
            )
        )
    kinds = {
        kind: sorted({getattr(move.place, kind) for move in diff.cells})
        for kind in ("backbone", "recipe")
    }
    several = {kind: lines for kind, lines in kinds.items() if len(lines) > 1}
    for kind, lines in kinds.items():
        facts += [
            (kind.capitalize() + (f" {n}" if kind in several else ""), line)
            for n, line in enumerate(lines, start=1)
        ]
    changed = [move for move in diff.cells if move.word != "equal"]
    tested = sum(not math.isnan(move.p_raw) for move in diff.cells)
    return Document(
        title="Before and after",
        verdict=(headline(diff),),
        facts=tuple(facts),
        tables=(_table(changed, tested, several),) if changed else (),
        notes=(),
        appendix=(),
        command=command,
    )


def _table(
    changed: Sequence[CellChange], tested: int, several: Mapping[str, Sequence[str]]
) -> Table:
    """Return the changed cells; if there are several backbones or recipes, each has a number.

    `tested` is the number of all compared cells that have a p.
    """
    order = sorted(changed, key=lambda move: (OUTCOMES.index(move.word), -abs(move.effect)))
    return Table(
        title="Cells that changed",
        head=(
            "method",
            "task",
            "size",
            *several,
            "before",
            "after",
            "points",
            "95 % interval",
            "p",
            "changed",
            "found",
        ),
        rows=tuple(_row(move, several) for move in order),
        labels=3 + len(several),
        legend=(
            "Intervals and p are about other draws on these test rows; if each draw holds out its own test rows, "
            "they are also about other test rows. The test is a paired t test over draws, adjusted by "
            f"Benjamini-Hochberg over the {plural(tested, 'compared cell')} with a p. A cell with a single draw has no "
            'p. A cell found as "same shift", in which all draws differ by the same amount, has no p either, unless '
            "each draw holds out its own test rows. ↑ ↓ and bold or *: found as moved, with p at most .05. changed: "
            "number of runs with another score, of those that both have on the same rows."
        ),
    )


def _row(move: CellChange, several: Mapping[str, Sequence[str]]) -> tuple[TableCell, ...]:
    return (
        TableCell(move.place.method),
        TableCell(move.place.task),
        TableCell(str(move.place.size)),
        *(
            TableCell(str(lines.index(getattr(move.place, kind)) + 1))
            for kind, lines in several.items()
        ),
        TableCell(f"{move.before:.1f}"),
        TableCell(f"{move.after:.1f}"),
        TableCell(
            points(move.effect),
            marks=("↑" if move.effect > 0 else "↓") if move.moved else "",
            strong=move.moved,
        ),
        TableCell(interval(*move.ci)),
        TableCell(probability(move.p_adj)),
        TableCell(f"{move.pairs - move.equal}/{move.pairs}"),
        TableCell(move.word),
    )
