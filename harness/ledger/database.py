"""Opening a database: SQLite by the name of its file, or PostgreSQL by URL.

A file is checked before it is changed. A damaged file, a file of another program, and a ledger of a
newer version stay unchanged.
"""

import os
import shlex
import sqlite3
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from harness.atomic_write import atomic_write
from harness.errors import (
    BenchError,
    Busy,
    CannotWrite,
    CorruptData,
    DiskTrouble,
    Unavailable,
    UsageError,
)
from harness.ledger.migrations import CURRENT, migrate

MOUNTS = Path("/proc/self/mountinfo")
MIGRATION_LOCK = 0x62656E6368  # lets one process at a time change the schema of a server
LOCK_TIMEOUT = 30.0  # seconds to wait for the transaction of another process
SQLITE_HEADER = b"SQLite format 3\0"
# Settings of libpq with which it detects a lost server within two minutes. With the defaults of the
# system it needs two hours, or 15 minutes while it sends. Times are in seconds, the last one in
# milliseconds.
KEEPALIVE = {
    "connect_timeout": "30",
    "keepalives_idle": "60",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "120000",
}
NETWORK_FILE_SYSTEMS = (
    "nfs", "cifs", "smb", "afs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "pvfs2", "orangefs", "fuse.sshfs",
    "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.glusterfs",
)  # fmt: skip


def is_url(name: str) -> bool:
    """Return whether a name is a database URL and not a file."""
    return "://" in name


def display_name(name: str) -> str:
    """Return the name of a database for messages: the password is removed from a URL."""
    if not is_url(name):
        return name
    if _is_ambiguous(name):  # the parser would take a part of the password for the host
        return f"{name.partition('://')[0]}://..."
    try:
        return (
            make_url(name)
            .difference_update_query(("password", "sslpassword"))
            .render_as_string(hide_password=True)
        )
    except (ArgumentError, ValueError):  # not a URL, or its port is not a number
        return "the database"


def _is_ambiguous(url: str) -> bool:
    """Return whether characters of a password, which are not percent-encoded, end the user's part of a URL."""
    rest = url.partition("://")[2].partition("?")[0]
    return rest.count("@") > 1 or ("@" in rest and bool(set(rest.partition("@")[0]) & set("/#")))


def open_engine(name: str, *, write: bool) -> Engine:
    """Open a database with the current schema.

    Args:
        name: a file, or a database URL.
        write: whether to create or upgrade it.

    Raises:
        CorruptData: the file is damaged, is not a ledger, or was written by a newer program.
        CannotWrite: it cannot be created or written.
        Unavailable: the database has no results to read, or the server does not answer.
        Busy: another process has locked the database for too long.
        UsageError: the URL is for SQLite.
    """
    engine = _open_url(name, write=write) if is_url(name) else _open_file(Path(name), write=write)
    try:
        _prepare_schema(engine, name, write=write)
    except DatabaseError as error:
        engine.dispose()
        raise user_error(error, name) from error
    except UnicodeDecodeError as error:  # from the driver: the definition of a table is damaged
        engine.dispose()
        raise CorruptData(
            f"{display_name(name)} is damaged ({error}); it was not changed"
        ) from error
    except BenchError:
        engine.dispose()
        raise
    return engine


def _prepare_schema(engine: Engine, name: str, *, write: bool) -> None:
    """Check the version of the schema and, for writing, create or upgrade it."""
    shown = display_name(name)
    try:
        version = _checked_version(engine, shown)
    except OperationalError as error:
        if write or "readonly" not in str(error.orig):
            raise
        _roll_back(Path(name))
        version = _checked_version(engine, shown)
    if version > CURRENT:
        raise CorruptData(
            f"{shown} was written by a newer bench (schema {version}; this one reads up to {CURRENT}): upgrade bench"
        )
    if version == CURRENT:
        return
    if not write and version == 0:
        raise Unavailable(f"{shown} holds no results yet: run `bench run` first")
    if not write:
        raise Unavailable(
            f"{shown} was written by an older bench (schema {version}): "
            f"run `bench db upgrade --db {shlex.quote(shown)}`"
        )
    if version and engine.dialect.name == "sqlite":
        _back_up(engine, Path(name), version)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        # Read the version again under the lock: another process may have upgraded the database before.
        migrate(connection, _schema_version(connection))


