"""Read tables from CSV, TSV, JSON and Parquet files, by suffix.

Cells of text files are not converted, and every row knows its position in the file, for messages.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from harness.errors import UsageError
from harness.tasks.files.decoding import format_problem
from harness.tasks.files.file_table import READING, FileTable, Reading
from harness.tasks.files.json_files import read_json
from harness.tasks.files.parquet import read_parquet
from harness.tasks.files.problems import Problems
from harness.tasks.files.separated_values import read_separated
from harness.wording import escaped

_READERS: Final[Mapping[str, Callable[[Path, bytes, Problems, Reading], FileTable]]] = {
    ".csv": partial(read_separated, delimiter=","),
    ".tsv": partial(read_separated, delimiter="\t"),
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".parquet": read_parquet,
}


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
        raise UsageError(
            f"{name}: unknown format {suffix or 'no suffix'!r}; the suffix must be one of {known}"
        )
    before = problems.count
    table = _READERS[suffix](path, content, problems, how)
    if problems.count == before and not (table.columns and table.rows):
        problems.add(f"{escaped(str(path))}: there are no {'rows' if table.columns else 'columns'}")
    return table
