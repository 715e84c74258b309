"""Read tables from CSV, TSV, JSONL and Parquet files, by suffix.

Cells are not converted, and every row knows its position in the file, for messages.
"""

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from harness.errors import UsageError

_MAX_PROBLEMS: Final = 10
_MAX_FIELD: Final = 1 << 27  # characters in a field; the csv module's default is 131,072


@dataclass
class Problems:
    """Collects problems, so that one message reports all of them."""

    messages: list[str] = field(default_factory=list)

    def add(self, *problems: str) -> None:
        """Add problems that are not among the first ones already."""
        self.messages.extend(
            problem for problem in problems if problem not in self.messages[:_MAX_PROBLEMS]
        )

    def raise_if_any(self) -> None:
        """Raise if there are problems.

        Raises:
            UsageError: the first problems, and how many more there are.
        """
        if self.messages:
            more = len(self.messages) - _MAX_PROBLEMS
            raise UsageError(
                *self.messages[:_MAX_PROBLEMS],
                *([f"and {more} more problem{'s' if more > 1 else ''}"] if more > 0 else []),
            )


@dataclass(frozen=True)
class FileTable:
    """A table in a file: columns, readable rows, and each row's position: `row 3 (line 4)`, counted from 1."""

    path: Path
    columns: tuple[str, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)
    positions: list[str] = field(default_factory=list)

    def add(self, row: dict[str, Any], position: str) -> None:
        """Add a row."""
        self.rows.append(row)
        self.positions.append(position)

    def locate(self, index: int) -> str:
        """Return the file and the position of a row, for messages."""
        return f"{self.path}, {self.positions[index]}"


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UsageError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        ) from None


def digest(contents: Sequence[bytes]) -> str:
    """Return the SHA-256 of the files' hashes, which changes if bytes move from one file to the next."""
    return hashlib.sha256(
        b"".join(hashlib.sha256(content).digest() for content in contents)
    ).hexdigest()


def read_table(path: Path, content: bytes, problems: Problems) -> FileTable:
    """Return the table in a file's bytes; a table without columns cannot be used.

    Args:
        path: the file, whose suffix names the format.
        content: its bytes.
        problems: receives what is wrong with single rows.

    Raises:
        UsageError: the suffix is unknown, or the file does not have that format.
    """
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise UsageError(
            f"{path}: unknown format {suffix or 'no suffix'!r}; the suffix must be one of {', '.join(_READERS)}"
        )
    before = len(problems.messages)
    table = _READERS[suffix](path, content, problems)
    if len(problems.messages) == before and not (table.columns and table.rows):
        problems.add(f"{path}: there are no {'rows' if table.columns else 'columns'}")
    return table


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


def _decode(path: Path, content: bytes, problems: Problems) -> str | None:
    """Decode UTF-8 with or without a byte order mark; return None after adding problems."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        problems.add(f"{path} is UTF-16; save it as UTF-8")
        return None
    before = len(problems.messages)
    for number, line in enumerate(content.split(b"\n"), 1):
        if b"\0" in line:
            problems.add(f"{path}, line {number}: a NUL byte")
        try:
            line.decode()
        except UnicodeDecodeError as error:
            byte = line[error.start]
            problems.add(
                f"{path}, line {number}: byte 0x{byte:02x} at position {error.start + 1} is not UTF-8; "
                "save the file as UTF-8"
            )
    if len(problems.messages) > before:
        return None
    text = content.decode("utf-8-sig")
    if not text.strip():
        problems.add(f"{path} is empty")
        return None
    return text


def _separated(path: Path, content: bytes, problems: Problems, *, delimiter: str) -> FileTable:
    text = _decode(path, content, problems)
    table = FileTable(path, ())
    if text is None:
        return table
    csv.field_size_limit(_MAX_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    row, line = 0, 1
    try:
        for cells in reader:
            position, line = f"row {row} (line {line})", reader.line_num + 1
            if not cells:  # a blank line
                continue
            if not row:
                table = FileTable(path, _header([cell.strip() for cell in cells], path, problems))
            elif len(cells) == len(table.columns):
                table.add(dict(zip(table.columns, cells, strict=True)), position)
            elif table.columns:
                problems.add(
                    f"{path}, {position}: {len(cells)} columns, but the header has {len(table.columns)}"
                )
            row += 1
    except csv.Error as error:
        hint = (
            "a field that starts with a quote must end with one, and quotes inside it are doubled"
        )
        problems.add(f"{path}, row {row} (line {line}): {error}; {hint}")
    return table


def _header(names: list[str], path: Path, problems: Problems) -> tuple[str, ...]:
    """Return the columns; none, and a problem, if a name occurs twice."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        problems.add(f"{path}: more than one column is named {', '.join(map(repr, repeated))}")
    return () if repeated else tuple(names)


def _json_lines(path: Path, content: bytes, problems: Problems) -> FileTable:
    lines = enumerate((_decode(path, content, problems) or "").split("\n"), 1)
    rows: list[dict[str, Any]] = []
    positions: list[str] = []
    filled = ((number, line) for number, line in lines if line.strip())
    for row, (number, line) in enumerate(filled, 1):
        position = f"row {row} (line {number})"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.add(f"{path}, {position}: not valid JSON ({error})")
            continue
        if not isinstance(record, dict):
            problems.add(f"{path}, {position}: not a JSON object")
        elif record:
            rows.append(record)
            positions.append(position)
    return FileTable(
        path, tuple(dict.fromkeys(key for record in rows for key in record)), rows, positions
    )


def _parquet(path: Path, content: bytes, problems: Problems) -> FileTable:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(pyarrow.BufferReader(content))
        columns = _header(table.column_names, path, problems)
        rows = table.to_pylist() if columns else []
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UsageError(f"{path} is not a readable Parquet file: {error}") from None
    return FileTable(path, columns, rows, [f"row {number}" for number in range(1, len(rows) + 1)])


_READERS: Final[Mapping[str, Callable[[Path, bytes, Problems], FileTable]]] = {
    ".csv": partial(_separated, delimiter=","),
    ".tsv": partial(_separated, delimiter="\t"),
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
