"""Benchmarks are run by hand, and seldom: what they rest on must not rot meanwhile. Nothing is timed here."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from harness.ledger import Ledger

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "tests" / "benchmarks").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_can_be_imported(name):
    """Each names only what is there."""
    assert importlib.import_module(f"tests.benchmarks.{name}").main


def test_a_made_up_ledger_is_read_reported_and_found_whole(tmp_path):
    """What stands for a million results is, in the small, a ledger as a run leaves it."""
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
