"""A short storm; the long one is `python -m tests.support.storm`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.ledger_invariants import check_ledger
from tests.support.storm import ROOT, metrics_of, over_fakes, workers_of

pytestmark = pytest.mark.fault


def start(db, count, slots, acks, seconds="0.02"):
    """A run on the fake method in a session of its own."""
    words = [
        sys.executable,
        "-m",
        "tests.support.fake_run",
        str(db),
        str(count),
        str(slots),
        str(acks),
    ]
    env = os.environ | {"BENCH_FAKE_SECONDS": seconds}
    return subprocess.Popen(
        words, cwd=ROOT, env=env, start_new_session=True, stdout=subprocess.DEVNULL
    )


def test_a_storm_loses_nothing(tmp_path):
    """F1, F2, F3: workers and whole runs killed at random for twenty seconds; every job ends done, once, with its numbers."""
    storm, found = over_fakes(
        tmp_path, 20.0, wipe=5.0
    )  # as often as that, one in twenty seconds is as good as certain
    assert storm.kills >= 10
    assert storm.wipes >= 1
    assert found.attempts >= found.results


def test_only_the_slot_of_a_killed_worker_starts_anew(tmp_path):
    """F1: the other worker keeps its process."""
    process = start(tmp_path / "r.db", 200, 2, tmp_path / "acks")
    before = set(_workers(process.pid, 2))
    victim = before.pop()
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while set(_workers(process.pid, 2)) & {victim} and time.monotonic() < deadline:
        time.sleep(0.05)
    after = set(_workers(process.pid, 2))
    assert before < after
    assert process.wait(120) == 0
    assert check_ledger(str(tmp_path / "r.db"), tmp_path / "acks", metrics_of).results == 200


def test_after_the_parent_is_killed_nothing_lives_and_the_next_run_starts_at_once(tmp_path):
    """F2: workers are gone within a second, and the same command goes on without an unlock."""
    process = start(tmp_path / "r.db", 60, 2, tmp_path / "acks", seconds="0.3")
    workers = _workers(process.pid, 2)
    time.sleep(1)
    process.kill()
    process.wait()
    killed = time.monotonic()
    while any(map(lives, workers)):
        assert time.monotonic() - killed < 1
        time.sleep(0.01)
    check_ledger(str(tmp_path / "r.db"), tmp_path / "acks", metrics_of, ended=False)
    acknowledged = len((tmp_path / "acks").read_text().split())
    again = start(tmp_path / "r.db", 60, 2, tmp_path / "acks", seconds="0.02")
    began = time.monotonic()
    while len((tmp_path / "acks").read_text().split()) == acknowledged:
        assert time.monotonic() - began < 5
        time.sleep(0.02)
    assert again.wait(60) == 0
    assert check_ledger(str(tmp_path / "r.db"), tmp_path / "acks", metrics_of).results == 60


def test_two_runs_on_one_ledger_share_the_work(tmp_path):
    """F13: each job is computed once, and both runs end well."""
    runs = [start(tmp_path / "r.db", 300, 1, tmp_path / "acks") for _ in range(2)]
    assert [run.wait(120) for run in runs] == [0, 0]
    found = check_ledger(str(tmp_path / "r.db"), tmp_path / "acks", metrics_of)
    assert (found.results, found.attempts) == (300, 300)


def test_two_slots_take_little_more_than_half_the_time_of_one(tmp_path):
    """On jobs that sleep, starting included in neither."""
    took = {}
    for slots in (1, 2):
        acks = tmp_path / f"acks{slots}"
        process = start(tmp_path / f"r{slots}.db", 40, slots, acks, seconds="0.2")
        _workers(process.pid, slots)
        while not acks.exists():
            time.sleep(0.01)
        began = time.monotonic()
        assert process.wait(120) == 0
        took[slots] = time.monotonic() - began
    assert took[2] <= 0.6 * took[1]


def lives(process):
    """Whether a process runs; one that has ended and was not asked for its end does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _workers(parent, count):
    deadline = time.monotonic() + 30
    while len(found := workers_of(parent)) < count:
        assert time.monotonic() < deadline, "no workers"
        time.sleep(0.02)
    return found
