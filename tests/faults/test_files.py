"""Faults of the ledger's file: full disks, locks of other processes, simultaneous first starts, lost claims."""

import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from harness.ledger import Ledger
from tests.support import fake_training
from tests.support.fake_run import ROOT, command, start
from tests.support.fake_training import metrics_of
from tests.support.ledger_invariants import check_ledger
from tests.support.processes import wait_until

pytestmark = pytest.mark.fault
OLD_LEDGER = ROOT / "tests" / "harness" / "golden" / "schema-1.db"


@pytest.mark.slow
def test_a_full_disk_loses_no_acknowledged_result(tmp_path):
    """F11: when the file cannot grow, the run ends, committed results stay, and with more space it goes on."""
    db, acks = tmp_path / "r.db", tmp_path / "acks"
    limited = ["bash", "-c", 'ulimit -f 260; exec "$@"', "limited", *command(db, 300, 1, acks)]
    ended = subprocess.run(limited, cwd=ROOT, check=False, capture_output=True, text=True)
    assert ended.returncode not in (0, -signal.SIGKILL)
    assert "free some space" in ended.stderr
    counts = check_ledger(db, acks, metrics_of, ended=False)
    assert 0 < counts.results < 300
    second = start(db, 300, 2, acks, seconds=0)
    second.communicate()
    assert second.returncode == 0
    assert check_ledger(db, acks, metrics_of).results == 300


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("--inline",), id="inline", marks=pytest.mark.slow),
        pytest.param(("-j", 2), id="workers", marks=pytest.mark.slow),
        pytest.param(("-j", 1, "--pack", 2), id="pack"),
    ],
)
def test_a_full_disk_for_tensors_fails_no_job(options, bench, tmp_path):
    """F11: without space for trained tensors the run ends and says so, no job fails, and with space it goes on."""
    grid = ("--methods", "lora", "--tasks", "toy-sentiment", "--draws", 2)
    plan = json.loads(bench(tmp_path, "plan", *bench.grid, *grid, "--json").out)
    folder = tmp_path / "r.db.artefacts"
    folder.mkdir()
    drafts = [folder / f"{job['digest']}.draft" for job in plan["jobs"]]
    for draft in drafts:
        draft.symlink_to("/dev/full")
    ended = bench.run(tmp_path, "r.db", *grid, *options)
    assert (ended.code, "Traceback" in ended.err) == (74, False)
    assert "free some space" in ended.err
    with Ledger(str(tmp_path / "r.db")) as ledger:
        assert [entry.state for entry in ledger.entries()] == ["planned"] * 2
    for draft in drafts:
        draft.unlink(missing_ok=True)
    assert bench.run(tmp_path, "r.db", *grid, *options).code == 0


def test_a_locked_ledger_is_waited_for(tmp_path):
    """F12: while another process locks the database, no result is recorded, readers read on, and nothing is lost."""
    db, acks = tmp_path / "r.db", tmp_path / "acks"
    process = start(db, 30, 1, acks, seconds=0.1)
    wait_until(lambda: acks.exists() and acks.read_text())
    connection = sqlite3.connect(db, isolation_level=None, timeout=30)
    connection.execute("BEGIN IMMEDIATE")
    acknowledged = len(acks.read_text().split())
    time.sleep(2)  # the run tries several times
    assert len(acks.read_text().split()) <= acknowledged + 1
    with Ledger(str(db)) as ledger:
        assert sum(count for *_, count in ledger.counts()) == 30
    connection.execute("ROLLBACK")
    connection.close()
    process.communicate()
    assert process.returncode == 0
    counts = check_ledger(db, acks, metrics_of)
    assert (counts.results, counts.attempts) == (30, 30)


