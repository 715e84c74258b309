"""Errors that a user can mend; the command prints their text without a traceback and ends with their exit code."""

import errno

FULL = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
)  # what a system says of a disk that is full or broken


class BenchError(Exception):
    """Anything the user can mend. The text says what is wrong and what to do."""

    exit_code = 1


class UsageError(BenchError):
    """The request is wrong; every problem found is in `problems`."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class CorruptData(BenchError):
    """A database or a file is damaged or is not what it should be. It was not touched."""

    exit_code = 65


class Unavailable(BenchError):
    """The Hub, a model, a dataset or a device is out of reach."""

    exit_code = 69


class CannotWrite(BenchError):
    """A file or folder cannot be written."""

    exit_code = 73


class DiskTrouble(BenchError):
    """Writing failed midway: a full disk, an input/output error. What was committed before is safe."""

    exit_code = 74


class Busy(BenchError):
    """The database stays locked by another process."""

    exit_code = 75
