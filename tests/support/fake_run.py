"""A whole run of `fake_training` in a process that a test may kill.

    python -m tests.support.fake_run DB JOBS WORKERS ACKS

It writes the digest of every result to ACKS once the result is committed: what was acknowledged may
never be missing afterwards. Environment variables set how long a job takes (BENCH_FAKE_SECONDS), the
size of packs (BENCH_FAKE_PACK_SIZE), and for how long a locked ledger is not mentioned
(BENCH_FAKE_LOCK_TIMEOUT).
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.geometry import Geometry
from harness.jobs import Job
from harness.ledger import Ledger, database
from harness.outcome import Outcome
from harness.scheduling import scheduler
from harness.scheduling.executors.base import WorkerStatus
from harness.scheduling.executors.local import LocalExecutor
from harness.scheduling.progress import RunProgress
from harness.scheduling.signals import watch_signals
from harness.tasks import REGISTRY
from harness.training.ticket import Ticket
from tests.support import fake_training

ROOT = Path(__file__).resolve().parents[2]
JOBS_LEFT = 3  # exit code: some jobs failed


def command(db: object, jobs: int, workers: int, acks: object) -> list[str]:
    """Return the command line of a run."""
    return [sys.executable, "-m", "tests.support.fake_run", *map(str, (db, jobs, workers, acks))]


def start(
    db: object, jobs: int, workers: int, acks: object, *, seconds: float = 0.02, **variables: str
) -> subprocess.Popen[str]:
    """Start a run in a session of its own.

    Args:
        db: the ledger.
        jobs: number of jobs.
        workers: number of worker processes.
        acks: file of acknowledged digests.
        seconds: that a job takes.
        variables: further environment variables.
    """
    env = os.environ | {"BENCH_FAKE_SECONDS": str(seconds)} | variables
    return subprocess.Popen(
        command(db, jobs, workers, acks),
        cwd=ROOT,
        env=env,
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )


class AcknowledgingDisplay:
    """A display that writes down which results were committed."""

    def __init__(self, path: object) -> None:
        self._file = os.open(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def show(self, progress: RunProgress, workers: Sequence[WorkerStatus]) -> None:
        """Show nothing."""

    def finished(self, job: Job, outcome: Outcome, progress: RunProgress) -> None:  # noqa: ARG002  # of the protocol
        """Acknowledge a result."""
        if outcome.status == "done":
            os.write(self._file, f"{job.digest}\n".encode())

    def note(self, text: str) -> None:
        """Print a message for the test that started the run."""
        print(text, flush=True)


def main(db: str, count: int, workers: int, acks: str) -> int:
    """Run `count` jobs and return 0 if all are done, JOBS_LEFT if some failed, 130 after Ctrl-C."""
    jobs = [fake_training.job(number) for number in range(count)]
    digests = [job.digest for job in jobs]
    pack_size = int(os.environ.get("BENCH_FAKE_PACK_SIZE", "1"))
    geometry = Geometry(pack_size, 16, 16) if pack_size > 1 else Geometry()
    database.LOCK_TIMEOUT = float(os.environ.get("BENCH_FAKE_LOCK_TIMEOUT", database.LOCK_TIMEOUT))
    with Ledger(db, write=True) as ledger:
        ledger.add_jobs(jobs)
        ledger.begin("fake")
        ledger.release_dead_claims()
        states = ledger.states(digests)
        tickets = {
            job.digest: Ticket(
                job=job,
                task=REGISTRY["toy-sentiment"],
                keep="none",
                artefacts=Path(),
                geometry=geometry,
            )
            for job in jobs
            if states[job.digest] in ("planned", "claimed", "failed")
        }
        executor = LocalExecutor(["cpu"] * workers, work=fake_training.work)
        display = AcknowledgingDisplay(acks)
        progress = RunProgress(total=count, ended_before=count - len(tickets))
        with watch_signals() as stop:
            scheduler.Scheduler(
                ledger, tickets, executor, display, progress, stop, retry=("failed",)
            ).run()
        if stop.count:
            return stop.exit_code
        return 0 if set(ledger.states(digests).values()) == {"done"} else JOBS_LEFT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
