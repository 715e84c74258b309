"""A whole run on the fake method, in a process that may be killed: `python -m tests.support.fake_run DB JOBS SLOTS ACKS`.

Writes a line to ACKS for every result once it is committed: what was acknowledged may never be
missing afterwards. The environment says how long a job takes (BENCH_FAKE_SECONDS), how many a pack
has (BENCH_FAKE_PLACES), and how long a locked ledger goes unmentioned (BENCH_FAKE_WAIT).
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.geometry import ALONE, Geometry
from harness.jobs import Job
from harness.ledger import Ledger, database
from harness.outcome import Outcome
from harness.scheduling import scheduler
from harness.scheduling.executors.base import SlotStatus
from harness.scheduling.executors.local import LocalExecutor
from harness.scheduling.progress import RunProgress
from harness.scheduling.signals import watch_signals
from harness.tasks import REGISTRY
from harness.training.ticket import Ticket
from tests.support import fake_training

LEFT = 3


class Acks:
    """A display that writes down what was committed."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def show(self, progress: RunProgress, where: Sequence[SlotStatus]) -> None:
        """Nothing to see."""

    def finished(self, job: Job, outcome: Outcome, _progress: RunProgress) -> None:
        """Acknowledge."""
        if outcome.status == "done":
            os.write(self._file, f"{job.digest}\n".encode())

    def note(self, text: str) -> None:
        """For whoever looks on."""
        print(text, flush=True)


def main(db: str, count: int, slots: int, acks: str) -> int:
    """Run so many jobs; 0 if all are done, LEFT if some were set aside, 130 after Ctrl-C."""
    jobs = [fake_training.job(number) for number in range(count)]
    task = REGISTRY["toy-sentiment"]
    places = int(os.environ.get("BENCH_FAKE_PLACES", "1"))
    shape = Geometry(places, 16, 16) if places > 1 else ALONE
    database.WAIT = float(os.environ.get("BENCH_FAKE_WAIT", database.WAIT))
    with Ledger(db, write=True) as ledger:
        ledger.add_jobs(jobs)
        ledger.begin("fake")
        ledger.release_dead_claims()
        states = ledger.states([job.digest for job in jobs])
        left = [job for job in jobs if states[job.digest] in ("planned", "claimed", "failed")]
        common = {"task": task, "keep": "none", "artefacts": Path(), "geometry": shape}
        tickets = {job.digest: Ticket(job=job, **common) for job in left}
        progress = RunProgress(total=count, ended_before=count - len(left))
        executor = LocalExecutor(["cpu"] * slots, work=fake_training.work)
        with watch_signals() as stop:
            scheduler.Scheduler(
                ledger, tickets, executor, Acks(acks), progress, stop, retry=("failed",)
            ).run()
        if stop.count:
            return stop.exit_code
        return 0 if set(ledger.states([job.digest for job in jobs]).values()) == {"done"} else LEFT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
