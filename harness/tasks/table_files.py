"""Read tables from CSV, TSV, JSONL and Parquet files, by suffix.

Cells are not converted, and every row knows its position in the file, for messages.
"""

import csv
import hashlib
import json
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from harness.errors import UsageError
from harness.tasks.cells import text_problem
from harness.tasks.decoding import Decoded, decode, format_problem
from harness.tasks.delimiters import separated
from harness.tasks.problems import Problems
from harness.wording import escaped, listed, plural, short
from methods.core.suggestions import did_you_mean

_RULE: Final = re.compile(r"[:|]*(-+|=+|_+)[:|]*")  # a cell of a line under the header
_MAX_FIELD: Final = 1 << 27  # characters in a field; the csv module's default is 131,072


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
        """Return whether a row has the names of these columns in them; columns without a name may be blank."""
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


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        raise UsageError(
            "a file must be on this machine: download it, and name the copy instead of a URL"
        )
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UsageError(f"{escaped(str(path))} is not a file but a pipe or a device: copy it")
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {escaped(str(path))}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read {escaped(str(path))}: {reason}") from None


def digest(contents: Sequence[bytes]) -> str:
    """Return the SHA-256 of the files' hashes, which changes if bytes move from one file to the next."""
    return hashlib.sha256(
        b"".join(hashlib.sha256(content).digest() for content in contents)
    ).hexdigest()


def read_table(path: Path, content: bytes, problems: Problems, how: Reading = READING) -> FileTable:
    """Return the table in a file's bytes; a table without columns cannot be used.

    Args:
        path: the file, whose suffix names the format.
        content: its bytes.
        problems: receives what is wrong with single rows.
        how: how to read it.

    Raises:
        UsageError: the suffix is unknown, or the file does not have that format.
    """
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        name, known = escaped(str(path)), ", ".join(_READERS)
        if problem := format_problem(content):
            raise UsageError(f"{name} {problem}")
        hint = ": write one JSON object in each line" if suffix == ".json" else ""
        raise UsageError(
            f"{name}: unknown format {suffix or 'no suffix'!r}; the suffix must be one of {known}{hint}"
        )
    before = problems.count
    table = _READERS[suffix](path, content, problems, how)
    if problems.count == before and not (table.columns and table.rows):
        problems.add(f"{escaped(str(path))}: there are no {'rows' if table.columns else 'columns'}")
    return table


def _text(path: Path, content: bytes, problems: Problems, how: Reading) -> Decoded | None:
    """Return the text of a file; None after adding problems."""
    try:
        decoded = decode(path, content, how.encoding)
    except UsageError as error:
        problems.add(*error.problems)
        return None
    before = problems.count
    if "\0" in decoded.text:
        for number, line in enumerate(decoded.text.split("\n"), 1):
            if "\0" in line:
                problems.add_row(path, f"line {number}", ": a NUL byte")
    if not decoded.text.strip():
        problems.add(f"{escaped(str(path))} is empty")
    return None if problems.count > before else decoded


def _separated(
    path: Path, content: bytes, problems: Problems, how: Reading, *, delimiter: str
) -> FileTable:
    decoded = _text(path, content, problems, how)
    if decoded is None:
        return FileTable(path, ())
    csv.field_size_limit(_MAX_FIELD)
    found = separated(path, decoded.text, delimiter, how.needed, how.delimiter)
    table = FileTable(path, (), notes=(*decoded.notes, *found.notes))
    row, line = 0, 1 + found.skipped
    broken: list[tuple[str, list[str]]] = []  # rows with line breaks inside quotes, by position
    kept: list[tuple[int, str]] = []  # columns that rows keep
    blank: list[
        str
    ] = []  # positions of blank lines of a single column: rows, unless they end the file
    try:
        for last, cells in found.rows(decoded.text):
            position, line = f"row {row} (line {line})", last + 1
            if not "".join(cells).strip(" \x1a") and len(cells) < 2:
                if len(table.columns) == 1 and "\x1a" not in cells:
                    blank.append(position)
                    row += 1
                continue  # a blank line, or Ctrl-Z at the end
            if not row:
                columns = _header(
                    [cell.strip("\ufeff").strip() for cell in cells], path, problems, how
                )
                table = FileTable(path, columns, notes=table.notes, has_header=True)
                kept = [(n, name) for n, name in enumerate(columns) if _is_kept(name, how)]
            elif row == 1 and _underlines(cells):
                under = f"{escaped(path.name)}: the line under the header is left out"
                problems.notes.append(under)
            elif len(cells) == len(table.columns):
                if any("\n" in cell or "\r" in cell for cell in cells):
                    broken.append((position, cells))
                for before in blank:
                    table.rows.append({name: "" for _, name in kept})
                    table.positions.append(before)
                blank.clear()
                table.rows.append({name: cells[number] for number, name in kept})
                table.positions.append(position)
            elif table.columns:
                counts = f"{plural(len(cells), 'column')}, but the header has {len(table.columns)}"
                problems.add_row(path, position, f": {counts}")
            row += 1
    except csv.Error as error:
        hint = (
            "a field that starts with a quote must end with one, and quotes inside it are doubled"
        )
        problems.add(f"{escaped(str(path))}, row {row} (line {line}): {error}; {hint}")
    known = {n: {str(row[name]).strip() for row in table.rows} - {""} for n, name in kept}
    joined = [position for position, cells in broken if _holds_rows(cells, found.delimiter, known)]
    if joined:
        problems.notes.append(
            f"{escaped(path.name)}: {plural(len(joined), 'row')} with lines inside quotes that look like rows "
            f"({joined[0]}): if the quotes are part of the text, double them"
        )
    return table


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


