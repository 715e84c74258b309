"""Work in a worker that may take little more memory than it has, where a job's draw says so."""

import resource
from collections.abc import Sequence
from pathlib import Path

from harness.outcome import Outcome, Progress
from harness.training.job_run import Attempt
from harness.training.ticket import Ticket
from harness.training.worker import run_pack

ROOM = 8 << 20  # bytes above what is in use


def work(tickets: Sequence[Ticket], device: str, progress: Progress) -> list[Outcome]:
    """`run_pack`, and draw 1 in a narrow address space."""
    if tickets[0].job.rows.draw != 1:
        return run_pack(tickets, device, progress)
    from harness.training import loop, testing  # noqa: F401

    Attempt.of(tickets[0], device)  # libraries, rows and backbone are there before
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    try:
        return run_pack(tickets, device, progress)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
