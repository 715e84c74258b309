"""Faults of the file below a ledger: full disks, locks that others hold, first starts at once, a file that moves."""

import json
import os
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
from tests.support.ledger_invariants import check_ledger
from tests.support.storm import ROOT, metrics_of

pytestmark = pytest.mark.fault
OLD = ROOT / "tests" / "harness" / "golden" / "schema-1.db"


def words(db, count, slots, acks):
    """A run on the fake method."""
    return [
        sys.executable,
        "-m",
        "tests.support.fake_run",
        str(db),
        str(count),
        str(slots),
        str(acks),
    ]


def start(db, count, slots, acks, seconds="0.02", **more):
    """It, in a session of its own."""
    env = os.environ | {"BENCH_FAKE_SECONDS": seconds} | more
    pipes = {"stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        words(db, count, slots, acks), cwd=ROOT, env=env, start_new_session=True, **pipes
    )


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path):
    """F11: the file may not grow further; the run ends, what was committed is there and whole, and with room it goes on."""
    db, acks = tmp_path / "r.db", tmp_path / "acks"
    limited = ["bash", "-c", 'ulimit -f 260; exec "$@"', "limited", *words(db, 300, 1, acks)]
    done = subprocess.run(
        limited, cwd=ROOT, check=False, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode not in (0, -9)
    assert "free some space" in done.stderr
    found = check_ledger(str(db), acks, metrics_of, ended=False)
    assert 0 < found.results < 300
    assert start(db, 300, 1, acks).wait(120) == 0
    assert check_ledger(str(db), acks, metrics_of).results == 300


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="a disk that is always full, as Linux has it"
)
@pytest.mark.parametrize(
    "how", [("--inline",), ("-j", 2), ("-j", 1, "--pack", 2)], ids=["inline", "workers", "pack"]
)
def test_a_full_disk_beside_the_ledger_fails_no_job(how, bench, tmp_path):
    """F11: there is no room for trained tensors: the run ends and says so, no job failed, and with room it goes on."""
    wanted = ("--methods", "lora", "--tasks", "toy-sentiment", "--draws", 2)
    planned = json.loads(bench(tmp_path, "plan", *bench.grid, *wanted, "--json").out)
    folder = tmp_path / "r.db.artefacts"
    folder.mkdir()
    drafts = [folder / f"{job['digest']}.draft" for job in planned["jobs"]]
    for draft in drafts:
        draft.symlink_to("/dev/full")
    ended = bench.run(tmp_path, "r.db", *wanted, *how)
    assert (ended.code, "Traceback" in ended.err) == (74, False)
    assert "free some space" in ended.err
    with Ledger(str(tmp_path / "r.db")) as ledger:
        assert [entry.state for entry in ledger.entries()] == ["planned"] * 2
    for draft in drafts:
        draft.unlink()
    assert bench.run(tmp_path, "r.db", *wanted, *how).code == 0


def test_a_lock_held_for_seconds_is_waited_for(tmp_path):
    """F12: another process holds the database for five seconds; nothing fails, nothing is lost."""
    db, acks = tmp_path / "r.db", tmp_path / "acks"
    process = start(db, 60, 1, acks, seconds="0.1")
    while not (acks.exists() and acks.read_text()):
        time.sleep(0.02)
    holder = sqlite3.connect(db, isolation_level=None, timeout=30)
    holder.execute("BEGIN IMMEDIATE")
    before = len(acks.read_text().split())
    time.sleep(5)
    assert len(acks.read_text().split()) <= before + 1
    with Ledger(str(db)) as ledger:  # a reader is not kept waiting
        assert sum(count for *_, count in ledger.counts()) == 60
    holder.execute("ROLLBACK")
    holder.close()
    assert process.wait(60) == 0
    found = check_ledger(str(db), acks, metrics_of)
    assert (found.results, found.attempts) == (60, 60)


HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("held", flush=True)
sys.stdin.read()
"""


def hold(db, *statements):
    """A process that holds the database until `communicate`; one of its own, since who closes a file unlocks it for himself."""
    words = [sys.executable, "-c", HOLDER, str(db), *statements]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    return holder


HOLDS = {
    "a writer": ["BEGIN IMMEDIATE"],
    "a writer who keeps readers out": ["BEGIN EXCLUSIVE"],
    "a reader": ["BEGIN", "SELECT count(*) FROM job"],  # who lets a transaction begin and not end
}


@pytest.mark.parametrize("statements", HOLDS.values(), ids=HOLDS)
def test_a_lock_held_for_minutes_costs_no_result(tmp_path, statements):
    """F12: the run says once which file it waits for, keeps the results of whole packs, and goes on when the lock is gone."""
    db, acks = tmp_path / "r.db", tmp_path / "acks"
    process = start(db, 48, 2, acks, seconds="0.1", BENCH_FAKE_PLACES="4", BENCH_FAKE_WAIT="1")
    while not (acks.exists() and acks.read_text()):
        time.sleep(0.02)
    holder = hold(db, *statements)
    time.sleep(5)  # five times what is waited for in silence
    assert process.poll() is None
    holder.communicate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert (
        said.count("is locked by another process: this run waits")
        == said.count(f"{db} is locked")
        == 1
    )
    found = check_ledger(str(db), acks, metrics_of)
    assert (found.results, found.attempts) == (48, 48)


@pytest.fixture
def locked(bench, tmp_path):
    """A `bench run` that has recorded a result, and another process's hold on its database since."""
    db = tmp_path / "r.db"
    words = (
        "--methods",
        "lora",
        "--tasks",
        "toy-sentiment",
        "--draws",
        30,
        "-j",
        1,
        "--keep",
        "none",
    )
    process = bench.start(tmp_path, *bench.run_words("r.db", *words))
    while not states(db)["done"]:
        assert process.poll() is None
        time.sleep(0.02)
    holder = hold(db, "BEGIN IMMEDIATE")
    while not states(db)["claimed"]:  # it came between two jobs
        holder.communicate()
        time.sleep(0.02)
        holder = hold(db, "BEGIN IMMEDIATE")
    time.sleep(2)  # a job ends meanwhile
    yield process, holder
    holder.kill()
    holder.wait()
    process.kill()