def _is_kept(name: str, how: Reading) -> bool:
    return not how.only or name in how.needed


def _header(names: Sequence[str], path: Path, problems: Problems, how: Reading) -> tuple[str, ...]:
    """Return a different name for each column; none, and a problem, if a needed one occurs twice."""
    repeated = sorted({name for name in names if name in how.needed and names.count(name) > 1})
    if repeated:
        problems.add(
            f"{escaped(str(path))}: more than one column is named {', '.join(map(repr, repeated))}"
        )
        return ()
    unique: dict[str, None] = {}
    for number, name in enumerate(names, 1):
        while not name or name in unique:
            name = f"{name} {number}" if name else f"column {number}"
            if name in names:  # another column has this name
                name += " "
        unique[name] = None
    return tuple(unique)


def _json_lines(path: Path, content: bytes, problems: Problems, how: Reading) -> FileTable:
    decoded = _text(path, content, problems, how) or Decoded("")
    columns: dict[str, None] = {}
    table = FileTable(path, (), notes=decoded.notes)
    if decoded.text.lstrip().startswith("["):
        problems.add(f"{escaped(str(path))} is one JSON array: write one JSON object in each line")
        return table
    for row, (number, line) in enumerate(_filled_lines(decoded.text), 1):
        position = f"row {row} (line {number})"
        try:
            record = json.loads(line, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", None) or str(error)
            hint = "; write one object in each line"
            problems.add_row(path, position, f": not valid JSON ({reason}){hint}")
            continue
        if not isinstance(record, dict):
            problems.add_row(path, position, ": not a JSON object")
        else:
            columns |= dict.fromkeys(record)
            table.rows.append({name: record[name] for name in record if _is_kept(name, how)})
            table.positions.append(position)
    return FileTable(path, tuple(columns), table.rows, table.positions, table.notes)


def _filled_lines(text: str) -> Iterator[tuple[int, str]]:
    lines = re.split(
        r"\r\n|\r|\n", text
    )  # not the other separators of `splitlines`, which JSON allows
    return ((number, line) for number, line in enumerate(lines, 1) if line.strip(" \t\x1a"))


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these keys and values; `json.loads` would keep only the last of two values."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return entries


def _parquet(path: Path, content: bytes, problems: Problems, how: Reading) -> FileTable:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(content))
        columns = _header(file.schema_arrow.names, path, problems, how)
        if not columns:
            return FileTable(path, ())
        kept = [name for name in columns if _is_kept(name, how)]
        if how.only and list(columns) == file.schema_arrow.names:
            table = file.read(columns=kept)
        else:  # a column without a name, or with that of another, has a new one
            table = file.read().rename_columns(list(columns)).select(kept)
        rows = _plain_rows(table)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{escaped(str(path))} is not a readable Parquet file: {reason}") from None
    return FileTable(path, columns, rows, [f"row {number}" for number in range(1, len(rows) + 1)])


def _plain_rows(table: Any) -> list[dict[str, Any]]:
    """Return the rows of a table of pyarrow: numbers of single precision as they are written, late dates as texts."""
    import pyarrow

    columns: dict[str, list[Any]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pyarrow.types.is_temporal(column.type):
            try:
                columns[name] = column.to_pylist()
            except (ValueError, OverflowError):  # beyond the year 9999
                columns[name] = [
                    str(value)
                    for value in column.cast(_INTEGERS[column.type.bit_width]).to_pylist()
                ]
        elif pyarrow.types.is_float32(column.type):
            columns[name] = as_written(column.to_pylist())
        else:
            columns[name] = column.to_pylist()
    if not columns:  # none is needed of those that there are
        return [{} for _ in range(table.num_rows)]
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def as_written(values: Sequence[float | None]) -> list[float | None]:
    """Return numbers of single precision with the digits that they have there: 0.1 and not 0.10000000149."""
    import numpy

    return [None if value is None else float(str(numpy.float32(value))) for value in values]


_INTEGERS: Final = {32: "int32", 64: "int64"}  # in which a date is stored, by its bits
_READERS: Final[Mapping[str, Callable[[Path, bytes, Problems, Reading], FileTable]]] = {
    ".csv": partial(_separated, delimiter=","),
    ".tsv": partial(_separated, delimiter="\t"),
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
