"""Opening a database: SQLite in a file, or any other that SQLAlchemy reaches by URL.

A file is looked at before anything is written: what is damaged, foreign or newer than this program
stays untouched.
"""

import os
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
MIGRATING = 0x62656E6368  # the lock under which one process at a time changes a server's schema
WAIT = 30.0  # seconds to wait for another process's transaction
MAGIC = b"SQLite format 3\0"
# libpq's own settings: after how many seconds a server that vanished is asked whether it is there,
# and given up (milliseconds, for what was sent and never acknowledged). The system's defaults are
# two hours and a quarter of one.
PATIENCE = {
    "connect_timeout": "30",
    "keepalives_idle": "60",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "120000",
}


def is_url(name: str) -> bool:
    """Whether a name is a database URL rather than a file."""
    return "://" in name


def shown(name: str) -> str:
    """A database's name for people: a URL without its password, wherever that stands."""
    if not is_url(name):
        return name
    try:
        return (
            make_url(name)
            .difference_update_query(("password", "sslpassword"))
            .render_as_string(hide_password=True)
        )
    except (ArgumentError, ValueError):  # no URL, or a port that is no number
        return "the database"


def open_engine(name: str, *, write: bool) -> Engine:
    """An engine on a database with the current schema, created or upgraded if it is opened for writing.

    Raises:
        CorruptData: the file is damaged, no ledger, or written by a newer program.
        CannotWrite: it cannot be created or written. Unavailable: there is none to read.
            UsageError: a URL of SQLite.
    """
    engine = _by_url(name) if is_url(name) else _by_path(Path(name), write=write)
    file, name = Path(name), shown(name)
    try:
        try:
            version = _schema(engine, name)
        except OperationalError as error:
            if write or "readonly" not in str(error.orig):
                raise
            _roll_back(file)
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
                    else f"{name} is of an older bench (schema {version}): `bench db upgrade --db {name}` brings it up to date"
                )
            if version and engine.dialect.name == "sqlite":
                _keep_copy(engine, file, version)
            with engine.begin() as connection:
                if engine.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATING})")
                migrate(
                    connection, _schema_in(connection)
                )  # asked again under the lock: another process may have been first
    except DatabaseError as error:
        engine.dispose()
        raise explain(error, name) from error
    except (
        UnicodeDecodeError
    ) as error:  # the driver itself does not expect damage in a table's definition
        engine.dispose()
        raise CorruptData(f"{name} is damaged ({error}); it was left as it is") from error
    except BenchError:
        engine.dispose()
        raise
    return engine


def schema_of(name: str) -> int:
    """The schema of a database that exists.

    Raises:
        CorruptData, Unavailable: see `open_engine`.
    """
    engine = _by_url(name) if is_url(name) else _by_path(Path(name), write=False)
    try:
        return _schema(engine, shown(name))
    except DatabaseError as error:
        raise explain(error, name) from error
    finally:
        engine.dispose()


def explain(error: DatabaseError | sqlite3.Error, name: str) -> Exception:
    """The error that a user can act on for what the driver says."""
    text, name, server = str(getattr(error, "orig", error)), shown(name), is_url(name)
    if "locked" in text or "busy" in text:
        return Busy(
            f"{name} has been locked by another process for {WAIT:.0f} s: close what holds it open, then run again"
        )
    if "readonly" in text or "unable to open" in text:
        return CannotWrite(
            f"{name} cannot be written: check its permissions and its folder's, or choose another with --db"
        )
    if "full" in text or "disk I/O" in text:
        return DiskTrouble(
            f"writing {name} failed ({text}): free some space, then run again; what was committed is safe"
        )
    if isinstance(error, OperationalError) and server:
        return Unavailable(f"{name} does not answer: {text.splitlines()[0]}")
    return CorruptData(
        f"{name} is damaged ({text}); it was left as it is. Restore a backup or choose another with --db"
    )


@contextmanager
def telling_damage(name: str) -> Iterator[None]:
    """What cannot be read as a ledger wrote it is damage, whatever error it ends in.

    Raises:
        CorruptData: in place of such an error.
    """
    try:
        yield
    except (ValueError, TypeError, LookupError, ArithmeticError, zlib.error, struct.error) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise CorruptData(
            f"{shown(name)} holds what bench did not write ({reason}); it was left as it is"
        ) from error


