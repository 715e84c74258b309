"""What separates the columns of a table in a text."""

import csv
import io
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from harness.errors import UsageError
from harness.wording import escaped

DELIMITERS: Final = (",", ";", "\t", "|")
_NAMES: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_WORDS: Final = {
    "tab": "\t",
    "\\t": "\t",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
    "space": " ",
}
MAX_FIELD: Final = 1 << 27  # characters in a field; the csv module's default is 131,072
_LOOKED_AT: Final = 50  # rows that show whether a delimiter makes a table


def delimiter_named(text: str) -> str:
    """Return the delimiter that a user names: one character, or a word such as `tab`.

    Raises:
        UsageError: it is something else.
    """
    delimiter = _WORDS.get(text.lower(), text)
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise UsageError(f"a delimiter is one character or `tab`, got {text!r}")
    return delimiter


class Separated(NamedTuple):
    """How the columns of a table are separated."""

    delimiter: str
    skipped: int = 0  # lines in front of the header
    skips_spaces: bool = False  # after a delimiter, so that a quote behind them opens a quoted cell
    notes: tuple[str, ...] = ()

    def rows(self, text: str) -> Iterator[tuple[int, list[str]]]:
        """Yield the cells of each row, the header included, with the number of its last line.

        Raises:
            csv.Error: the quotes of a row do not match.
        """
        lines = io.StringIO(text, newline="")
        for _ in range(self.skipped):
            lines.readline()
        reader = csv.reader(
            lines, delimiter=self.delimiter, skipinitialspace=self.skips_spaces, strict=True
        )
        for cells in reader:
            yield reader.line_num + self.skipped, cells


def separated(
    path: Path, text: str, usual: str, needed: Collection[str], named: str | None = None
) -> Separated:
    """Return how the columns of a table are separated.

    Unless the user names the delimiter, a first line such as `sep=;`, which programs write for Excel, names it.
    Otherwise it is the one that
    gives the header most of the needed columns; if none gives any, the first that makes a table. Of equal
    ones, it is the usual one of the suffix.

    Args:
        path: the file, for messages.
        text: its text.
        usual: the delimiter that its suffix promises.
        needed: columns that the header must have.
        named: the delimiter that the user names; None: recognise it.
    """
    csv.field_size_limit(MAX_FIELD)
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    line = re.fullmatch(r'"?sep=([^"])"?\1*', first, re.IGNORECASE)
    note = ""
    if named is not None:
        chosen = named
    elif line:
        chosen = line[1]
    else:
        chosen = _recognised(text, usual, needed)
        if chosen != usual:
            note = f"{escaped(str(path))}: the columns are separated by {_NAMES[chosen]}"
    plain = Separated(chosen, int(bool(line)), notes=(note,) if note else ())
    spaces = f"{escaped(str(path))}: the spaces between a delimiter and a quote are skipped"
    return (
        plain._replace(skips_spaces=True, notes=(*plain.notes, spaces))
        if _has_quotes_after_spaces(text, plain)
        else plain
    )


def _recognised(text: str, usual: str, needed: Collection[str]) -> str:
    candidates = dict.fromkeys((usual, *DELIMITERS))
    starts = {delimiter: _start(text, Separated(delimiter)) for delimiter in candidates}
    found = {
        delimiter: len(set(needed) & {cell.strip("\ufeff").strip() for cell in rows[0]})
        for delimiter, rows in starts.items()
        if rows
    }
    best = max(found, key=lambda delimiter: found[delimiter], default=usual)
    if found.get(best):
        return best
    tables = (
        delimiter
        for delimiter, rows in starts.items()
        if rows and len(rows[0]) > 1 and len({len(row) for row in rows}) == 1
    )
    return next(tables, usual)


def _start(text: str, how: Separated) -> list[list[str]]:
    """Return the first rows, without blank lines, up to a row that cannot be read."""
    rows: list[list[str]] = []
    with suppress(csv.Error):
        for _, cells in islice(how.rows(text), _LOOKED_AT):
            if "".join(cells).strip():
                rows.append(cells)
    return rows


def _has_quotes_after_spaces(text: str, how: Separated) -> bool:
    """Return whether cells such as ` "a, b"` are quoted cells after a space."""
    if not re.search(re.escape(how.delimiter) + ' +"', text):
        return False
    with suppress(csv.Error):  # a quoted cell has text after its closing quote, or none
        if not any(re.match(' +"', cell) for _, row in how.rows(text) for cell in row):
            return False
    try:
        skipping = [len(row) for _, row in how._replace(skips_spaces=True).rows(text) if row]
    except csv.Error:
        return False
    return 2 * skipping.count(skipping[0]) > len(skipping)
