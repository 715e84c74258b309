"""Tables from files: CSV, TSV, JSONL and Parquet by suffix. Cells are kept as they stand; every cell knows its row and line."""

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.errors import UsageError

_SHOWN: Final = 10
_LONGEST: Final = 1 << 27  # characters in a field; the csv module's own limit is 131,072


@dataclass
class Problems:
    """What is wrong, collected so that the user hears it once."""

    found: list[str] = field(default_factory=list)

    def add(self, *problems: str) -> None:
        """Note problems; one that is noted already is not repeated."""
        self.found.extend(problem for problem in problems if problem not in self.found[:_SHOWN])

    def done(self) -> None:
        """Go on only if nothing is wrong.

        Raises:
            UsageError: the first problems, and how many more there are.
        """
        if self.found:
            more = len(self.found) - _SHOWN
            raise UsageError(
                *self.found[:_SHOWN],
                *([f"and {more} more problem{'s' if more > 1 else ''}"] if more > 0 else []),
            )


@dataclass(frozen=True)
class Sheet:
    """A table: its columns, the rows that could be read, and where each stands: `row 3 (line 4)`, rows counting from 1."""

    path: Path
    columns: tuple[str, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    def add(self, row: dict[str, Any], place: str) -> None:
        """One more row."""
        self.rows.append(row)
        self.places.append(place)

    def at(self, index: int) -> str:
        """The file and the place of the row with that index."""
        return f"{self.path}, {self.places[index]}"


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the path
        raise UsageError(
            f"{path} cannot be read: {getattr(problem, 'strerror', None) or problem}"
        ) from None


def digest(contents: Sequence[bytes]) -> str:
    """SHA-256 over the files' own hashes, so that moving bytes from one file to the next changes it."""
    return hashlib.sha256(
        b"".join(hashlib.sha256(content).digest() for content in contents)
    ).hexdigest()


def read_sheet(path: Path, content: bytes, problems: Problems) -> Sheet:
    """The table in a file's bytes. What is wrong with single rows goes to `problems`; a sheet without columns is unusable.

    Raises:
        UsageError: the suffix is not known, or the file is none of its kind.
    """
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise UsageError(
            f"{path}: cannot tell the format from {suffix or 'no suffix'!r}; it must be one of {', '.join(_READERS)}"
        )
    before = len(problems.found)
    sheet = _READERS[suffix](path, content, problems)
    if len(problems.found) == before and not (sheet.columns and sheet.rows):
        problems.add(f"{path}: there are no {'rows' if sheet.columns else 'columns'}")
    return sheet


def as_label(value: object) -> str:
    """A label as text: without surrounding space, 1.0 like 1, and nothing for what is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def as_number(text: str) -> float | None:
    """The finite number that a text is, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def _decode(path: Path, content: bytes, problems: Problems) -> str | None:
    """UTF-8 text, with or without a byte order mark; None where a byte is wrong."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        problems.add(f"{path} is UTF-16; save it as UTF-8")
        return None
    before = len(problems.found)
    for number, line in enumerate(content.split(b"\n"), 1):
        if b"\0" in line:
            problems.add(f"{path}, line {number}: a NUL byte")
        try:
            line.decode()
        except UnicodeDecodeError as problem:
            byte = line[problem.start]
            problems.add(
                f"{path}, line {number}: byte 0x{byte:02x} at position {problem.start + 1} is not UTF-8; save the file as UTF-8"
            )
    if len(problems.found) > before:
        return None
    text = content.decode("utf-8-sig")
    if not text.strip():
        problems.add(f"{path} is empty")
        return None
    return text


def _separated(path: Path, content: bytes, problems: Problems, *, delimiter: str) -> Sheet:
    text = _decode(path, content, problems)
    sheet = Sheet(path, ())
    if text is None:
        return sheet
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    row, line = 0, 1
    try:
        for cells in reader:
            place, line = f"row {row} (line {line})", reader.line_num + 1
            if not cells:  # a blank line
                continue
            if not row:
                sheet = Sheet(path, _header([cell.strip() for cell in cells], path, problems))
            elif len(cells) == len(sheet.columns):
                sheet.add(dict(zip(sheet.columns, cells, strict=True)), place)
            elif sheet.columns:
                problems.add(
                    f"{path}, {place}: {len(cells)} columns, where the header has {len(sheet.columns)}"
                )
            row += 1
    except csv.Error as problem:
        hint = "a field that begins with a quote must end with one, and quotes inside are doubled"
        problems.add(f"{path}, row {row} (line {line}): {problem}; {hint}")
    return sheet


def _header(names: list[str], path: Path, problems: Problems) -> tuple[str, ...]:
    """The columns, or none where two have one name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        problems.add(f"{path}: more than one column is called {', '.join(map(repr, twice))}")
    return () if twice else tuple(names)


def _json_lines(path: Path, content: bytes, problems: Problems) -> Sheet:
    text = _decode(path, content, problems)
    found = Sheet(path, ())
    for number, line in enumerate((text or "").split("\n"), 1):
        if not line.strip():
            continue
        place = f"row {len(found.rows) + 1} (line {number})"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as problem:
            problems.add(f"{path}, {place}: no valid JSON ({problem})")
            record = {}
        if not isinstance(record, dict):
            problems.add(f"{path}, {place}: no JSON object")
            record = {}
        found.add(record, place)
    whole = [(row, place) for row, place in zip(found.rows, found.places, strict=True) if row]
    columns = dict.fromkeys(name for row, _ in whole for name in row)
    return Sheet(path, tuple(columns), [row for row, _ in whole], [place for _, place in whole])


def _parquet(path: Path, content: bytes, problems: Problems) -> Sheet:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(pyarrow.BufferReader(content))
        columns = _header(table.column_names, path, problems)
        rows = table.to_pylist() if columns else []
    except (pyarrow.ArrowException, OSError, ValueError) as problem:
        raise UsageError(f"{path} is no readable Parquet file: {problem}") from None
    return Sheet(path, columns, rows, [f"row {number}" for number in range(1, len(rows) + 1)])


def _comma(path: Path, content: bytes, problems: Problems) -> Sheet:
    return _separated(path, content, problems, delimiter=",")


def _tab(path: Path, content: bytes, problems: Problems) -> Sheet:
    return _separated(path, content, problems, delimiter="\t")


_READERS: Final[Mapping[str, Callable[[Path, bytes, Problems], Sheet]]] = {
    ".csv": _comma,
    ".tsv": _tab,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
