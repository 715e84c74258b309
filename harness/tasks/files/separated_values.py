"""Read tables from CSV and TSV files, whatever separates their columns."""

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from harness.tasks.files.decoding import readable_text
from harness.tasks.files.delimiters import Separated, separated
from harness.tasks.files.file_table import FileTable, Reading, unique_names
from harness.tasks.files.problems import Problems
from harness.wording import escaped, plural

_RULE: Final = re.compile(r"[:|]*(-+|=+|_+)[:|]*")  # a cell of a line under the header
_MAX_FIELD: Final = 1 << 27  # characters in a field; the csv module's default is 131,072
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
    csv.field_size_limit(_MAX_FIELD)
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


def _underlines(cells: Sequence[str]) -> bool:
    """Return whether a row is a line such as `---,---` or `:--|:-:` under the header."""
    marks = [cell.strip() for cell in cells]
    return all(map(_RULE.fullmatch, marks)) and any(len(mark) > 1 for mark in marks)


def _holds_rows(cells: Sequence[str], delimiter: str, known: Mapping[int, Collection[str]]) -> bool:
    """Return whether the lines of a quoted cell look like rows: they have values of other columns in their places.

    Args:
        cells: of a row.
        delimiter: what separates columns.
        known: the values of some columns, by their position.
    """
    for number, cell in enumerate(cells):
        lines = [line.split(delimiter) for line in re.split(r"\r\n|\r|\n", cell)]
        if len(lines) < 2:
            continue
        for column, values in known.items():
            # The first line has only the columns from this one on, and the last only those up to it.
            found = [
                line[column - len(cells) :][0]
                for line in lines[:-1]
                if column > number and len(line) >= len(cells) - number
            ]
            found += [line[column] for line in lines[1:] if column <= number < len(line)]
            wanted = len(lines) - 1
            if len(found) >= wanted and all(text.strip(' "') in values for text in found):
                return True
    return False