LOCK_HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("locked", flush=True)
sys.stdin.read()
"""


def lock(db, *statements):
    """Start a process that locks the database until `communicate` is called.

    It is another process because closing a file releases all locks that a process has on it.
    """
    words = [sys.executable, "-c", LOCK_HOLDER, str(db), *statements]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "locked\n"
    return holder


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(["BEGIN IMMEDIATE"], id="writer"),
        pytest.param(["BEGIN EXCLUSIVE"], id="exclusive writer", marks=pytest.mark.slow),
        # A reader lets other transactions begin but not commit.
        pytest.param(["BEGIN", "SELECT count(*) FROM job"], id="reader"),
    ],
)
def test_a_long_lock_is_mentioned_once_and_costs_no_result(tmp_path, statements):
    """F12: the run names the locked file once, keeps the results of whole packs, and goes on when the lock is gone."""
    db, acks = tmp_path / "r.db", tmp_path / "acks"
    variables = {"BENCH_FAKE_PACK_SIZE": "4", "BENCH_FAKE_LOCK_TIMEOUT": "0.5"}
    process = start(db, 24, 2, acks, seconds=0.1, **variables)
    wait_until(lambda: acks.exists() and acks.read_text())
    holder = lock(db, *statements)
    time.sleep(3)  # six times the timeout
    assert process.poll() is None
    holder.communicate()
    output, _ = process.communicate()
    assert process.returncode == 0
    message = "is locked by another process: this run waits"
    assert output.count(message) == output.count(f"{db} is locked") == 1
    counts = check_ledger(db, acks, metrics_of)
    assert (counts.results, counts.attempts) == (24, 24)


@pytest.fixture
def locked_run(bench, tmp_path):
    """A `bench run` that has recorded a result, and another process that has locked its database since."""
    db = tmp_path / "r.db"
    options = shlex.split("--methods lora --tasks toy-sentiment --draws 30 -j 1 --keep none")
    process = bench.start(tmp_path, *bench.run_words("r.db", *options))
    wait_until(lambda: process.poll() is not None or states(db)["done"])
    assert process.poll() is None
    holder = lock(db, "BEGIN IMMEDIATE")
    while not states(db)["claimed"]:  # the lock came between two jobs
        holder.communicate()
        time.sleep(0.02)
        holder = lock(db, "BEGIN IMMEDIATE")
    time.sleep(2)  # a job ends meanwhile, or soon after
    yield process, holder
    for started in (holder, process):
        started.kill()
        started.communicate()


def states(db):
    """Return the number of jobs in each state."""
    if not db.exists() or not db.stat().st_size:
        return Counter()
    with Ledger(str(db)) as ledger:
        return Counter({state: count for _, _, state, count in ledger.counts()})


def test_after_ctrl_c_a_run_waits_for_the_lock(bench, tmp_path, locked_run):
    """F12, F17: after one Ctrl-C the run still waits until it can record finished results, and says so."""
    process, holder = locked_run
    done = states(tmp_path / "r.db")["done"]
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(2)
    assert process.poll() is None
    holder.communicate()
    ended = bench.end(process)
    assert ended.code == 130
    assert "a second Ctrl-C stops at once" in ended.out
    assert "every finished result is kept" in ended.out
    assert states(tmp_path / "r.db")["done"] == done + 1
    check_ledger(tmp_path / "r.db")


@pytest.mark.slow
def test_a_second_ctrl_c_ends_the_wait_for_the_lock(bench, tmp_path, locked_run):
    """F12, F17: the run ends although the database is still locked, and the next run releases its claims."""
    process, holder = locked_run
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1)  # two signals at the same moment count as one
    os.killpg(process.pid, signal.SIGINT)
    ended = bench.end(process)
    assert ended.code == 130
    assert "results that could not be written will be computed again" in ended.out
    assert "Traceback" not in ended.err
    holder.communicate()
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.begin("next")
        ledger.release_dead_claims()
    assert set(states(tmp_path / "r.db")) == {"done", "planned"}
    check_ledger(tmp_path / "r.db")


@pytest.mark.parametrize("existing", ["no ledger", "ledger of schema 1"])
def test_simultaneous_first_starts_make_one_schema(tmp_path, existing):
    """F14: four runs start at once without a ledger, or with an old one; all succeed, and one schema is made."""
    db = tmp_path / "r.db"
    if existing == "ledger of schema 1":
        shutil.copy(OLD_LEDGER, db)
    script = f"""
from harness.ledger import Ledger
with Ledger({str(db)!r}, write=True) as ledger:
    ledger.begin("start")
"""
    starts = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) for _ in range(4)]
    assert [process.wait() for process in starts] == [0] * 4
    check_ledger(db)
    connection = sqlite3.connect(db)
    assert connection.execute("SELECT count(*) FROM meta WHERE key = 'schema'").fetchone() == (1,)
    assert connection.execute("SELECT count(*) FROM run").fetchone()[0] >= 4
    connection.close()


def test_a_zombie_is_fenced_off(tmp_path):
    """F5: a run that lost its claim and records a result after another run has recorded one changes nothing."""
    job = fake_training.job(0)
    db = str(tmp_path / "r.db")
    with Ledger(db, write=True) as first, Ledger(db, write=True) as second:
        first.begin("first")
        first.add_jobs([job])
        [lost] = first.claim([job.digest], 1)
        first.release_claims([lost])  # as another run does that takes the first for dead
        second.begin("second")
        [claim] = second.claim([job.digest], 1)
        assert second.record(fake_training.outcome(job.digest), claim.number)
        assert not first.record(fake_training.outcome(job.digest), lost.number)
    counts = check_ledger(db, None, metrics_of)
    assert (counts.results, counts.attempts) == (1, 1)


def test_readers_do_not_stop_a_run(tmp_path):
    """A report may be made during a run: while a loop reads the ledger, every result is recorded."""
    db, acks = tmp_path / "r.db", tmp_path / "acks"
    process = start(db, 100, 2, acks)
    wait_until(lambda: db.exists() and acks.exists())
    ended, counts = threading.Event(), []

    def read():
        while not ended.is_set():
            with Ledger(str(db)) as ledger:
                counts.append(len(ledger.entries()))

    reader = threading.Thread(target=read)
    reader.start()
    process.communicate()
    ended.set()
    reader.join()
    assert process.returncode == 0
    assert set(counts) == {100}
    assert check_ledger(db, acks, metrics_of).results == 100
