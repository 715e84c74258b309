"""Read tables from CSV and TSV files, whatever separates their columns."""

import csv
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from harness.tasks.files.decoding import readable_text
from harness.tasks.files.delimiters import Separated, separated
from harness.tasks.files.file_table import FileTable, Reading, unique_names
from harness.tasks.files.problems import Problems
from harness.wording import escaped, plural

_RULE: Final = re.compile(r"[:|]*(-+|=+|_+)[:|]*")  # a cell of a line under the header
_LOOKED_AT: Final = 20_000  # rows whose values show whether a line inside quotes is a row
MOST_JOINED: Final = 3  # rows with lines that may be rows for which there is always a note
SHARE_JOINED: Final = 0.2  # of all rows, beyond which texts of such lines are normal
MOST_SHAPES: Final = 6  # of numbers, dates or ids in one column
_END: Final = "\x1a"  # Ctrl-Z, which some programs write at the end of a file


class _Row(NamedTuple):
    """A row of a file; the header is row 0."""

    number: int
    line: int  # its first
    cells: list[str]

    @property
    def position(self) -> str:
        return f"row {self.number} (line {self.line})"


def read_separated(
    path: Path, content: bytes, problems: Problems, how: Reading, *, delimiter: str
) -> FileTable:
    """Return the table in the bytes of a CSV or TSV file.

    Args:
        path: the file, for messages.
        content: its bytes.
        problems: receives what is wrong with single rows.
        how: how to read it.
        delimiter: the usual one of its suffix.
    """
    decoded = readable_text(path, content, how.encoding, problems)
    if decoded is None:
        return FileTable(path, ())
    separation = separated(path, decoded.text, delimiter, how.needed, how.delimiter)
    notes = (*decoded.notes, *separation.notes)
    rows = _filled_rows(path, decoded.text.removesuffix(_END), separation, problems)
    header = next(rows, None)
    if header is None:
        return FileTable(path, (), notes=notes)
    names = [cell.strip("\ufeff").strip() for cell in header.cells]
    table = FileTable(path, unique_names(names, path, problems, how), notes=notes, has_header=True)
    if not table.columns:
        return table
    kept = [(n, name) for n, name in enumerate(table.columns) if how.keeps(name)]
    broken: list[_Row] = []  # rows with line breaks inside quotes
    for row in rows:
        if row.number == 1 and _underlines(row.cells):
            problems.notes.append(f"{escaped(path.name)}: the line under the header is left out")
        elif _is_other_header(row.cells, table.columns, how.needed):
            problems.add_row(
                path,
                row.position,
                ": names the columns in another order: put the columns of joined files into one order",
            )
        elif len(row.cells) == len(table.columns):
            if any("\n" in cell or "\r" in cell for cell in row.cells):
                broken.append(row)
            table.rows.append({name: row.cells[number] for number, name in kept})
            table.positions.append(row.position)
        else:
            counts = f"{plural(len(row.cells), 'column')}, but the header has {len(table.columns)}"
            if len(row.cells) == len(table.columns) + 1:
                counts += " (a delimiter inside a cell without quotes, or row names that R writes)"
            problems.add_row(path, row.position, f": {counts}")
    if broken and (joined := _holding_rows(broken, separation, decoded.text, len(table.rows))):
        problems.notes.append(
            f"{escaped(path.name)}: {plural(len(joined), 'row')} with lines inside quotes that look like rows "
            f"({joined[0].position}): if the quotes are part of the text, double them"
        )
    return table


def _filled_rows(
    path: Path, text: str, separation: Separated, problems: Problems
) -> Iterator[_Row]:
    """Yield the header and the rows, without blank lines; add a problem if the quotes of a row do not match.

    In a table of one column, a blank line before another row is a row with an empty cell.
    """
    number, line, width = 0, 1 + separation.skipped, 0
    blank: list[int] = []  # lines that are rows if another row follows
    try:
        for last, cells in separation.rows(text):
            first, line = line, last + 1
            if len(cells) < 2 and not "".join(cells).strip(f" {_END}"):
                if width == 1 and _END not in "".join(cells):
                    blank.append(first)
                continue
            width = width or len(cells)
            for count, earlier in enumerate(blank):
                yield _Row(number + count, earlier, [""])
            yield _Row(number + len(blank), first, cells)
            number += len(blank) + 1
            blank.clear()
    except csv.Error as error:
        hint = (
            "a field that starts with a quote must end with one, and quotes inside it are doubled"
        )
        row = _Row(number + len(blank), line, [])
        problems.add(f"{escaped(str(path))}, {row.position}: {error}; {hint}")


