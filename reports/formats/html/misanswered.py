"""The test rows of a cell that are most often answered wrongly, and their texts as far as a page has room for them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports.analysis.paired_runs import Run, finished
from reports.escape import plain

WRONG: Final = 20  # rows shown of a cell
LETTERS: Final = 300  # of a text
BUDGET: Final = 900_000  # bytes of texts in a page

Texts = Callable[[Run], Sequence[Sequence[str]] | None]


class MisansweredRow(NamedTuple):
    """One test row."""

    place: int  # among the run's answers
    name: str  # as a reader counts, with the test split where there are several
    right: str
    answer: str  # the commonest wrong one, or the mean
    off: float  # runs that are wrong, or the mean error


@dataclass(kw_only=True)
class CellErrors:
    """The worst rows of a cell, and over which runs."""

    run: Run | None = None  # one of those runs; None: their answers are not known
    of: int = 0  # runs
    draw: int | None = None  # the only one looked at, where every draw has test rows of its own
    more: int = 0  # wrong rows that are not shown
    rows: Sequence[MisansweredRow] = ()
    texts: dict[int, list[int]] = field(
        default_factory=dict
    )  # where the texts of a row stand; empty: no room for them

    def plain(self) -> dict[str, Any]:
        """The values for the page; the texts of a row are null where they are not at hand."""
        rows = [
            [row.name, self.texts.get(row.place), row.right, row.answer, row.off]
            for row in self.rows
        ]
        error = self.run is not None and not self.run.classes
        return {"of": self.of, "draw": self.draw, "more": self.more, "error": error, "rows": rows}


def wrong(runs: Sequence[Run]) -> CellErrors:
    """The rows most often answered wrongly, or furthest off."""
    known = [run for run in runs if finished(run) and len(run.given) and run.right]
    if not known:
        return CellErrors()
    first = known[0]
    right = np.concatenate(list(first.right.values()))
    alike = [
        run
        for run in known
        if len(run.given) == len(right) and (run.draw == first.draw or not first.holdout)
    ]
    if len(first.given) != len(right):
        return CellErrors()
    given = np.stack([run.given for run in alike])  # [runs, rows]
    off = (given != right).sum(axis=0) if first.classes else np.abs(given - right).mean(axis=0)
    worst = [int(row) for row in np.argsort(-off, kind="stable")[:WRONG] if off[row] > 0]
    names = list(_names(first))
    return CellErrors(
        run=first,
        of=len(alike),
        draw=first.draw if first.holdout else None,
        more=int((off > 0).sum()) - len(worst),
        rows=[
            _row(row, names[row], given[:, row], float(right[row]), float(off[row]), first.classes)
            for row in worst
        ],
    )


def _row(
    place: int,
    name: str,
    answers: NDArray[np.float64],
    right: float,
    off: float,
    classes: Sequence[str],
) -> MisansweredRow:
    if not classes:
        return MisansweredRow(place, name, f"{right:.3g}", f"{answers.mean():.3g}", float(f"{off:.3g}"))
    counts = Counter(answers[answers != right].tolist())
    answer = min(counts, key=lambda value: (-counts[value], value))
    return MisansweredRow(place, name, _named(right, classes), _named(answer, classes), int(off))


def _names(run: Run) -> Iterator[str]:
    for suffix, labels in run.right.items():
        yield from (f"{plain(suffix)} {number}".strip() for number in range(1, len(labels) + 1))


def _named(value: float, classes: Sequence[str]) -> str:
    return plain(classes[int(value)]) if 0 <= value < len(classes) else f"{value:.3g}"


class TextPool:
    """Texts of test rows, each kept once, as many as there is room for."""

    def __init__(self, texts: Texts | None) -> None:
        self._read = texts
        self._known: dict[tuple[str, int], Sequence[Sequence[str]] | None] = {}
        self._places: dict[str, int] = {}
        self._left = BUDGET
        self.texts: list[str] = []

    def of(self, run: Run, row: int) -> list[int] | None:
        """Where the texts of a run's test row stand; None if they are not at hand, empty if there is no room."""
        which = (run.task, run.draw if run.holdout else -1)
        if which not in self._known:
            self._known[which] = self._read(run) if self._read else None
        rows = self._known[which]
        if rows is None or len(rows) != len(run.given):
            return None
        cut = [plain(text[:LETTERS]) + ("…" if len(text) > LETTERS else "") for text in rows[row]]
        needed = sum(len(text.encode()) for text in set(cut) if text not in self._places)
        if needed > self._left:
            return []
        self._left -= needed
        return [self._place(text) for text in cut]

    def _place(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = len(self.texts)
            self.texts.append(text)
        return self._places[text]


def fill(found: Sequence[CellErrors], pool: TextPool) -> None:
    """Texts for the worst row of every cell, then for the second of every cell, and so on until the room is used up."""
    for rank in range(WRONG):
        for one in found:
            if one.run is not None and rank < len(one.rows):
                place = one.rows[rank].place
                if (texts := pool.of(one.run, place)) is not None:
                    one.texts[place] = texts