def states(db):
    """How many jobs are in which state."""
    if not db.exists() or not db.stat().st_size:
        return Counter()
    with Ledger(str(db)) as ledger:
        return Counter({state: count for _, _, state, count in ledger.counts()})


def test_ctrl_c_lets_a_run_wait_for_a_lock(bench, tmp_path, locked):
    """F12, F17: once, it still waits until what is finished can be recorded, and says so."""
    process, holder = locked
    before = states(tmp_path / "r.db")["done"]
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(2)
    assert process.poll() is None
    holder.communicate()
    ended = bench.end(process)
    assert ended.code == 130
    assert "once more stops at once" in ended.out
    assert "nothing that finished is lost" in ended.out
    assert states(tmp_path / "r.db")["done"] == before + 1
    check_ledger(str(tmp_path / "r.db"))


def test_ctrl_c_twice_ends_a_run_that_waits_for_a_lock(bench, tmp_path, locked):
    """F12, F17: at once, with no claim left that the next run would not take up."""
    process, holder = locked
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1)  # two signals at the same moment are one
    os.killpg(process.pid, signal.SIGINT)
    ended = bench.end(process, timeout=20)
    assert ended.code == 130
    assert "what could not be written is computed again" in ended.out
    assert "Traceback" not in ended.err
    holder.communicate()
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.begin("next")
        ledger.release_dead_claims()
    assert set(states(tmp_path / "r.db")) == {"done", "planned"}
    check_ledger(str(tmp_path / "r.db"))


@pytest.mark.parametrize("before", ["nothing", "schema 1"])
def test_eight_first_starts_at_once(tmp_path, before):
    """F14: on no database, and on one of the first schema; every start succeeds, and the schema is made once."""
    db = tmp_path / "r.db"
    if before == "schema 1":
        shutil.copy(OLD, db)
    script = f"from harness.ledger import Ledger\nwith Ledger({str(db)!r}, write=True) as ledger: ledger.begin('start')"
    starts = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) for _ in range(8)]
    assert [process.wait(60) for process in starts] == [0] * 8
    check_ledger(str(db))
    connection = sqlite3.connect(db)
    assert connection.execute("SELECT count(*) FROM meta WHERE key = 'schema'").fetchone() == (1,)
    assert connection.execute("SELECT count(*) FROM run").fetchone()[0] >= 8
    connection.close()


def test_a_zombie_is_fenced_off(tmp_path):
    """F5: who lost a claim, and comes back with a result after somebody else has recorded one, changes nothing."""
    job = fake_training.job(0)
    db = str(tmp_path / "r.db")
    with Ledger(db, write=True) as first, Ledger(db, write=True) as second:
        first.begin("first")
        first.add_jobs([job])
        [lost] = first.claim([job.digest], 1)
        first.release_claims([lost])  # as a reaper would, who takes the first for dead
        second.begin("second")
        [held] = second.claim([job.digest], 1)
        assert second.record(fake_training.outcome(job.digest), held.epoch)
        assert not first.record(fake_training.outcome(job.digest), lost.epoch)
    found = check_ledger(db, None, metrics_of)
    assert (found.results, found.attempts) == (1, 1)


def test_a_reader_never_keeps_a_writer_waiting_for_long(tmp_path):
    """Reports may be made while a run goes on: readers in a loop, and every result is kept all the same."""
    db, acks = tmp_path / "r.db", tmp_path / "acks"
    process = start(db, 100, 2, acks)
    while not Path(db).exists() or not acks.exists():
        time.sleep(0.02)
    stop, looks = threading.Event(), []

    def look():
        while not stop.is_set():
            with Ledger(str(db)) as ledger:
                looks.append(len(ledger.entries()))

    reader = threading.Thread(target=look)
    reader.start()
    assert process.wait(120) == 0
    stop.set()
    reader.join()
    assert looks
    assert set(looks) == {100}
    assert check_ledger(str(db), acks, metrics_of).results == 100
