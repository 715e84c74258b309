"""A storm over whole runs: workers are killed at random moments, and now and then everything at once.

    python -m tests.support.storm --minutes 30            # a fake method, thousands of jobs
    python -m tests.support.storm --minutes 6 --real      # real trainings of the tiny backbone,
    compared with a calm run

Prints kills, attempts, results and losses, and fails if an invariant of `check_ledger` does not
hold.
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

from tests.support import fake_training
from tests.support.fake_run import LEFT
from tests.support.ledger_invariants import Found, check_ledger

ROOT = Path(__file__).resolve().parents[2]
BATCH = 300  # jobs that a storm adds when all are done


@dataclass
class Storm:
    """What it did."""

    kills: int = 0  # workers
    wipes: int = 0  # everything at once
    starts: int = 0
    endings: tuple[int, ...] = (0, LEFT)

    def blow(
        self,
        start: Callable[[], "subprocess.Popen[bytes]"],
        until: float,
        pauses: Sequence[float],
        wipe: float,
    ) -> bool:
        """Start a run and kill until it ends or the time is up; True if the run ended by itself, with 0.

        Args:
            start: starts the run in a session of its own.
            until: the monotonic time at which the storm is over.
            pauses: least and greatest seconds between two kills.
            wipe: the mean number of worker kills between two wipes.
        """
        process = start()
        self.starts += 1
        while time.monotonic() < until:
            with suppress(subprocess.TimeoutExpired):
                return self._ended(process.wait(random.uniform(*pauses)))  # noqa: S311
            if random.random() < 1 / wipe:  # noqa: S311
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self.wipes += 1
                return False
            if workers := workers_of(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(random.choice(workers), signal.SIGKILL)  # noqa: S311
                    self.kills += 1
        return self._ended(process.wait())

    def _ended(self, code: int) -> bool:
        """A run ends with all jobs done or with some set aside (1 by `bench run`), and never by an error of its own."""
        assert code in self.endings, f"a run ended with {code}"
        return code == 0


def workers_of(parent: int) -> list[int]:
    """The worker processes of a run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                of = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if of == parent and b"spawn_main" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def over_fakes(
    folder: Path, seconds: float, pauses: Sequence[float] = (0.05, 0.9), wipe: float = 14.0
) -> tuple[Storm, Found]:
    """A storm over the fake method: jobs are added as long as it blows; then a calm run ends what is left."""
    db, acks = str(folder / "storm.db"), folder / "acks"
    storm, until, count = Storm(), time.monotonic() + seconds, BATCH

    def start() -> "subprocess.Popen[bytes]":
        words = [sys.executable, "-m", "tests.support.fake_run", db, str(count), "2", str(acks)]
        return subprocess.Popen(words, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)

    while time.monotonic() < until:
        if storm.blow(start, until, pauses, wipe):
            count += BATCH
        if Path(db).exists():  # the first run may have been killed before it made one
            check_ledger(db, acks, metrics_of, ended=False)
    for _ in range(
        3
    ):  # a job that lost its worker three times is set aside, and tried again by the next run
        if start().wait() == 0:
            break
    found = check_ledger(db, acks, metrics_of)
    assert found.results == count, f"{found.results} of {count} jobs are done"
    return storm, found


def metrics_of(digest: str) -> dict[str, float]:
    """What an undisturbed run gives."""
    made = fake_training.outcome(digest)
    return {**made.metrics, "score": made.score or 0.0}


REAL = [
    "--model", "tiny", "--methods", "prefix,lora,simplex", "--tasks", "toy-sentiment,toy-similarity", "--sizes", "100",
    "--steps", "150", "--eval-every", "25", "--test-limit", "200", "--keep", "none", "--yes", "--retry-failed",
]  # fmt: skip


def over_real(folder: Path, seconds: float, draws: int) -> tuple[Storm, Found]:
    """A storm over real trainings, which must end in the numbers of a calm run."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}

    def words(db: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "harness",
            "run",
            *REAL,
            "--draws",
            str(draws),
            "--db",
            str(folder / db),
        ]

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            words("storm.db"),
            cwd=folder,
            env=env,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
        )

    subprocess.run(words("calm.db"), cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
    from harness.ledger import Ledger

    with Ledger(str(folder / "calm.db")) as ledger:
        calm = {entry.digest: dict(entry.metrics) for entry in ledger.entries()}
    storm, until = Storm(endings=(0, 1)), time.monotonic() + seconds
    while time.monotonic() < until and not storm.blow(start, until, (10.0, 11.0), 8.0):
        pass
    for _ in range(3):
        if start().wait() == 0:
            break
    found = check_ledger(str(folder / "storm.db"), None, calm.__getitem__)
    assert found.results == len(calm), f"{found.results} of {len(calm)} jobs are done"
    return storm, found


def main() -> None:
    """Blow, then say what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--draws", type=int, default=20, help="of the real grid")
    options = parser.parse_args()
    random.seed(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="bench-storm-"))
    seconds = 60 * options.minutes
    storm, found = (
        over_real(folder, seconds, options.draws) if options.real else over_fakes(folder, seconds)
    )
    print(
        f"{storm.kills} workers killed, {storm.wipes} times everything at once, {storm.starts} starts; "
        f"{found.results} results, {found.attempts} attempts, 0 lost, 0 twice, every number as undisturbed"
    )
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
