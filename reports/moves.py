"""Two ledgers of the same jobs, before and after something changed: which cells moved, by how much, beyond noise or not.

Runs are paired block by block on the same rows, so what both draws share cancels out.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from reports import estimates, statistics
from reports.document import DASH, Document, Entry, Table
from reports.frame import Run, finished
from reports.verdict import points, probability


class Place(NamedTuple):
    """A cell of both ledgers."""

    method: str
    task: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Move:
    """What became of one cell."""

    place: Place
    pairs: int  # blocks that both finished on the same rows
    equal: int  # of them with the same score to the last digit
    before: float  # points, over the pairs
    after: float
    effect: float
    ci: tuple[float, float]
    ci_estimand: str
    uniform: bool  # every draw differs by the very same amount: nothing to test, and no noise
    p_raw: float
    p_adj: float = math.nan

    @property
    def moved(self) -> bool:
        """Whether it moved beyond noise."""
        return self.uniform or self.p_adj <= statistics.ALPHA


@dataclass(frozen=True, kw_only=True)
class Moves:
    """All cells that both have, and what only one of them has."""

    cells: tuple[Move, ...]
    only_before: int  # finished runs
    only_after: int
    other_rows: int  # blocks that both finished on different rows


def moves(before: Iterable[Run], after: Iterable[Run]) -> Moves:
    """Each cell's change; p adjusted over all cells by Benjamini and Hochberg."""
    old, new = _finished(before), _finished(after)
    places: dict[Place, list[tuple[Run, Run]]] = {}
    other = 0
    for key in sorted(old.keys() & new.keys()):
        first, second = old[key], new[key]
        if first.rows != second.rows:
            other += 1
            continue
        places.setdefault(Place(first.method, first.task, first.size), []).append((first, second))
    found = [_move(place, pairs) for place, pairs in sorted(places.items())]
    held = [move for move in found if not math.isnan(move.p_raw)]
    adjusted = dict(zip((move.place for move in held), statistics.benjamini_hochberg([m.p_raw for m in held]), strict=True))
    cells = tuple(replace(move, p_adj=float(adjusted.get(move.place, math.nan))) for move in found)
    return Moves(
        cells=cells, only_before=len(old.keys() - new.keys()), only_after=len(new.keys() - old.keys()), other_rows=other
    )


def _finished(runs: Iterable[Run]) -> Mapping[tuple[str, str, int, int, int], Run]:
    return {(run.method, run.task, run.size, run.draw, run.seed): run for run in runs if finished(run)}


def _move(place: Place, pairs: Sequence[tuple[Run, Run]]) -> Move:
    old, new = [first for first, _ in pairs], [second for _, second in pairs]
    found = estimates.differences([new], [old])
    interval, estimand = estimates.pooled([found])
    values = np.array(found.values)
    return Move(
        place=place,
        pairs=len(pairs),
        equal=sum(first.score == second.score for first, second in pairs),
        before=estimates.scores([old]).draws.mean,
        after=estimates.scores([new]).draws.mean,
        effect=interval.mean,
        ci=(interval.low, interval.high),
        ci_estimand=estimand,
        uniform=len(values) > 1 and bool(values.all()) and np.ptp(values) == 0,
        p_raw=statistics.t_test(values),
    )


def headline(found: Moves) -> str:
    """The answer in a sentence."""
    cells = found.cells
    if not cells:
        return "Nothing to compare: no job of one is a job of the other with a score and the same rows."
    moved = [move for move in cells if move.moved]
    equal = sum(move.equal == move.pairs for move in cells)
    rest = len(cells) - len(moved) - equal
    first = (
        f"{len(moved)} of {len(cells)} cells moved beyond noise" if moved else f"None of {len(cells)} cells moved beyond noise"
    )
    return f"{first}; {rest} changed within it, {equal} are equal to the last digit."


def as_document(found: Moves, *, before: str, after: str, command: str = "") -> Document:
    """The comparison as words and a table, the greatest changes first."""
    shown = sorted((move for move in found.cells if move.equal < move.pairs), key=lambda m: (not m.moved, -abs(m.effect)))
    rows = [
        (
            Entry(move.place.method),
            Entry(move.place.task),
            Entry(str(move.place.size)),
            Entry(f"{move.before:.1f}"),
            Entry(f"{move.after:.1f}"),
            Entry(points(move.effect), marks=("↑" if move.effect > 0 else "↓") if move.moved else "", strong=move.moved),
            Entry(DASH if math.isnan(move.ci[0]) else f"[{move.ci[0]:.1f}, {move.ci[1]:.1f}]"),
            Entry(probability(move.p_adj)),
            Entry(f"{move.pairs - move.equal}/{move.pairs}"),
        )
        for move in shown
    ]
    head = ("method", "task", "size", "before", "after", "points", "95 % interval", "p", "changed")
    legend = (
        "p: paired t test over draws, Benjamini-Hochberg over all cells, E1; intervals are "
        f"{estimates.named(move.ci_estimand for move in shown)}. ↑ ↓ and bold or *: p at most .05, or every draw differs by "
        "the very same amount. changed: runs with another score, of those that both have."
    )
    facts = [("Before", before), ("After", after)]
    for text, count in (("before", found.only_before), ("after", found.only_after)):
        if count:
            facts.append((f"Only {text}", f"{count} finished runs"))
    if found.other_rows:
        facts.append(("Other rows", f"{found.other_rows} runs are of the same name on other rows, and are not compared"))
    table = Table(title="Cells that changed", head=head, rows=tuple(rows), labels=3, legend=legend)
    return Document(
        title="Before and after",
        verdict=(headline(found),),
        facts=tuple(facts),
        tables=(table,) if rows else (),
        notes=(),
        appendix=(),
        command=command,
    )
