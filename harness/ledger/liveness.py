"""Whether a `bench run` is alive: it holds a lock for as long as its process lives.

The lock is that of a file beside a SQLite ledger, or an advisory lock of a PostgreSQL server. An
operating system releases a file's lock when its process ends, whatever ends it, and a server
releases its lock with the connection. So neither clocks nor process ids are needed.
"""

import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import IO

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from harness.errors import Busy


class FileLock:
    """The exclusive lock of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    @classmethod
    def create(cls, folder: Path) -> "FileLock":
        """Create a file with an unused name in a folder and return its lock, held."""
        for path in folder.glob("*.lock"):
            is_locked(path)  # removes the files of killed runs
        while True:
            folder.mkdir(mode=0o700, exist_ok=True)
            lock = cls(folder / f"{secrets.token_hex(8)}.lock")
            # The last run in the folder may remove the folder now.
            with suppress(FileNotFoundError):
                # Another run may remove the file before it is locked.
                if lock.acquire() and lock.path.exists():
                    return lock

    def acquire(self) -> bool:
        """Take the lock without waiting and return whether that succeeded."""
        self._file = self.path.open("ab")
        try:
            _lock(self._file)
        except OSError:
            self._file.close()
            self._file = None
            return False
        return True

    def release(self) -> None:
        """Release the lock; remove its file, and the folder if it is empty then."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None
            with suppress(OSError):
                self.path.parent.rmdir()


class ServerLock:
    """A PostgreSQL advisory lock with the id of a run, held by a connection of its own.

    Raises:
        Busy: another connection holds the lock.
    """

    SPACE = 0x62656E63  # first half of the key of every lock of this program
    # Seconds after which the server probes a silent host, seconds between probes, and number of
    # probes before it releases the lock: two minutes together. The defaults of the system amount to
    # two hours. The server must notice, so libpq's own settings would not help.
    PROBES = text("""
        SELECT set_config('tcp_keepalives_' || name, value, false)
        FROM (VALUES ('idle', '60'), ('interval', '10'), ('count', '6')) AS probes (name, value)
    """)
    ACQUIRE = text("SELECT pg_try_advisory_lock(:space, :run)")
    HELD = text("""
        SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = :space AND objid = :run AND granted
        AND pid = pg_backend_pid() AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """)
    LIVE_RUNS = text("""
        SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = :space AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """)

    def __init__(self, engine: Engine, run: int) -> None:
        self._key = {"space": self.SPACE, "run": run}
        self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._connection.execute(self.PROBES)
        for _ in range(50):
            if self._connection.execute(self.ACQUIRE, self._key).scalar():
                return
            # The server has not noticed yet that an earlier connection of this run broke.
            sleep(0.2)
        self.release()
        raise Busy(f"another connection holds the lock of run {run}")

    def is_held(self) -> bool:
        """Return whether the connection still holds the lock; a server that restarts loses both."""
        try:
            return bool(self._connection.execute(self.HELD, self._key).scalar())
        except SQLAlchemyError:  # the connection is broken, or closed since it could not be renewed
            return False

    def release(self) -> None:
        """Release the lock and close its connection."""
        if self._connection.closed:
            return
        # A connection that is returned to the pool would keep its locks.
        self._connection.invalidate()
        self._connection.close()

    @classmethod
    def live_runs(cls, connection: Connection) -> set[int]:
        """Return the ids of the runs that are alive."""
        return {
            int(run) for run in connection.execute(cls.LIVE_RUNS, {"space": cls.SPACE}).scalars()
        }


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of a file; remove the file otherwise."""
    if not path.exists():
        return False
    probe = FileLock(path)
    if probe.acquire():
        probe.release()
        return False
    return True


def _lock(file: IO[bytes]) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.set_inheritable(file.fileno(), False)
