"""What the server imports from which workers are forked; only the server imports this module.

A worker then has only the code of its backbone's family left to import.
"""

import sys
from contextlib import suppress
from types import TracebackType

# If an import fails, each worker tries it again and its jobs fail with the reason.
with suppress(Exception):
    import harness.training.jobs.job_run  # noqa: F401


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error of the server, unless the command broke off the start of a worker, which it reports itself."""
    if not issubclass(kind, (EOFError, OSError)):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _report
