"""Processes of this machine, as tests look at them."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

WATCHDOG = 120.0  # seconds after which a test has hung: generous, since the machine may be busy


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition is true.

    Raises:
        TimeoutError: it never became true, so the test hangs.
    """
    deadline = time.monotonic() + WATCHDOG
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition did not hold within {WATCHDOG:.0f} s")
        time.sleep(0.02)


def is_running(process: int) -> bool:
    """Return whether a process runs; one that has ended and was not waited for does not."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def workers_of(parent: int) -> list[int]:
    """Return the ids of the worker processes of a run."""
    workers = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                parent_id = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent_id == parent and b"spawn_main" in (folder / "cmdline").read_bytes():
                    workers.append(int(folder.name))
    return workers


def wait_for_workers(parent: int, count: int) -> list[int]:
    """Wait until a run has some number of worker processes and return their ids."""
    workers: list[int] = []

    def enough() -> bool:
        workers[:] = workers_of(parent)
        return len(workers) >= count

    wait_until(enough)
    return workers
