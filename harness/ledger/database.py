"""Opening a database: SQLite in a file, or any other that SQLAlchemy reaches by URL.

A file is looked at before anything is written: what is damaged, foreign or newer than this program stays untouched.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, OperationalError

from harness.errors import BenchError, Busy, CannotWrite, CorruptData, DiskTrouble, Unavailable, UsageError
from harness.ledger.migrations import CURRENT, migrate

WAIT = 30.0  # seconds to wait for another process's transaction
MAGIC = b"SQLite format 3\0"


def is_url(name: str) -> bool:
    """Whether a name is a database URL rather than a file."""
    return "://" in name


def open_engine(name: str, *, write: bool) -> Engine:
    """An engine on a database with the current schema, created or upgraded if it is opened for writing.

    Raises:
        CorruptData: the file is damaged, no ledger, or written by a newer program.
        CannotWrite: it cannot be created or written. Unavailable: there is none to read. UsageError: a URL of SQLite.
    """
    engine = _by_url(name) if is_url(name) else _by_path(Path(name), write=write)
    try:
        version = _schema(engine, name)
        if version > CURRENT:
            raise CorruptData(
                f"{name} was written by a newer bench (schema {version}, this one knows {CURRENT}): upgrade bench"
            )
        if version < CURRENT:
            if not write:
                raise Unavailable(
                    f"{name} holds no results yet: run `bench run` first"
                    if version == 0
                    else f"{name} is of an older bench: run `bench run` once"
                )
            with engine.begin() as connection:
                migrate(connection, _schema_in(connection))  # asked again under the lock: another process may have been first
    except DatabaseError as error:
        engine.dispose()
        raise explain(error, name) from error
    except UnicodeDecodeError as error:  # the driver itself does not expect damage in a table's definition
        engine.dispose()
        raise CorruptData(f"{name} is damaged ({error}); it was left as it is") from error
    except BenchError:
        engine.dispose()
        raise
    return engine


def explain(error: DatabaseError, name: str) -> Exception:
    """The error that a user can act on for what the driver says."""
    text = str(error.orig)
    if "locked" in text or "busy" in text:
        return Busy(f"{name} has been locked by another process for {WAIT:.0f} s: close what holds it open, then run again")
    if "readonly" in text or "unable to open" in text:
        return CannotWrite(f"{name} cannot be written: check its permissions and its folder's, or choose another with --db")
    if "full" in text or "disk I/O" in text:
        return DiskTrouble(f"writing {name} failed ({text}): free some space, then run again; what was committed is safe")
    if isinstance(error, OperationalError) and is_url(name):
        return Unavailable(f"the database does not answer: {text.splitlines()[0]}")
    return CorruptData(f"{name} is damaged ({text}); it was left as it is. Restore a backup or choose another with --db")


def _by_path(path: Path, *, write: bool) -> Engine:
    if path.is_dir():
        raise CannotWrite(f"{path} is a folder: --db wants a file")
    try:
        exists = path.exists() and path.stat().st_size > 0
        if exists:
            with path.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    raise CorruptData(f"{path} is no SQLite database; it was left as it is. Choose another file with --db")
        elif not write:
            raise Unavailable(f"there is no {path}: run `bench run` first, or name a database with --db")
    except PermissionError as error:
        raise CannotWrite(f"{path} cannot be read: {error.strerror}") from error
    folder = path.absolute().parent
    if write and (not folder.is_dir() or not os.access(folder, os.W_OK) or (exists and not os.access(path, os.W_OK))):
        raise CannotWrite(f"{path} cannot be written: {folder} is missing or read-only; choose another place with --db")
    mode = "rwc" if write else "ro"
    url = URL.create("sqlite", database=path.absolute().as_uri(), query={"mode": mode, "uri": "true"})
    engine = create_engine(url, connect_args={"timeout": WAIT})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin_immediate if write else _begin)
    return engine


def _by_url(name: str) -> Engine:
    if name.startswith("sqlite"):
        raise UsageError(f"--db: for SQLite name the file itself, without a URL, got {name!r}")
    try:
        return create_engine(name)
    except Exception as error:  # a malformed URL or a missing driver, each with an exception class of its own
        raise Unavailable(f"no database can be reached by that URL: {str(error).splitlines()[0]}") from error


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the driver would skip BEGIN before a change of the schema; we say it ourselves
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # a transaction that reads first and writes later would fail at once


def _schema(engine: Engine, name: str) -> int:
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        if not tables:
            return 0
        if not {"meta", "job", "result"} <= set(tables):
            raise CorruptData(f"{name} is a database, but not one of bench; it was left as it is. Choose another with --db")
        return _schema_in(connection)


def _schema_in(connection: Any) -> int:
    if not inspect(connection).get_table_names():
        return 0
    found = connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'schema'").scalar()
    if found is None or not str(found).isdecimal():
        raise CorruptData(f"the database does not say what it holds (schema {found!r}); it was left as it is")
    return int(found)
