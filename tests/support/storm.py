"""A storm over whole runs: workers are killed at random moments, and now and then everything at once.

    python -m tests.support.storm --minutes 30         # fake jobs, thousands of them
    python -m tests.support.storm --minutes 6 --real   # real jobs of the tiny backbone

With --real, the results are compared with those of a calm run. Prints how many workers were killed,
how many attempts were made and how many results there are, and fails if an invariant of
`check_ledger` does not hold.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.wording import plural
from tests.support.fake_run import JOBS_LEFT, ROOT
from tests.support.fake_run import start as start_fake_run
from tests.support.fake_training import metrics_of
from tests.support.ledger_invariants import Counts, check_ledger
from tests.support.processes import workers_of

BATCH = 300  # jobs that a storm adds when all are done


@dataclass
class Storm:
    """Kills workers and runs, and counts them."""

    kills: int = 0  # of single workers
    wipes: int = 0  # of a run with all its workers
    starts: int = 0
    exit_codes: tuple[int, ...] = (0, JOBS_LEFT)  # of a run that ends by itself

    def disturb(
        self,
        start: Callable[[], "subprocess.Popen[Any]"],
        is_over: Callable[["Storm"], bool],
        pauses: tuple[float, float],
        kills_per_wipe: float,
    ) -> bool:
        """Start a run and kill until it ends or the storm is over.

        Args:
            start: starts the run in a session of its own.
            is_over: whether to let the run end undisturbed.
            pauses: least and greatest seconds between two kills.
            kills_per_wipe: mean number of kills between two wipes.

        Returns:
            Whether all jobs are done.
        """
        process = start()
        self.starts += 1
        while not is_over(self):
            with suppress(subprocess.TimeoutExpired):
                return self._all_done(process.wait(random.uniform(*pauses)))  # noqa: S311
            workers = workers_of(process.pid)
            if not workers:
                continue
            if random.random() < 1 / kills_per_wipe:  # noqa: S311
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                self.wipes += 1
                return False
            with suppress(ProcessLookupError):
                os.kill(random.choice(workers), signal.SIGKILL)  # noqa: S311
                self.kills += 1
        process.communicate()
        return self._all_done(process.returncode)

    def _all_done(self, code: int) -> bool:
        """Check that a run ended with all jobs done or some failed, and never by an error of its own."""
        assert code in self.exit_codes, f"a run ended with {code}"
        return code == 0


def storm_over_fake_jobs(
    folder: Path,
    is_over: Callable[[Storm], bool],
    *,
    batch: int = BATCH,
    pauses: tuple[float, float] = (0.05, 0.9),
    kills_per_wipe: float = 14.0,
) -> tuple[Storm, Counts]:
    """Disturb runs of fake jobs, add jobs as long as the storm lasts, and complete them in a calm run."""
    db, acks = folder / "storm.db", folder / "acks"
    storm, jobs = Storm(), batch

    def start() -> "subprocess.Popen[str]":
        return start_fake_run(db, jobs, 2, acks)

    while not is_over(storm):
        if storm.disturb(start, is_over, pauses, kills_per_wipe):
            jobs += batch
        if db.exists():  # the first run may have been killed before it created the ledger
            check_ledger(db, acks, metrics_of, ended=False)
    _complete(start)
    counts = check_ledger(db, acks, metrics_of)
    assert counts.results == jobs, f"{counts.results} of {jobs} jobs are done"
    return storm, counts


def _complete(start: Callable[[], "subprocess.Popen[Any]"]) -> None:
    """Run undisturbed until all jobs are done: those that lost three workers are tried again by the next run."""
    for _ in range(3):
        process = start()
        process.communicate()
        if process.returncode == 0:
            return


REAL = [
    "--model", "tiny", "--methods", "prefix,lora,simplex", "--tasks", "toy-sentiment,toy-similarity", "--sizes", "100",
    "--steps", "150", "--eval-every", "25", "--test-limit", "200", "--keep", "none", "--yes", "--retry-failed",
]  # fmt: skip


def storm_over_real_jobs(
    folder: Path, is_over: Callable[[Storm], bool], draws: int
) -> tuple[Storm, Counts]:
    """Disturb real trainings, complete them, and compare their metrics with those of a calm run."""
    from harness.ledger import Ledger

    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "harness", "run", *REAL, "--draws", str(draws), "--db"]
    subprocess.run(
        [*command, "calm.db"], cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL
    )
    with Ledger(str(folder / "calm.db")) as ledger:
        calm = {entry.digest: dict(entry.metrics) for entry in ledger.entries()}

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*command, "storm.db"],
            cwd=folder,
            env=env,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
        )

    storm = Storm(exit_codes=(0, 1))
    while not is_over(storm) and not storm.disturb(start, is_over, (10.0, 11.0), 8.0):
        pass
    _complete(start)
    counts = check_ledger(folder / "storm.db", None, calm.__getitem__)
    assert counts.results == len(calm), f"{counts.results} of {len(calm)} jobs are done"
    return storm, counts


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a storm and print its counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30, help="how long to kill workers")
    parser.add_argument("--seed", type=int, default=None, help="of the moments and the victims")
    parser.add_argument("--real", action="store_true", help="disturb real trainings")
    parser.add_argument("--draws", type=int, default=20, help="draws of the real jobs")
    options = parser.parse_args(arguments)
    random.seed(options.seed)
    deadline = time.monotonic() + 60 * options.minutes

    def is_over(_: Storm) -> bool:
        return time.monotonic() >= deadline

    folder = Path(tempfile.mkdtemp(prefix="bench-storm-"))
    if options.real:
        storm, counts = storm_over_real_jobs(folder, is_over, options.draws)
    else:
        storm, counts = storm_over_fake_jobs(folder, is_over)
    print(
        f"{plural(storm.starts, 'run')} started, {plural(storm.wipes, 'run')} and "
        f"{plural(storm.kills, 'worker')} killed; {plural(counts.results, 'result')} from "
        f"{plural(counts.attempts, 'attempt')}; no result lost, repeated or changed"
    )
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
