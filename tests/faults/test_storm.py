"""Killed workers and killed runs. The long storm is `python -m tests.support.storm`."""

import os
import random
import signal

import pytest

from tests.support.fake_run import start
from tests.support.fake_training import metrics_of
from tests.support.ledger_invariants import check_ledger
from tests.support.processes import is_running, wait_for_workers, wait_until, workers_of
from tests.support.storm import storm_over_fake_jobs

pytestmark = pytest.mark.fault


@pytest.mark.parametrize(
    ("kills", "wipes", "batch"), [(3, 1, 60), pytest.param(25, 4, 300, marks=pytest.mark.slow)]
)
def test_a_storm_loses_no_result(tmp_path, kills, wipes, batch):
    """F1, F2, F3: workers and whole runs are killed at random; every job ends as done, once, with its numbers."""
    random.seed(0)

    def is_over(storm):
        return storm.kills >= kills and storm.wipes >= wipes

    _, counts = storm_over_fake_jobs(
        tmp_path, is_over, batch=batch, pauses=(0.05, 0.4), kills_per_wipe=kills
    )
    assert counts.attempts >= counts.results


def test_only_the_killed_worker_is_replaced(tmp_path):
    """F1: the other worker keeps its process."""
    process = start(tmp_path / "r.db", 100, 2, tmp_path / "acks", seconds=0.05)
    victim, survivor = wait_for_workers(process.pid, 2)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(workers := set(workers_of(process.pid)) - {victim}) == 2 and workers)
    assert survivor in workers_of(process.pid)
    process.communicate()
    assert process.returncode == 0
    assert check_ledger(tmp_path / "r.db", tmp_path / "acks", metrics_of).results == 100


def test_after_a_run_is_killed_its_workers_end_and_the_next_run_goes_on(tmp_path):
    """F2: the workers end too, and the same command finishes the jobs without any unlocking."""
    db, acks = tmp_path / "r.db", tmp_path / "acks"
    process = start(db, 20, 2, acks, seconds=0.3)
    workers = wait_for_workers(process.pid, 2)
    wait_until(lambda: acks.exists() and acks.read_text())
    process.kill()
    process.communicate()
    wait_until(lambda: not any(map(is_running, workers)))
    check_ledger(db, acks, metrics_of, ended=False)
    second = start(db, 20, 2, acks)
    second.communicate()
    assert second.returncode == 0
    assert check_ledger(db, acks, metrics_of).results == 20


def test_two_runs_on_one_ledger_share_the_jobs(tmp_path):
    """F13: each job is computed once, and both runs succeed."""
    db, acks = tmp_path / "r.db", tmp_path / "acks"
    runs = [start(db, 100, 1, acks) for _ in range(2)]
    for process in runs:
        process.communicate()
    assert [process.returncode for process in runs] == [0, 0]
    counts = check_ledger(db, acks, metrics_of)
    assert (counts.results, counts.attempts) == (100, 100)
