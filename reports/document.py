"""One neutral document: words, tables and notes that every format writes in its own way.

Text in it is raw; the writers escape it. Marks are single characters that say without colour what
they mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

DASH: Final = "—"


def plural(count: float, noun: str) -> str:
    """Return a count and its noun, as in `1 task` and `2 tasks`."""
    return f"{count:.10g} {noun}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class Note:
    """One finding. Red: it stands in the way of a claim. Amber: it is to be kept in mind."""

    code: str
    level: Literal["red", "amber"]
    text: str


@dataclass(frozen=True)
class TableCell:
    """What stands at one place of a table."""

    text: str
    marks: str = ""  # what follows it, in room of its own
    strong: bool = False
    cell: str | None = (
        None  # names the runs behind it, where it stands for one method, task and size
    )


@dataclass(frozen=True)
class Table:
    """Labels on the left, then columns of numbers; `legend` explains the marks that occur."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    labels: int = 1  # columns at the left that are repeated when a table is split
    legend: str = ""

    def part(self, columns: Sequence[int], *, last: bool = True) -> "Table":
        """The labels and some of the columns of numbers; the last part keeps the legend."""
        places = [*range(self.labels), *(self.labels + column for column in columns)]
        return Table(
            title=self.title,
            head=tuple(self.head[i] for i in places),
            rows=tuple(tuple(row[i] for i in places) for row in self.rows),
            labels=self.labels,
            legend=self.legend if last else "",
        )

    def split(self, columns: int) -> list["Table"]:
        """The table as several with at most that many columns of numbers."""
        numbers = len(self.head) - self.labels
        starts = range(0, max(numbers, 1), columns)
        return [
            self.part(range(s, min(s + columns, numbers)), last=s == starts[-1]) for s in starts
        ]


@dataclass(frozen=True)
class Document:
    """A report: the answer first, then what it rests on."""

    title: str
    verdict: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    notes: tuple[Note, ...]
    appendix: tuple[Table, ...]
    command: str
