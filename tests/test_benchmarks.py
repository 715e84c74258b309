"""The benchmarks, which run by hand, still fit the code. Nothing is timed here."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.ledger import Ledger

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "tests" / "benchmarks").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_can_be_imported(name):
    """Every module of `tests.benchmarks` has a `main`, and everything that it imports exists."""
    assert importlib.import_module(f"tests.benchmarks.{name}").main


def test_the_clocks_of_a_profile_are_put_in_and_removed():
    """Every function that the profile times exists, and is the same function afterwards."""
    from harness.training import optimiser
    from tests.benchmarks.anatomy_of_a_job import Clock, instrumented

    classes = [kind for kind in vars(optimiser).values() if hasattr(kind, "step")]
    steps = [kind.step for kind in classes]
    with instrumented(Clock("cpu")):
        assert [kind.step for kind in classes] != steps
    assert [kind.step for kind in classes] == steps


@pytest.mark.slow
def test_the_measurements_for_a_gpu_run_on_a_cpu():
    """`gpu.sh run` prints a line of every part that needs no GPU, and jobs beside other jobs are equal."""
    words = ["--device", "cpu", "--layers", "1", "--width", "32", "--jobs", "2", "--steps", "2"]
    script = ROOT / "tests" / "benchmarks" / "gpu.sh"
    printed = subprocess.run(
        [script, "run", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    ).stdout
    table = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ")][1:]
    assert [cells[0].split(",")[0] for cells in table] == [
        *["| prefix", "| lora"] * 2,
        *["| a step of a job"] * 2,
        "| operations",
        "| a step of a simplex of 6 against a prefix",
        "| 1 jobs beside other jobs",
        "| compiled against plain steps",
    ]
    assert next(cells[1] for cells in table if "beside" in cells[0]) == "equal"


@pytest.mark.slow
def test_a_synthetic_ledger_is_complete(tmp_path):
    """The ledger of `million`, here with 5,000 results, is read, reported and verified like a run's."""
    words = [
        sys.executable,
        "-m",
        "tests.benchmarks.million",
        "--results",
        "5000",
        "--keep",
        str(tmp_path / "m.db"),
    ]
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "bench db verify" in printed
    with Ledger(str(tmp_path / "m.db")) as ledger:
        counts = ledger.counts()
    assert {state for _, _, state, _ in counts} == {"done"}
    assert sum(count for _, _, _, count in counts) == 5000