def _by_path(path: Path, *, write: bool) -> Engine:
    if path.is_dir():
        raise CannotWrite(f"{path} is a folder: --db wants a file")
    try:
        exists = path.exists() and path.stat().st_size > 0
        if exists:
            with path.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    raise CorruptData(
                        f"{path} is no SQLite database; it was left as it is. Choose another file with --db"
                    )
        elif not write:
            raise Unavailable(
                f"there is no {path}: run `bench run` first, or name a database with --db"
            )
    except PermissionError as error:
        raise CannotWrite(f"{path} cannot be read: {error.strerror}") from error
    folder = path.absolute().parent
    if write and (
        not folder.is_dir()
        or not os.access(folder, os.W_OK)
        or (exists and not os.access(path, os.W_OK))
    ):
        raise CannotWrite(
            f"{path} cannot be written: {folder} is missing or read-only; choose another place with --db"
        )
    if write and (kind := network_file_system(folder)):
        raise CannotWrite(
            f"{path} lies on a network file system ({kind}), whose locks cannot be trusted: choose a local place with --db, "
            "run parts of the grid with --shard and bring them together with `bench db merge`, or give a PostgreSQL URL"
        )
    if write and not exists:
        path.touch(mode=0o600)  # results are their owner's
    mode = "rwc" if write else "ro"
    url = URL.create(
        "sqlite", database=path.absolute().as_uri(), query={"mode": mode, "uri": "true"}
    )
    engine = create_engine(url, connect_args={"timeout": WAIT}, hide_parameters=True)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin_immediate if write else _begin)
    return engine


NETWORK = ("nfs", "cifs", "smb", "afs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "fuse.sshfs", "fuse.s3fs",
           "fuse.gcsfuse", "fuse.rclone", "fuse.glusterfs", "pvfs2", "orangefs")  # fmt: skip


def network_file_system(folder: Path) -> str:
    """The kind of a network file system on which a folder lies; empty where it is none, or the system does not tell."""
    try:
        lines = MOUNTS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    mounts = {}  # mount point -> kind; what was mounted later lies on top
    for line in lines:
        left, _, right = line.partition(" - ")
        mounts[left.split()[4].replace("\\040", " ")] = right.split()[0]
    place = folder.resolve()
    kind = next((mounts[str(one)] for one in (place, *place.parents) if str(one) in mounts), "")
    return kind if kind.startswith(NETWORK) else ""


def _by_url(name: str) -> Engine:
    if name.startswith("sqlite"):
        raise UsageError(
            f"--db: for SQLite name the file itself, without a URL, got {shown(name)!r}"
        )
    try:
        url = make_url(name)
        if url.get_driver_name().startswith("psycopg"):
            url = url.set(query={**PATIENCE, **url.query})  # the user's own come first
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    except (
        Exception
    ) as error:  # a malformed URL or a missing driver, each with an exception class of its own
        forgotten = isinstance(
            error, ValueError
        )  # `@host`: what is taken for the port may be the password
        said = "what should be its port is no number" if forgotten else str(error).splitlines()[0]
        raise Unavailable(f"no database can be reached by that URL: {said}") from error


def _keep_copy(engine: Engine, path: Path, version: int) -> None:
    """A copy of a database as it was before its schema is changed; the first one is kept."""
    copy = path.with_name(f"{path.name}.schema-{version}")
    try:
        if not copy.exists():
            copy_to(engine, copy)
    except CannotWrite:
        if not copy.exists():  # else another process that starts at the same moment was faster
            raise


def copy_to(engine: Engine, path: Path) -> None:
    """A consistent copy of a SQLite database, also while others write to it: whole under its name, or not there.

    Raises:
        CannotWrite: there is a file of that name, or none can be made.
    """
    if path.exists():
        raise CannotWrite(f"{path} exists: choose another name")
    try:
        with atomic_write(path, overwrite=False) as draft:
            draft.touch(mode=0o600)  # SQLite takes an empty file
            outside_transactions(engine, "VACUUM INTO ?", str(draft))
    except (OSError, sqlite3.Error) as error:
        raise CannotWrite(f"cannot write {path}: {error}") from error


def outside_transactions(engine: Engine, statement: str, *values: str) -> None:
    """Run a statement that SQLite takes outside transactions only."""
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
    connection.isolation_level = (
        None  # the driver would skip BEGIN before a change of the schema; we say it ourselves
    )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(
        "PRAGMA synchronous = EXTRA"
    )  # FULL leaves unsynced that the journal is gone: a power cut may undo


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql(
        "BEGIN IMMEDIATE"
    )  # a transaction that reads first and writes later would fail at once


def _roll_back(path: Path) -> None:
    """Let SQLite take back what a process that was killed had begun to write, which a reader may not do.

    Raises:
        CannotWrite: nor may we.
    """
    try:
        connection = sqlite3.connect(path.absolute().as_uri() + "?mode=rw", uri=True, timeout=WAIT)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise CannotWrite(
            f"{path} was left in the middle of a write, which must be taken back before it can be read, and it cannot be "
            f"written ({error}): check its permissions and its folder's"
        ) from error


def _schema(engine: Engine, name: str) -> int:
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        if not tables:
            return 0
        if not {"meta", "job", "result"} <= set(tables):
            raise CorruptData(
                f"{name} is a database, but not one of bench; it was left as it is. Choose another with --db"
            )
        return _schema_in(connection)


def _schema_in(connection: Any) -> int:
    if not inspect(connection).get_table_names():
        return 0
    found = connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'schema'").scalar()
    if found is None or not str(found).isdecimal():
        raise CorruptData(
            f"the database does not say what it holds (schema {found!r}); it was left as it is"
        )
    return int(found)
