"""Whether a `bench run` is still alive: it holds a lock for as long as it lives, of a file of its own or of the server's.

An operating system's lock goes with its process, whatever ends it, and a server's with the
connection that took it, so neither clocks nor process numbers are asked.
"""

import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import IO

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from harness.errors import Busy


class Lock:
    """A file's exclusive lock, taken at once or not at all. Usable in a `with` block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    @classmethod
    def new(cls, folder: Path) -> "Lock":
        """A lock under a name that nobody else has, held."""
        for left in folder.glob("*.lock"):
            alive(left)  # which clears away what a killed run left
        while True:
            folder.mkdir(mode=0o700, exist_ok=True)
            lock = cls(folder / f"{secrets.token_hex(8)}.lock")
            with suppress(
                FileNotFoundError
            ):  # the run that was last in the folder has just taken it away
                if (
                    lock.take() and lock.path.exists()
                ):  # and not cleared away between its making and its locking
                    return lock

    def take(self) -> bool:
        """Whether the lock could be had."""
        self._file = self.path.open("ab")
        try:
            _lock(self._file)
        except OSError:
            self._file.close()
            self._file = None
            return False
        return True

    def release(self) -> None:
        """Give the lock back and remove its file, and its folder if it was the last there."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None
            with suppress(OSError):
                self.path.parent.rmdir()

    def __enter__(self) -> "Lock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class ServerLock:
    """An advisory lock of PostgreSQL under a run's number, held by a connection of its own."""

    SPACE = 0x62656E63  # of numbers that this program locks
    # Seconds after which the server asks a silent host whether it is there, and again, and how
    # often before it gives the lock away: two minutes together. The system's own are two hours. It
    # is the server that must notice, so libpq's would not help.
    PROBES = text("""
        SELECT set_config('tcp_keepalives_' || name, value, false)
        FROM (VALUES ('idle', '60'), ('interval', '10'), ('count', '6')) AS probes (name, value)
    """)

    def __init__(self, engine: Engine, number: int) -> None:
        self._number = number
        self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._connection.execute(self.PROBES)
        wanted = text("SELECT pg_try_advisory_lock(:space, :number)")
        for _ in range(50):
            if self._connection.execute(wanted, {"space": self.SPACE, "number": number}).scalar():
                return
            sleep(
                0.2
            )  # the server has not noticed yet that an earlier connection of this run is gone
        self.release()
        raise Busy(f"another connection holds the lock of run {number}")

    def lives(self) -> bool:
        """Whether the connection is still there, and the lock with it: a server that starts again forgets both."""
        wanted = """
            SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = :space AND objid = :number AND granted
            AND pid = pg_backend_pid() AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """
        try:
            return bool(
                self._connection.execute(
                    text(wanted), {"space": self.SPACE, "number": self._number}
                ).scalar()
            )
        except SQLAlchemyError:  # broken, or closed when it could not be taken again
            return False

    def release(self) -> None:
        """Give the lock back, with the connection."""
        if self._connection.closed:
            return
        # closed for good: one that went back to the pool would keep its locks
        self._connection.invalidate()
        self._connection.close()

    @classmethod
    def held(cls, connection: Connection) -> set[int]:
        """The numbers of the runs that live."""
        wanted = """
            SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = :space AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """
        return {
            int(number)
            for number in connection.execute(text(wanted), {"space": cls.SPACE}).scalars()
        }


def alive(path: Path) -> bool:
    """Whether some process holds the lock of that file."""
    if not path.exists():
        return False
    probe = Lock(path)
    if probe.take():
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
