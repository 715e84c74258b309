"""Read tables from CSV, TSV, JSONL and Parquet files, by suffix.

Cells are not converted, and every row knows its position in the file, for messages.
"""

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from harness.errors import UsageError
from harness.tasks.decoding import Decoded, decode, separated
from harness.wording import plural

_MAX_PROBLEMS: Final = 10
_MAX_FIELD: Final = 1 << 27  # characters in a field; the csv module's default is 131,072


class Problems:
    """Collects problems, so that one message reports all of them; equal ones of several rows become one."""

    def __init__(self) -> None:
        self._positions: dict[
            tuple[str, str], list[str]
        ] = {}  # by file and text, or by text and ""
        self.count = 0
        self.notes: list[str] = []  # on rows that can be used

    def add(self, *problems: str) -> None:
        """Add problems."""
        for problem in problems:
            self._positions.setdefault((problem, ""), [])
            self.count += 1

    def add_row(self, path: Path, position: str, text: str) -> None:
        """Add a problem of one row; `text` follows its position."""
        self._positions.setdefault((str(path), text), []).append(position)
        self.count += 1

    def raise_if_any(self) -> None:
        """Raise if there are problems.

        Raises:
            UsageError: the first problems, and how many more there are.
        """
        messages = [_message(*key, found) for key, found in self._positions.items()]
        if messages:
            more = len(messages) - _MAX_PROBLEMS
            raise UsageError(
                *messages[:_MAX_PROBLEMS],
                *([f"and {plural(more, 'more problem')}"] if more > 0 else []),
            )


def _message(start: str, text: str, positions: Sequence[str]) -> str:
    """Return `d.csv, row 2 (line 3), column 'text': no text; so have 4 more rows: row 7 (line 8), ...`."""
    if not positions:
        return start
    message, others = f"{start}, {positions[0]}{text}", positions[1:]
    if others:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        message += f"; the same in {plural(len(others), 'more row')}: {shown}"
    return message


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read a file with a table; what is not said is recognised.

    Attributes:
        needed: columns that the header must have, which tells delimiters apart.
        delimiter: what separates the columns of a CSV or TSV file.
        encoding: of a text file.
    """

    needed: tuple[str, ...] = ()
    delimiter: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class FileTable:
    """A table in a file.

    It has columns, readable rows, each row's position (`row 3 (line 4)`, counted from 1), and notes on how
    the file was read.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)
    positions: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def add(self, row: dict[str, Any], position: str) -> None:
        """Add a row."""
        self.rows.append(row)
        self.positions.append(position)


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
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {shown(path)}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UsageError(
            f"cannot read {shown(path)}: {getattr(error, 'strerror', None) or error}"
        ) from None


def shown(path: Path) -> str:
    """Return a path for a message, with control characters escaped: a backslash in TOML may make some."""
    text = str(path)
    if min(text, default=" ") >= " ":
        return text
    return (
        f"{text!a}: a backslash in double quotes begins an escape, write the path in single quotes"
    )


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
        raise UsageError(
            f"{path}: unknown format {suffix or 'no suffix'!r}; the suffix must be one of {', '.join(_READERS)}"
        )
    before = problems.count
    table = _READERS[suffix](path, content, problems, how)
    if problems.count == before and not (table.columns and table.rows):
        problems.add(f"{path}: there are no {'rows' if table.columns else 'columns'}")
    return table


def column_names(text: str) -> list[str]:
    """Return names that are separated by commas; one that contains a comma is quoted: `"text, clean"`."""
    if '"' not in text:
        return [name.strip() for name in text.split(",")]
    try:
        return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    except csv.Error as error:
        raise UsageError(f"the columns {text!r} cannot be read: {error}") from None


def as_label(value: object) -> str:
    """Return a label as text: stripped, 1.0 as 1, and empty if it is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def as_number(text: str) -> float | None:
    """Return the finite number that a text represents, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


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
        problems.add(f"{path} is empty")
    return None if problems.count > before else decoded


def _separated(
    path: Path, content: bytes, problems: Problems, how: Reading, *, delimiter: str
) -> FileTable:
    decoded = _text(path, content, problems, how)
    table = FileTable(path, ())
    if decoded is None:
        return table
    csv.field_size_limit(_MAX_FIELD)
    found = separated(path, decoded.text, delimiter, how.needed, how.delimiter)
    lines = io.StringIO(decoded.text, newline="")
    for _ in range(found.skipped):
        lines.readline()
    reader = csv.reader(lines, delimiter=found.delimiter, strict=True)
    row, line = 0, 1 + found.skipped
    try:
        for cells in reader:
            position, line = f"row {row} (line {line})", reader.line_num + 1 + found.skipped
            if not cells:  # a blank line
                continue
            if not row:
                columns = _header([cell.strip() for cell in cells], path, problems)
                table = FileTable(path, columns, notes=(*decoded.notes, *found.notes))
            elif len(cells) == len(table.columns):
                table.add(dict(zip(table.columns, cells, strict=True)), position)
            elif table.columns:
                text = f": {len(cells)} columns, but the header has {len(table.columns)}"
                problems.add_row(path, position, text)
            row += 1
    except csv.Error as error:
        hint = (
            "a field that starts with a quote must end with one, and quotes inside it are doubled"
        )
        problems.add(f"{path}, row {row} (line {line}): {error}; {hint}")
    return table


def _header(names: list[str], path: Path, problems: Problems) -> tuple[str, ...]:
    """Return the columns; none, and a problem, if a name occurs twice.

    Trailing delimiters make columns without a name, which may be several.
    """
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        problems.add(f"{path}: more than one column is named {', '.join(map(repr, repeated))}")
    return () if repeated else tuple(names)


def _json_lines(path: Path, content: bytes, problems: Problems, how: Reading) -> FileTable:
    decoded = _text(path, content, problems, how) or Decoded("")
    lines = enumerate(decoded.text.split("\n"), 1)
    rows: list[dict[str, Any]] = []
    positions: list[str] = []
    filled = ((number, line) for number, line in lines if line.strip())
    for row, (number, line) in enumerate(filled, 1):
        position = f"row {row} (line {number})"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.add_row(path, position, f": not valid JSON ({error})")
            continue
        if not isinstance(record, dict):
            problems.add_row(path, position, ": not a JSON object")
        elif record:
            rows.append(record)
            positions.append(position)
    columns = tuple(dict.fromkeys(key for record in rows for key in record))
    return FileTable(path, columns, rows, positions, decoded.notes)


def _parquet(path: Path, content: bytes, problems: Problems, how: Reading) -> FileTable:  # noqa: ARG001
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(pyarrow.BufferReader(content))
        columns = _header(table.column_names, path, problems)
        rows = table.to_pylist() if columns else []
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UsageError(f"{path} is not a readable Parquet file: {error}") from None
    return FileTable(path, columns, rows, [f"row {number}" for number in range(1, len(rows) + 1)])


_READERS: Final[Mapping[str, Callable[[Path, bytes, Problems, Reading], FileTable]]] = {
    ".csv": partial(_separated, delimiter=","),
    ".tsv": partial(_separated, delimiter="\t"),
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