def schema_of(name: str) -> int:
    """Return the schema version of an existing database.

    Raises:
        CorruptData, Unavailable: see `open_engine`.
    """
    engine = _open_url(name, write=False) if is_url(name) else _open_file(Path(name), write=False)
    try:
        return _checked_version(engine, display_name(name))
    except DatabaseError as error:
        raise user_error(error, name) from error
    finally:
        engine.dispose()


def user_error(error: DatabaseError | sqlite3.Error, name: str) -> BenchError:
    """Turn an error of the database driver into one that a user can act on."""
    text, shown = str(getattr(error, "orig", error)), display_name(name)
    if "locked" in text or "busy" in text:
        return Busy(
            f"{shown} has been locked by another process for {LOCK_TIMEOUT:.0f} s: end that process, then run again"
        )
    if "readonly" in text or "unable to open" in text:
        return CannotWrite(
            f"{shown} cannot be written: check its permissions and those of its folder, or choose another with --db"
        )
    if "full" in text or "disk I/O" in text:
        return DiskTrouble(
            f"writing {shown} failed ({text}): free some space, then run again; committed results are safe"
        )
    if isinstance(error, OperationalError) and is_url(name):
        return Unavailable(f"{shown} does not answer: {text.splitlines()[0]}")
    return CorruptData(
        f"{shown} is damaged ({text}); it was not changed. Restore a backup or choose another with --db"
    )


@contextmanager
def damage_errors(name: str) -> Iterator[None]:
    """Inside the block, turn errors from unexpected values in a ledger into `CorruptData`.

    Raises:
        CorruptData: the ledger holds values that this program did not write.
    """
    try:
        yield
    except (ValueError, TypeError, LookupError, ArithmeticError, zlib.error, struct.error) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise CorruptData(
            f"{display_name(name)} holds values that bench did not write ({reason}); it was not changed"
        ) from error


def _open_file(path: Path, *, write: bool) -> Engine:
    exists = check_file(path, write=write)
    if write and not exists:
        path.touch(mode=0o600)  # only the owner may read the results
    url = URL.create(
        "sqlite",
        database=path.absolute().as_uri(),
        query={"mode": "rwc" if write else "ro", "uri": "true"},
    )
    engine = create_engine(url, connect_args={"timeout": LOCK_TIMEOUT}, hide_parameters=True)
    event.listen(engine, "connect", _configure)
    # Take the write lock first: a transaction that reads before it writes fails at once if another one
    # is writing.
    begin = "BEGIN IMMEDIATE" if write else "BEGIN"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def check_file(path: Path, *, write: bool) -> bool:
    """Check that a file can be opened as a SQLite database, and return whether it has any content.

    Raises:
        CorruptData: it is not a SQLite database.
        CannotWrite: it cannot be read or, if `write` is True, written.
        Unavailable: it does not exist, and `write` is False.
    """
    if path.is_dir():
        raise CannotWrite(f"{path} is a folder: --db requires a file")
    try:
        exists = path.exists() and path.stat().st_size > 0
        if exists:
            with path.open("rb") as file:
                header = file.read(len(SQLITE_HEADER))
    except PermissionError as error:
        raise CannotWrite(f"{path} cannot be read: {error.strerror}") from error
    if exists and header != SQLITE_HEADER:
        raise CorruptData(
            f"{path} is not an SQLite database; it was not changed. Choose another file with --db"
        )
    if not write:
        if not exists:
            raise Unavailable(
                f"{path} does not exist: run `bench run` first, or name a database with --db"
            )
        return exists
    folder = path.absolute().parent
    writable = folder.is_dir() and os.access(folder, os.W_OK)
    if not writable or (exists and not os.access(path, os.W_OK)):
        raise CannotWrite(
            f"{path} cannot be written: it or {folder} is missing or read-only; choose another place with --db"
        )
    if kind := network_file_system(folder):
        raise CannotWrite(
            f"{path} is on a network file system ({kind}), whose locks are not reliable: choose a local place with "
            "--db, run parts of the grid with --shard and combine them with `bench db merge`, or give a PostgreSQL URL"
        )
    return exists


def network_file_system(folder: Path) -> str:
    """Return the kind of the network file system that holds a folder; empty if it is local or unknown."""
    try:
        lines = MOUNTS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    kinds = {}  # by mount point: a later line replaces an earlier one, as a later mount does
    for line in lines:
        left, _, right = line.partition(" - ")
        kinds[left.split()[4].replace("\\040", " ")] = right.split()[0]
    folder = folder.resolve()
    parents = map(str, (folder, *folder.parents))
    kind = next((kinds[parent] for parent in parents if parent in kinds), "")
    return kind if kind.startswith(NETWORK_FILE_SYSTEMS) else ""


