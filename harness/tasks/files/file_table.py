"""A table in a file: its columns, its rows and how it is to be read."""

import itertools
import re
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.tasks.files.cells import text_problem
from harness.tasks.files.problems import Problems
from harness.wording import escaped, listed, short
from methods.core.suggestions import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read a file with a table; what is not said is recognised.

    Attributes:
        needed: columns that the header must have, which tells delimiters apart.
        only: whether rows keep only the needed columns.
        delimiter: what separates the columns of a CSV or TSV file.
        encoding: of a text file.
    """

    needed: tuple[str, ...] = ()
    only: bool = False
    delimiter: str | None = None
    encoding: str | None = None

    def keeps(self, name: str) -> bool:
        """Return whether rows keep a column."""
        return not self.only or name in self.needed


@dataclass(frozen=True)
class FileTable:
    """A table in a file.

    It has columns, readable rows, each row's position (`row 3 (line 4)`, counted from 1), and notes on how
    the file was read. Each column has another name: one without a name, or with the name of a column before
    it, gets its number.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)
    positions: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    title: str = ""  # in sentences; empty: the name of the file
    has_header: bool = (
        False  # a line with the names of the columns, which files that were joined repeat
    )

    @property
    def name(self) -> str:
        """What sentences call the table."""
        return self.title or escaped(self.path.name)

    def lacks(self, names: Sequence[str], problems: Problems) -> set[str]:
        """Return which of these columns the table does not have; add a problem for each."""
        missing = [name for name in names if name not in self.columns]
        quoted = next((f'"{name}"' for name in self.columns if "," in name), "")
        known = listed([f'"{name}"' if "," in name else name for name in self.columns])
        if quoted:
            known += f"; quote a name with a comma: --text {shlex.quote(quoted)}"
        for name in missing:
            hint = did_you_mean(name, self.columns)
            if len(self.columns) == 1 and not re.fullmatch(r"[\w .-]+", self.columns[0]):
                hint = " (what separates the columns? see --delimiter)"
            read = f" ({'; '.join(self.notes)})" if self.notes else ""
            problems.add(
                f"{escaped(str(self.path))}: no column {name!r}{hint}; there are {known}{read}"
            )
        return set(missing)

    def repeats_header(self, row: Mapping[str, Any], names: Collection[str]) -> bool:
        """Return whether a row repeats the header: these columns have their names or are blank, but not all blank."""
        values = {name: row.get(name) for name in names}
        cells = {
            name: "" if cell is None else str(cell).strip("\ufeff ")
            for name, cell in values.items()
        }
        filled = {name: cell for name, cell in cells.items() if cell}
        return (
            self.has_header
            and bool(filled)
            and all(cell.casefold() == name.casefold() for name, cell in filled.items())
        )

    def text(
        self, row: Mapping[str, Any], name: str, position: str, problems: Problems
    ) -> str | None:
        """Return the text in a column of a row; None, with a problem added, if there is none."""
        value, column = row.get(name), f", column {name!r}: "
        if value is not None and not isinstance(value, str):
            problems.add_row(self.path, position, f"{column}{short(str(value))} is not a text")
        elif problem := text_problem(value or ""):
            problems.add_row(self.path, position, f"{column}{problem}")
        else:
            return value
        return None


READING: Final = Reading()


def unique_names(
    names: Sequence[str], path: Path, problems: Problems, how: Reading
) -> tuple[str, ...]:
    """Return a different name for each column; none, and a problem, if a needed one occurs twice."""
    counts = Counter(names)
    repeated = sorted({name for name in how.needed if counts[name] > 1})
    if repeated:
        problems.add(
            f"{escaped(str(path))}: more than one column is named {', '.join(map(repr, repeated))}"
        )
        return ()
    unique: dict[str, None] = {}
    for number, name in enumerate(names, 1):
        if not name or name in unique:
            stem = name or "column"
            numbered = (f"{stem} {count}" for count in itertools.count(number))
            name = next(one for one in numbered if one not in counts and one not in unique)
        unique[name] = None
    return tuple(unique)
