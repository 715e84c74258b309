"""Read tables from JSON files: one object in each line, one array of objects, or an object with one array."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from harness.tasks.files.decoding import readable_text
from harness.tasks.files.file_table import FileTable, Reading
from harness.tasks.files.problems import Problems
from harness.wording import escaped, short

_BLANK: Final = " \t\r\n\x1a"


def read_json(path: Path, content: bytes, problems: Problems, how: Reading) -> FileTable:
    """Return the table in the bytes of a JSON file."""
    decoded = readable_text(path, content, how.encoding, problems)
    if decoded is None:
        return FileTable(path, ())
    text, key = decoded.text, _only_array(decoded.text)
    read = _elements if key is not None or text.lstrip().startswith("[") else _lines
    columns: dict[str, None] = {}
    notes = list(decoded.notes)
    if key is not None:
        notes.append(f"{escaped(path.name)}: the rows are those of the array {short(key)}")
    table = FileTable(path, (), notes=tuple(notes))
    for position, record in read(path, text, problems):
        if not isinstance(record, dict):
            problems.add_row(path, position, ": not a JSON object")
        else:
            named = _named(record)
            columns |= dict.fromkeys(named)
            table.rows.append({name: named[name] for name in named if how.keeps(name)})
            table.positions.append(position)
    return FileTable(path, tuple(columns), table.rows, table.positions, table.notes)


def _only_array(text: str) -> str | None:
    """Return the key of the array of objects that is all a file has; None if the file is another."""
    if not text.lstrip(_BLANK).startswith("{"):
        return None
    try:
        value = json.loads(text.strip(_BLANK))
    except (ValueError, RecursionError):  # several lines
        return None
    if isinstance(value, dict) and len(value) == 1:
        (key, rows), *_ = value.items()
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            return str(key)
    return None


def _named(record: dict[str, Any]) -> dict[str, Any]:
    """Return the object with names without outer spaces, as in other files, unless two would be equal."""
    named = {name.strip(): value for name, value in record.items()}
    return named if len(named) == len(record) else record


def _elements(path: Path, text: str, problems: Problems) -> Iterator[tuple[str, Any]]:
    """Yield the elements of an array with their positions; add a problem if it is not valid."""
    try:
        elements = json.loads(text.strip(_BLANK), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        problems.add(f"{escaped(str(path))}: not valid JSON ({error})")
        return
    if isinstance(elements, dict):
        (elements,) = elements.values()
    for row, element in enumerate(elements, 1):
        yield f"row {row}", element


def _lines(path: Path, text: str, problems: Problems) -> Iterator[tuple[str, Any]]:
    """Yield the value in each line with its position; add a problem for each line that is not valid."""
    for row, (number, line) in enumerate(_filled_lines(text), 1):
        position = f"row {row} (line {number})"
        try:
            value = json.loads(line, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", None) or str(error)
            hint = "; write one object in each line, or one array of objects"
            problems.add_row(path, position, f": not valid JSON ({reason}){hint}")
        else:
            yield position, value


def _filled_lines(text: str) -> Iterator[tuple[int, str]]:
    lines = re.split(
        r"\r\n|\r|\n", text
    )  # not the other separators of `splitlines`, which JSON allows
    return ((number, line) for number, line in enumerate(lines, 1) if line.strip(" \t\x1a"))


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these keys and values; `json.loads` would keep only the last of two values."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return entries
