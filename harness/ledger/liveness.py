"""Whether a `bench run` is still alive: it holds the lock of a file of its own for as long as it lives.

An operating system's lock goes with its process, whatever ends it, so neither clocks nor process numbers are asked.
"""

import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO


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
            with suppress(FileNotFoundError):  # the run that was last in the folder has just taken it away
                if lock.take() and lock.path.exists():  # and not cleared away between its making and its locking
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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


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
