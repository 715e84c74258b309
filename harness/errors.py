"""Exit codes, and the errors that a user can fix: the command prints their text without a traceback."""

import errno
from enum import IntEnum

# What a system reports of a full or broken disk.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


class ExitCode(IntEnum):
    """How a command ended; one code for each kind of outcome, those from 64 on as in BSD's sysexits.h."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> "ExitCode":
        """Make a code with its meaning for people."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    SUCCESS = 0, "success"
    NEGATIVE = (
        1,
        "the command worked and its answer is negative (failed jobs, a finding, a difference)",
    )
    USAGE = 2, "the request is wrong"
    CORRUPT = 65, "a database or file is damaged"
    UNAVAILABLE = 69, "the Hub, a model, a dataset, a database or a device is not available"
    BUG = 70, "an error in bench itself"
    CANNOT_WRITE = 73, "a file cannot be written"
    DISK = 74, "the disk is full or broken"
    BUSY = 75, "the database is locked"
    INTERRUPTED = 130, "stopped by Ctrl-C"
    TERMINATED = 143, "stopped by a batch system"


class BenchError(Exception):
    """Anything that the user can fix. The text says what is wrong and what to do."""

    exit_code = ExitCode.BUG  # each subclass has its own


class UsageError(BenchError):
    """The request is wrong; every problem is in `problems`."""

    exit_code = ExitCode.USAGE

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class CorruptData(BenchError):
    """A database or a file is damaged or is not what it should be. It was not touched."""

    exit_code = ExitCode.CORRUPT


class Unavailable(BenchError):
    """The Hub, a model, a dataset or a device cannot be reached."""

    exit_code = ExitCode.UNAVAILABLE


class CannotWrite(BenchError):
    """A file or folder cannot be written."""

    exit_code = ExitCode.CANNOT_WRITE


class DiskTrouble(BenchError):
    """Writing failed midway: a full disk, an input/output error. What was committed before is safe."""

    exit_code = ExitCode.DISK


class Busy(BenchError):
    """The database stays locked by another process."""

    exit_code = ExitCode.BUSY
