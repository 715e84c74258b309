"""Work for executors that goes wrong as a job's label says. A module of its own, since workers import it by name."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from harness.errors import DiskTrouble
from harness.outcome import Outcome, Progress
from harness.training.ticket import Ticket


def work(tickets: Sequence[Ticket], device: str, progress: Progress) -> list[Outcome]:
    """What `run_pack` would do, without training."""
    return [_one(ticket, device, progress) for ticket in tickets]


def _one(ticket: Ticket, device: str, progress: Progress) -> Outcome:
    job = ticket.job
    progress(job.digest, 1, 2, "training")
    FAULTS.get(job.label, _nothing)()
    progress(job.digest, 2, 2, "testing")
    error = (
        (lambda: None) if job.label == "unpicklable" else ""
    )  # no function without a name can travel
    return Outcome(
        digest=job.digest,
        status="done",
        score=0.5,
        best_step=1,
        device=f"{device} {os.getpid()}",
        error=error,
    )  # type: ignore[arg-type]


def _nothing() -> None:
    return None


def _raise() -> None:
    raise RuntimeError("out of luck, half a character: \ud800")


def _fill_the_disk() -> None:
    raise DiskTrouble("no space")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


FAULTS: dict[str, Callable[[], object]] = {
    "raise": _raise,
    "full disk": _fill_the_disk,
    "exit": lambda: sys.exit(3),
    "vanish": lambda: os._exit(3),
    "die": _die,
    "sleep": lambda: time.sleep(2),
    "for ever": lambda: time.sleep(600),
}