def _open_url(name: str, *, write: bool) -> Engine:
    if name.startswith("sqlite"):
        raise UsageError(
            f"--db: for SQLite, name the file itself, not a URL; got {display_name(name)!r}"
        )
    if _is_ambiguous(name):
        raise Unavailable(
            "this URL is ambiguous: percent-encode @, / and # in the password (%40, %2F, %23)"
        )
    scheme = name.partition("://")[0]
    if scheme.isalnum() and scheme != "postgresql":
        raise Unavailable(
            f"{scheme}:// leads to no database of results: name a file, or write postgresql+psycopg://"
        )
    try:
        url = make_url(name)
        if url.get_driver_name().startswith("psycopg"):
            url = url.set(query={**KEEPALIVE, **url.query})  # the user's values take precedence
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True)
        # All statements of a reader's transaction see one state, whatever other processes commit meanwhile.
        return engine if write else engine.execution_options(isolation_level="REPEATABLE READ")
    except Exception as error:  # a malformed URL or a missing driver raises errors of many classes
        # Do not show the port: in a URL without "@host", the parser takes the password for the port.
        reason = (
            "its port is not a number"
            if isinstance(error, ValueError)
            else str(error).splitlines()[0]
        )
        raise Unavailable(f"this URL leads to no database: {reason}") from error


def _back_up(engine: Engine, path: Path, version: int) -> None:
    """Copy a database before its schema is changed, unless a copy with this version exists."""
    copy = path.with_name(f"{path.name}.schema-{version}")
    try:
        if not copy.exists():
            copy_to(engine, copy)
    except CannotWrite:
        if not copy.exists():  # if it exists now, another process has made the copy
            raise


def copy_to(engine: Engine, path: Path) -> None:
    """Write a consistent copy of a SQLite database. Other processes may write to it at the same time.

    Raises:
        CannotWrite: the file exists or cannot be written.
    """
    if path.exists():
        raise CannotWrite(f"{path} exists: choose another name")
    try:
        with atomic_write(path, overwrite=False) as draft:
            draft.touch(mode=0o600)  # SQLite accepts an empty file
            execute_outside_transaction(engine, "VACUUM INTO ?", str(draft))
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error  # SQLite's errors have none
        raise CannotWrite(f"cannot write {path}: {reason}") from error


def execute_outside_transaction(engine: Engine, statement: str, *values: str) -> None:
    """Run a statement that SQLite accepts only outside a transaction, with values for its parameters.

    Raises:
        Busy: another process is using the database.
    """
    connection = engine.raw_connection()
    try:
        connection.cursor().execute(statement, values)
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise Busy(
                f"another process is using the database ({error}): try again when it has ended"
            ) from error
        raise
    finally:
        connection.close()


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver then begins no transaction itself: by default it begins none before a change of the schema.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    # Not FULL: it does not sync the removal of the journal, so a power cut could undo a commit.
    connection.execute("PRAGMA synchronous = EXTRA")


def _roll_back(path: Path) -> None:
    """Let SQLite undo the unfinished write of a killed process.

    Raises:
        CannotWrite: the file cannot be written.
    """
    try:
        connection = sqlite3.connect(
            path.absolute().as_uri() + "?mode=rw", uri=True, timeout=LOCK_TIMEOUT
        )
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise CannotWrite(
            f"{path} holds an unfinished write, which must be undone before it can be read, but it cannot be written "
            f"({error}): check its permissions and those of its folder"
        ) from error


def _checked_version(engine: Engine, name: str) -> int:
    """Return the schema version of a database; 0 if it is empty.

    Raises:
        CorruptData: it is not a ledger.
    """
    with engine.connect() as connection:
        tables = set(inspect(connection).get_table_names())
        if tables and not {"meta", "job", "result"} <= tables:
            raise CorruptData(
                f"{name} is a database of another program; it was not changed. Choose another with --db"
            )
        return _schema_version(connection)


def _schema_version(connection: Any) -> int:
    if not inspect(connection).get_table_names():
        return 0
    version = connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'schema'").scalar()
    if version is None or not str(version).isdecimal():
        raise CorruptData(
            f"the database does not name its schema version (found {version!r}); it was not changed"
        )
    return int(version)
