"""Whether a run is alive: it holds a lock until its process ends.

For a SQLite ledger, the lock is that of a file beside it. The operating system releases it when the
process ends, even if it is killed. For PostgreSQL, it is an advisory lock, which the server releases
when the connection ends. So this program compares no clocks and no process ids.
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
        """Create a file with an unused name in a folder, take its lock and return it."""
        for path in folder.glob("*.lock"):
            is_locked(path)  # called because it removes the files of killed runs
        while True:
            folder.mkdir(mode=0o700, exist_ok=True)
            lock = cls(folder / f"{secrets.token_hex(8)}.lock")
            # Another run may remove the empty folder before the file is created.
            with suppress(FileNotFoundError):
                # Another run may remove the file before this run has locked it.
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
        """Release the lock. Remove its file, and then the folder if it is empty."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None
            with suppress(OSError):
                self.path.parent.rmdir()


class ServerLock:
    """A PostgreSQL advisory lock for the id of a run. It has a connection of its own, which holds it.

    Raises:
        Busy: another connection holds the lock.
    """

    SPACE = 0x62656E63  # first half of the key of every lock of this program
    # How the server detects within two minutes that the host of a run is lost, so that it releases the
    # lock: seconds of silence before its first probe, seconds between probes, and number of probes.
    # With the defaults of the system it needs two hours. libpq's settings act on the run's side only.
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
            # An earlier connection of this run broke, and the server has not detected it yet.
            sleep(0.2)
        self.release()
        raise Busy(f"another connection holds the lock of run {run}")

    def is_held(self) -> bool:
        """Return whether the connection still holds the lock. A restart of the server ends both."""
        try:
            return bool(self._connection.execute(self.HELD, self._key).scalar())
        except SQLAlchemyError:  # the connection is broken, or closed by `release`
            return False

    def release(self) -> None:
        """Release the lock and close its connection."""
        if self._connection.closed:
            return
        # Without this, the connection would return to the pool and keep its locks.
        self._connection.invalidate()
        self._connection.close()

    @classmethod
    def live_runs(cls, connection: Connection) -> set[int]:
        """Return the ids of the runs that are alive."""
        return {
            int(run) for run in connection.execute(cls.LIVE_RUNS, {"space": cls.SPACE}).scalars()
        }


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of a file. If none does, remove the file."""
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
