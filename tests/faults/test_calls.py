"""Faults of the operating system: calls that fail, a power cut after an acknowledgement, clocks that jump."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from harness.ledger import Ledger
from tests.support.fake_run import ROOT, command
from tests.support.fake_training import metrics_of
from tests.support.ledger_invariants import check_ledger

COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(
        sys.platform != "linux" or COMPILER is None, reason="needs Linux and a C compiler"
    ),
]

# Prints how many writes and renames a power cut would undo, after tensors were kept and after a
# result was acknowledged.
UNSYNCED = """
import ctypes, sys
from pathlib import Path
from harness.ledger import Ledger
from tests.support import failing_disk, fake_training
shim, db = ctypes.CDLL(None), Path(sys.argv[1])
failing_disk.write_tensors(db.with_name("artefacts"))
with Ledger(str(db), write=True) as ledger:
    ledger.add_jobs(failing_disk.JOBS)
    ledger.begin("fake")
    for claim in ledger.claim([job.digest for job in failing_disk.JOBS], 2):
        shim.shim_forget()
        failing_disk.write_tensors(db.with_name("artefacts"))
        print(shim.shim_unsynced())
        shim.shim_forget()
        assert ledger.record(fake_training.outcome(claim.digest), claim.number)
        print(shim.shim_unsynced())
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """The environment of a process whose system calls go through `shim.c`."""
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = ROOT / "tests" / "support" / "shim.c"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)}


def test_acknowledged_results_survive_a_power_cut(shim, tmp_path):
    """F3: when a result is recorded or tensors are kept, every write and every change of a name has been synced."""
    words = [sys.executable, "-c", UNSYNCED, str(tmp_path / "r.db")]
    ended = subprocess.run(words, cwd=ROOT, env=shim, check=True, capture_output=True, text=True)
    assert ended.stdout.split() == ["0"] * 4


@pytest.mark.parametrize("step", [19, pytest.param(1, marks=pytest.mark.slow)])
def test_no_failing_call_loses_an_acknowledged_result(shim, tmp_path, step):
    """F32: writes, syncs, truncations, removals and renames fail in turn; each is reported, and the ledger works on."""
    words = [sys.executable, "-m", "tests.support.failing_disk", str(tmp_path), "EIO", str(step)]
    ended = subprocess.run(words, cwd=ROOT, env=shim, check=True, capture_output=True, text=True)
    reports = json.loads(ended.stdout)
    assert reports["DiskTrouble"] > 95 / step
    # SQLite takes a folder that cannot be synced for synced: nothing is reported then.
    assert set(reports) <= {"DiskTrouble", "EIO", "nothing"}


def test_a_clock_that_jumps_releases_no_claim(shim, tmp_path):
    """F18: the wall clock is off by an hour or a day at every look; two runs compute each job once."""
    db, acks = tmp_path / "r.db", tmp_path / "acks"
    env = shim | {"SHIM_CLOCK": "jumps", "BENCH_FAKE_SECONDS": "0.05"}
    runs = [
        subprocess.Popen(command(db, 40, 1, acks), cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [process.wait() for process in runs] == [0, 0]
    counts = check_ledger(db, acks, metrics_of)
    assert (counts.results, counts.attempts) == (40, 40)


@pytest.mark.slow
def test_durations_come_from_the_monotonic_clock(shim, bench, tmp_path, monkeypatch):
    """F18: while the wall clock jumps by an hour or more, the seconds of a training are positive and below an hour."""
    env = {"LD_PRELOAD": shim["LD_PRELOAD"], "SHIM_CLOCK": "jumps"}
    monkeypatch.setattr(bench, "env", bench.env | env)
    grid = shlex.split("--methods lora --tasks toy-sentiment --draws 1 --inline --keep none")
    assert bench.run(tmp_path, "r.db", *grid).code == 0
    with Ledger(str(tmp_path / "r.db")) as ledger:
        [entry] = ledger.entries()
    for name in ("seconds_training", "seconds_evaluation"):
        assert 0 < entry.result[name] < 3600
