"""A report without a format: sentences, tables and notes, which each writer formats in its own way.

Texts are not escaped; the writers escape them. Marks are single characters, so that no meaning
depends on colour.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

DASH: Final = "—"
_TITLES: Final = {
    "bleu": "BLEU", "chrf": "chrF", "ter": "TER", "rouge": "ROUGE-", "nist": "NIST", "cider": "CIDEr"
}  # fmt: skip


def plural(count: float, noun: str) -> str:
    """Return a count and its noun, as in `1 task` and `2 tasks`."""
    return f"{count:.10g} {noun}{'' if count == 1 else 's'}"


def metric_title(name: str, classes: Sequence[str]) -> str:
    """Return the name of a metric as it is printed; each F1 says of which class it is.

    Args:
        name: as stored, such as `f1`, `f1/mismatched` or `zeroed f1`.
        classes: the names of the task's classes; F1 is that of the second.
    """
    match = re.fullmatch(r"(zeroed |rule \S+ )?(macro-|micro-)?f1(?:/(.*))?", name)
    if match is None:
        return re.sub(
            r"\b(bleu|chrf|ter|rouge|nist|cider)(?=\b|[12L])", lambda one: _TITLES[one[0]], name
        )
    prefix, mean, suffix = (part or "" for part in match.groups())
    of = f" of {classes[1]}" if len(classes) > 1 and not mean else ""
    return f"{prefix}{mean}F1{of}{f' ({suffix})' if suffix else ''}"


def number(value: float | None, digits: int) -> str:
    """Return a number with this many digits after the point, or a dash if it is None or NaN."""
    if value is None or math.isnan(value):
        return DASH
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0 removes the sign of a negative zero


def interval(low: float, high: float, digits: int = 1) -> str:
    """Return the two ends of an interval in brackets, or a dash if it is unknown."""
    return DASH if math.isnan(low) else f"[{low:.{digits}f}, {high:.{digits}f}]"


@dataclass(frozen=True)
class Note:
    """One diagnostic. A red note prevents a claim; an amber note asks for caution."""

    code: str
    level: Literal["red", "amber"]
    text: str
    brief: str = ""  # the text without the places that it names; empty: the text itself


@dataclass(frozen=True)
class TableCell:
    """One cell of a table."""

    text: str
    marks: str = ""  # printed after the text, in a column of their own
    strong: bool = False
    # method, task and size, separated by line feeds, if the cell summarises the runs of these
    runs_key: str | None = None


@dataclass(frozen=True)
class Table:
    """A table with labels on the left, then columns of numbers; `legend` explains its marks and columns."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    labels: int = 1  # number of label columns, which are repeated if the table is split
    legend: str = ""

    def part(self, columns: Sequence[int], *, last: bool = True) -> "Table":
        """Return the labels and the chosen columns of numbers; only the last part keeps the legend."""
        indices = [*range(self.labels), *(self.labels + column for column in columns)]
        return Table(
            title=self.title,
            head=tuple(self.head[i] for i in indices),
            rows=tuple(tuple(row[i] for i in indices) for row in self.rows),
            labels=self.labels,
            legend=self.legend if last else "",
        )

    def split(self, columns: int) -> list["Table"]:
        """Split the table into parts with at most `columns` columns of numbers."""
        numbers = len(self.head) - self.labels
        starts = range(0, max(numbers, 1), columns)
        return [
            self.part(range(s, min(s + columns, numbers)), last=s == starts[-1]) for s in starts
        ]


@dataclass(frozen=True)
class Document:
    """A report: the verdict first, then the facts, tables and notes that it rests on."""

    title: str
    verdict: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    notes: tuple[Note, ...]
    appendix: tuple[Table, ...]
    command: str
