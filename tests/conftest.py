"""Fixtures for all tests: made-up jobs and outcomes, and the command in a process of its own."""

import json
import os
import shlex
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.jobs import BackboneSpec, DrawSpec, Job, Recipe
from harness.outcome import Outcome, pack_predictions

ROOT = Path(__file__).resolve().parent.parent

# Runs the command and prints at its end which of the slow libraries were imported.
PROBE = """
import atexit, sys
SLOW = {"torch", "transformers", "datasets", "evaluate", "sqlmodel", "sqlalchemy"}
atexit.register(lambda: print("\\nloaded:", *sorted(SLOW & set(sys.modules)), file=sys.stderr))
sys.argv[0] = "bench"
from harness.__main__ import main
main()
"""
GRID = shlex.split("--model tiny --sizes 20 --steps 4 --eval-every 2 --test-limit 30")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--remake-golden`, which writes the expected reports of `tests/reports/test_golden.py` again."""
    parser.addoption(
        "--remake-golden", action="store_true", help="write the golden files of reports again"
    )


def _job(
    label: str = "lora",
    draw: int = 0,
    *,
    task: str = "toy-sentiment",
    size: int = 20,
    seed: int = 0,
    fingerprint: str = "rows",
) -> Job:
    draw_spec = DrawSpec(
        task=task,
        version=1,
        revision="g1",
        size=size,
        number=draw,
        fingerprint=fingerprint,
        n_train=size,
        n_dev=6,
        n_test=3,
    )
    return Job(
        backbone=BackboneSpec(name="tiny", revision="0123456789"),
        draw=draw_spec,
        seed=seed,
        method=label,
        method_version=1,
        options={"rank": 8, "lr": 0.001},
        label=label,
        recipe=Recipe(steps=4),
    )


def _outcome(job: Job, **changes: object) -> Outcome:
    values = {
        "digest": job.digest,
        "status": "done",
        "metrics": {"accuracy": 0.5},
        "score": 0.5,
        "dev_score": 0.75,
        "best_step": 4,
        "curve": zlib.compress(json.dumps([[2, 0.7, 0.5, 0.69], [4, 0.6, 0.75, 0.66]]).encode()),
        "predictions": pack_predictions([0, 1, 1], regression=False),
        "device": "cpu",
    }
    return Outcome(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def make_job() -> Callable[..., Job]:
    """Return a function that makes a job, which no test trains."""
    return _job


@pytest.fixture(scope="session")
def make_outcome() -> Callable[..., Outcome]:
    """Return a function that makes an outcome of a job."""
    return _outcome


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code and its output."""

    code: int
    out: str
    err: str
    loaded: frozenset[str]  # the slow libraries that it imported


class Bench:
    """Runs the command in a process of its own, without the network and with its own cache."""

    grid = GRID

    def __init__(self, cache: Path) -> None:
        removed = {"BENCH_DB", "TERM", "COLUMNS", "FORCE_COLOR", "NO_COLOR"}
        removed.add("PYTHONDONTWRITEBYTECODE")  # each command would compile every module
        inherited = {name: value for name, value in os.environ.items() if name not in removed}
        self.env = inherited | {
            "BENCH_CACHE": str(cache),
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(cache / "hub"),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
        }

    def command(self, *words: object) -> list[str]:
        """Return the command line for some arguments."""
        return [sys.executable, "-c", PROBE, *map(str, words)]

    def start(self, folder: Path, *words: object) -> subprocess.Popen[str]:
        """Start the command and return its process."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            self.command(*words),
            cwd=folder,
            env=self.env,
            text=True,
            start_new_session=True,
            **pipes,
        )

    def end(self, process: subprocess.Popen[str], timeout: float = 300) -> Ended:
        """Wait for the end of a process; kill it after `timeout` seconds."""
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        errors, _, loaded = err.rpartition("\nloaded:")
        return Ended(process.returncode, out, errors, frozenset(loaded.split()))

    def __call__(self, folder: Path, *words: object) -> Ended:
        """Run the command and return how it ended."""
        return self.end(self.start(folder, *words))

    def run(self, folder: Path, db: str = "r.db", *more: object) -> Ended:
        """Run `bench run` on a small grid of the embedded model."""
        return self(folder, *self.run_words(db, *more))

    def run_words(self, db: str = "r.db", *more: object) -> Sequence[object]:
        """Return the arguments of `run`."""
        return ["run", *GRID, "--db", db, *more]


@pytest.fixture(scope="session")
def bench(tmp_path_factory) -> Bench:
    """The command."""
    return Bench(tmp_path_factory.mktemp("cache"))
