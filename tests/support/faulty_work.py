"""Work for executors that goes wrong as the label of a job says. Workers import this module by name."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import DiskTrouble
from harness.outcome import Outcome, ProgressCallback
from harness.training.ticket import Ticket
from tests.support.processes import wait_until


def work(tickets: Sequence[Ticket], device: str, progress: ProgressCallback) -> list[Outcome]:
    """Do what `run_pack` would do, without training."""
    return [_run(ticket, device, progress) for ticket in tickets]


def _run(ticket: Ticket, device: str, progress: ProgressCallback) -> Outcome:
    job = ticket.job
    progress(job.digest, 1, 2, "training")
    FAULTS.get(job.label, _nothing)()
    progress(job.digest, 2, 2, "testing")
    error = (lambda: None) if job.label == "unpicklable" else ""
    place = _environment() if job.label == "environment" else f"{device} {os.getpid()}"
    return Outcome(
        digest=job.digest,
        status="done",
        score=0.5,
        best_step=1,
        device=place,
        error=error,
    )  # type: ignore[arg-type]


def _environment() -> str:
    """Return what this worker was started with, as JSON."""
    preloaded = "torch" in sys.modules
    import torch

    variables = dict(os.environ)
    return json.dumps(
        {"variables": variables, "threads": torch.get_num_threads(), "preloaded": preloaded}
    )


def _nothing() -> None:
    return None


def _raise() -> None:
    raise RuntimeError("out of luck, half a character: \ud800")


def _fill_the_disk() -> None:
    raise DiskTrouble("no space")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _meet() -> None:
    """Wait for another worker to come to the same folder."""
    folder = Path(os.environ["BENCH_MEETING"])
    (folder / str(os.getpid())).touch()
    wait_until(lambda: len(list(folder.iterdir())) >= 2)


FAULTS: dict[str, Callable[[], object]] = {
    "raise": _raise,
    "full disk": _fill_the_disk,
    "exit": lambda: sys.exit(3),
    "vanish": lambda: os._exit(3),
    "die": _die,
    "meet": _meet,
    "sleep": lambda: time.sleep(2),
    "for ever": lambda: time.sleep(600),
}
