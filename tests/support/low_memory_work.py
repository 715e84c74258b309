"""Work in a worker whose address space is limited for one draw. Workers import this module by name."""

import resource
from collections.abc import Sequence
from pathlib import Path

from harness.outcome import Outcome, ProgressCallback
from harness.training.jobs.job_run import JobRun
from harness.training.jobs.worker import run_pack
from harness.training.ticket import Ticket

FREE_BYTES = 8 << 20  # that the limited job may allocate
LIMITED_DRAW = 1


def work(tickets: Sequence[Ticket], device: str, progress: ProgressCallback) -> list[Outcome]:
    """Run `run_pack`; the limited draw may allocate only a few bytes more than are in use."""
    if tickets[0].job.draw.number != LIMITED_DRAW:
        return run_pack(tickets, device, progress)
    from harness.training import loop, testing  # noqa: F401  # imported before the limit applies

    JobRun.prepare(tickets[0], device)  # so are the rows and the backbone
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + FREE_BYTES, limits[1]))
    try:
        return run_pack(tickets, device, progress)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