def _is_other_header(cells: Sequence[str], columns: Sequence[str], needed: Collection[str]) -> bool:
    """Return whether a row names two or more of the needed columns, and one of them in the place of another column."""
    folded = [cell.strip("\ufeff ").casefold() for cell in cells]
    named = [name for name in needed if name.strip().casefold() in folded]
    return len(named) > 1 and any(
        folded[at] != name.strip().casefold()
        for at, name in enumerate(columns[: len(folded)])
        if name in named
    )


def _underlines(cells: Sequence[str]) -> bool:
    """Return whether a row is a line such as `---,---` or `:--|:-:` under the header."""
    # A line with outer bars has an empty cell at each end, which is skipped.
    marks = [mark for cell in cells if (mark := cell.strip())]
    return all(map(_RULE.fullmatch, marks)) and any(len(mark) > 1 for mark in marks)


class _Column(NamedTuple):
    """Values of a column, and the shapes of its values if all have digits and there are few shapes."""

    values: set[str]
    shapes: set[str]

    @staticmethod
    def of(values: set[str]) -> "_Column":
        shapes = {_shape(value) for value in values}
        alike = len(shapes) <= MOST_SHAPES and all("9" in shape for shape in shapes)
        return _Column(values, shapes if alike else set())

    def has(self, text: str) -> bool:
        return text in self.values

    def has_like(self, text: str) -> bool:
        """Return whether a text has the shape of one of the values."""
        return _shape(text) in self.shapes


def _shape(value: str) -> str:
    """Return a value with one letter and one digit for each run of them: `a-9` for `de-001`, `9,9` for `4,5`."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", value))


def _holding_rows(
    broken: Sequence[_Row], separation: Separated, text: str, rows: int
) -> list[_Row]:
    """Return the rows of which a quoted cell has lines that look like rows.

    Args:
        broken: rows with line breaks inside quotes.
        separation: how columns are separated.
        text: of the file.
        rows: number of rows in the file.
    """
    known: list[set[str]] = []
    with suppress(csv.Error):  # the rows before a malformed one; it is a problem already
        for _, cells in islice(separation.rows(text), 1, _LOOKED_AT):
            known += [set() for _ in range(len(cells) - len(known))]
            for values, cell in zip(known, cells, strict=False):
                values.add(cell.strip())
    columns = [_Column.of(values - {""}) for values in known]
    delimiter = separation.delimiter
    tests = [column.has for column in columns]
    if found := [row for row in broken if _holds_rows(row.cells, delimiter, tests)]:
        return found
    # Addresses have numbers too, and other texts semicolons and bars. If many cells have them, they are normal.
    tests = [column.has_like for column in columns]
    found = [
        row
        for row in broken
        if _holds_rows(row.cells, delimiter, tests if delimiter == "," else None, exact=True)
    ]
    return found if len(found) <= max(MOST_JOINED, SHARE_JOINED * rows) else []


def _holds_rows(
    cells: Sequence[str],
    delimiter: str,
    tests: Sequence[Callable[[str], bool]] | None,
    *,
    exact: bool = False,
) -> bool:
    """Return whether the lines of a quoted cell look like rows.

    Of the lines that would hold two or more columns of a row, at least half have exactly the number of columns
    expected there. Unless tabs separate the columns, or there are no tests, there must also be a column such that, of
    the lines that reach it, at least half have a text there that passes its test.

    Args:
        cells: of a row.
        delimiter: what separates columns.
        tests: of each column, whether a text may be one of its values; None: the number of columns is enough.
        exact: whether two or more lines with three or more columns are enough if every line has the expected number.
    """
    width = len(cells)
    for number, cell in enumerate(cells):
        lines = [line.split(delimiter) for line in re.split(r"\r\n|\r|\n", cell)]
        # The first line has only the columns from this one on, and the last only those up to it. A line of
        # which only one column would be in the cell says nothing.
        expected = [width - number, *[width] * (len(lines) - 2), number + 1]
        counted = [
            (line, count)
            for line, count in zip(lines, expected[: len(lines)], strict=True)
            if count > 1
        ]
        fits = sum(len(line) == count for line, count in counted)
        if len(lines) < 2 or not fits or 2 * fits < len(counted):
            continue
        if delimiter == "\t" or tests is None or (exact and 1 < fits == len(counted) and width > 2):
            return True
        for at, is_value in enumerate(tests[:width]):
            if at > number:
                texts = [line[at - width] for line in lines[:-1] if width - at <= len(line)]
            else:
                texts = [line[at] for line in lines[1:] if at < len(line)]
            matching = sum(is_value(text.strip(' "')) for text in texts)
            if matching and 2 * matching >= len(texts):
                return True
    return False
