"""Read tables from CSV and TSV files, whatever separates their columns."""

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final, NamedTuple

from harness.tasks.files.cells import as_number
from harness.tasks.files.decoding import readable_text
from harness.tasks.files.delimiters import Separated, separated
from harness.tasks.files.file_table import FileTable, Reading, unique_names
from harness.tasks.files.problems import Problems
from harness.wording import escaped, plural

_RULE: Final = re.compile(r"[:|]*(-+|=+|_+)[:|]*")  # a cell of a line under the header
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
    rows = _filled_rows(path, decoded.text, separation, problems)
    header, start = next(rows, None), list(islice(rows, 2))
    if header is None:
        return FileTable(path, (), notes=notes)
    rows = chain(start, rows)
    if start and _are_numbered(start, len(header.cells)):
        header = header._replace(cells=["", *header.cells])
        notes += (f"{escaped(path.name)}: the first column has no name: it numbers the rows",)
    names = [cell.strip("\ufeff").strip() for cell in header.cells]
    table = FileTable(path, unique_names(names, path, problems, how), notes=notes, has_header=True)
    if not table.columns:
        return table
    kept = [(n, name) for n, name in enumerate(table.columns) if how.keeps(name)]
    broken: list[_Row] = []  # rows with line breaks inside quotes
    for row in rows:
        if row.number == 1 and _underlines(row.cells):
            problems.notes.append(f"{escaped(path.name)}: the line under the header is left out")
        elif len(row.cells) == len(table.columns):
            if any("\n" in cell or "\r" in cell for cell in row.cells):
                broken.append(row)
            table.rows.append({name: row.cells[number] for number, name in kept})
            table.positions.append(row.position)
        else:
            counts = f"{plural(len(row.cells), 'column')}, but the header has {len(table.columns)}"
            problems.add_row(path, row.position, f": {counts}")
    known = {n: {str(row[name]).strip() for row in table.rows} - {""} for n, name in kept}
    joined = [row for row in broken if _holds_rows(row.cells, separation.delimiter, known)]
    if joined:
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


def _are_numbered(start: Sequence[_Row], width: int) -> bool:
    """Return whether the first rows begin with their numbers and have a column more than the header, as R writes."""
    return all(
        len(row.cells) == width + 1 and row.cells[0] == str(number)
        for number, row in enumerate(start, 1)
    )


def _underlines(cells: Sequence[str]) -> bool:
    """Return whether a row is a line such as `---,---` or `:--|:-:` under the header."""
    # A line with outer bars has an empty cell at each end, which is skipped.
    marks = [mark for cell in cells if (mark := cell.strip())]
    return all(map(_RULE.fullmatch, marks)) and any(len(mark) > 1 for mark in marks)


def _holds_rows(cells: Sequence[str], delimiter: str, known: Mapping[int, Collection[str]]) -> bool:
    """Return whether the lines of a quoted cell look like rows.

    At least half of the lines have as many columns as a row has there. Texts contain commas too, so if the
    delimiter is a comma, there must also be a column in which more than half of the lines have one of its
    known values, or a number in a column of numbers.

    Args:
        cells: of a row.
        delimiter: what separates columns.
        known: the values of some columns, by their position.
    """
    width = len(cells)
    for number, cell in enumerate(cells):
        lines = [line.split(delimiter) for line in re.split(r"\r\n|\r|\n", cell)]
        if len(lines) < 2 or width < 2:
            continue
        # The first line has only the columns from this one on, and the last only those up to it.
        expected = [width - number, *[width] * (len(lines) - 2), number + 1]
        fits = [len(line) == count for line, count in zip(lines, expected, strict=True)]
        if 2 * sum(fits) < len(fits):
            continue
        if delimiter != ",":
            return True
        for column, values in known.items():
            if column > number:
                texts = [line[column - width] for line in lines[:-1] if width - column <= len(line)]
            else:
                texts = [line[column] for line in lines[1:] if column < len(line)]
            matching = sum(_is_like(text.strip(' "'), values) for text in texts)
            if texts and 2 * matching > len(texts):
                return True
    return False


def _is_like(text: str, values: Collection[str]) -> bool:
    """Return whether a text is one of the values of a column, or a number in a column of numbers."""
    if text in values:
        return True
    return as_number(text) is not None and all(as_number(value) is not None for value in values)
