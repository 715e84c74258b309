"""Faults of the system below: calls that fail one after the other, a power cut after an acknowledgement, clocks that jump."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from harness.ledger import Ledger
from tests.support.ledger_invariants import check_ledger
from tests.support.storm import ROOT, metrics_of

COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(
        sys.platform != "linux" or COMPILER is None, reason="needs Linux and a C compiler"
    ),
]

# Prints how many things a power cut would lose after each result that was acknowledged, and after
# tensors were kept.
SYNCED = """
import ctypes, sys
from pathlib import Path
from harness.ledger import Ledger
from tests.support import failing_disk, fake_training
shim, db = ctypes.CDLL(None), Path(sys.argv[1])
failing_disk.keep(db.with_name("artefacts"))
with Ledger(str(db), write=True) as ledger:
    ledger.enter(failing_disk.JOBS)
    ledger.begin("fake")
    for claim in ledger.claim([job.digest for job in failing_disk.JOBS], 2):
        shim.shim_forget()
        failing_disk.keep(db.with_name("artefacts"))
        print(shim.shim_unsynced())
        shim.shim_forget()
        assert ledger.record(fake_training.outcome(claim.digest), claim.epoch)
        print(shim.shim_unsynced())
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """The environment of a process whose calls go through `shim.c`."""
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = ROOT / "tests" / "support" / "shim.c"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)}


def test_what_was_acknowledged_outlives_a_power_cut(shim, tmp_path):
    """F3: when a result is recorded or tensors are kept, nothing written and no name that changed is left to be synced."""
    words = [sys.executable, "-c", SYNCED, str(tmp_path / "r.db")]
    done = subprocess.run(words, cwd=ROOT, env=shim, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["0"] * 4


def test_whatever_call_fails_nothing_acknowledged_is_lost(shim, tmp_path):
    """F32: every write, sync, cut, removal and renaming in a ledger's life fails in turn; words tell it, and all goes on."""
    words = [sys.executable, "-m", "tests.support.failing_disk", str(tmp_path), "EIO"]
    done = subprocess.run(words, cwd=ROOT, env=shim, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert told["DiskTrouble"] > 100
    assert set(told) <= {
        "DiskTrouble",
        "EIO",
        "nothing",
    }  # nothing: SQLite takes a folder that cannot be synced for synced


def test_a_clock_that_jumps_takes_no_claim_and_makes_no_time_negative(shim, tmp_path):
    """F18: at every look the wall clock is an hour or a day off; two runs share the work, each job is computed once."""
    db, acks = tmp_path / "r.db", tmp_path / "acks"
    words = [sys.executable, "-m", "tests.support.fake_run", str(db), "60", "1", str(acks)]
    env = shim | {"SHIM_CLOCK": "jumps", "BENCH_FAKE_SECONDS": "0.05"}
    runs = [subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert {run.wait(120) for run in runs} <= {0, 3}
    found = check_ledger(str(db), acks, metrics_of)
    assert (found.results, found.attempts) == (60, 60)


def test_times_are_those_of_the_steady_clock(shim, bench, tmp_path, monkeypatch):
    """F18: a real training while the wall clock jumps; its seconds are positive and no more than the command took."""
    monkeypatch.setattr(
        bench, "env", bench.env | {"LD_PRELOAD": shim["LD_PRELOAD"], "SHIM_CLOCK": "jumps"}
    )
    words = (
        "--methods",
        "lora",
        "--tasks",
        "toy-sentiment",
        "--draws",
        1,
        "--inline",
        "--keep",
        "none",
    )
    assert bench.run(tmp_path, "r.db", *words).code == 0
    with Ledger(str(tmp_path / "r.db")) as ledger:
        [entry] = ledger.entries()
    for name in ("seconds_training", "seconds_evaluation"):
        assert 0 < entry.result[name] < 120
