"""Runs that share a ledger: if one dies, the other does its jobs, and exit code 0 means that every cell is filled."""

import os
import shlex
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from harness.ledger import Ledger
from harness.scheduling import summary
from harness.study import planning, request
from harness.study.grid_options import GridOptions
from tests.support.fake_run import ROOT, start
from tests.support.fake_training import metrics_of
from tests.support.ledger_invariants import check_ledger
from tests.support.processes import wait_until

pytestmark = pytest.mark.fault
GRID = shlex.split("--methods lora --tasks toy-sentiment --keep none")
WAITING = "claimed by another run: waiting"
# Claims one job and keeps it until it is killed.
CLAIMER = """
import sys, time
from harness.ledger import Ledger
ledger = Ledger(sys.argv[1], write=True)
ledger.begin("bench run")
print(len(ledger.claim([entry.digest for entry in ledger.entries()], 1, retry=sys.argv[2:])), flush=True)
time.sleep(600)
"""


def read_until(process, text):
    """Return the next line of a process with some text, or nothing if it ends before."""
    return next((line for line in process.stdout if text in line), "")


def count_claimed(db):
    """Return how many jobs are claimed."""
    if not db.exists() or not db.stat().st_size:
        return 0
    with Ledger(str(db)) as ledger:
        return sum(count for _, _, state, count in ledger.counts() if state == "claimed")


def test_the_jobs_of_a_killed_run_are_done_by_the_other_run(tmp_path):
    """F2, F13: the second run does all jobs but one and waits; when the first is killed, it does that one too."""
    db, acks = tmp_path / "r.db", tmp_path / "acks"
    first = start(db, 20, 1, acks, seconds=600)
    wait_until(lambda: count_claimed(db))
    second = start(db, 20, 1, acks)
    assert read_until(second, WAITING).startswith("1 job is")
    assert second.poll() is None
    first.kill()
    second.communicate()
    assert second.returncode == 0
    counts = check_ledger(db, acks, metrics_of)
    assert (counts.results, counts.attempts) == (20, 20)
    first.communicate()


def plan_jobs(draws):
    """Return the jobs of a small grid of the embedded model."""
    grid = GridOptions(
        model="tiny", methods="lora", tasks="toy-sentiment", sizes="20", draws=str(draws), steps="4", eval_every="2",
        test_limit="30",
    )  # fmt: skip
    return planning.plan(request.read(grid)[0]).jobs


def start_claimer(db, *retry):
    """Start a process that has claimed a job."""
    claimer = subprocess.Popen(
        [sys.executable, "-c", CLAIMER, str(db), *retry],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert claimer.stdout.readline() == "1\n"
    return claimer


def kill(process):
    """Kill a process and wait for its end."""
    process.kill()
    process.communicate()


@pytest.fixture
def waiting_run(bench, tmp_path):
    """A `bench run` of two jobs that has done one, and the process of another run that has claimed the other."""
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.add_jobs(plan_jobs(2))
    claimer = start_claimer(tmp_path / "r.db")
    process = bench.start(tmp_path, *bench.run_words("r.db", *GRID, "--draws", 2, "-j", 1))
    assert read_until(process, WAITING)
    yield process, claimer
    kill(claimer)
    kill(process)


@pytest.mark.slow
def test_a_run_that_succeeds_has_filled_every_cell(bench, tmp_path, waiting_run):
    """When the other run is killed, the waiting run does its job and ends with 0."""
    process, claimer = waiting_run
    claimer.kill()
    assert bench.end(process).code == 0
    check_ledger(tmp_path / "r.db")
    with Ledger(str(tmp_path / "r.db")) as ledger:
        assert [entry.state for entry in ledger.entries()] == ["done"] * 2


@pytest.mark.slow
def test_ctrl_c_ends_the_wait_for_another_run(bench, waiting_run):
    """F17: one Ctrl-C is enough, since no job is running."""
    process, _ = waiting_run
    os.killpg(process.pid, signal.SIGINT)
    ended = bench.end(process)
    assert ended.code == 130
    assert "the same command goes on" in ended.out


def test_claimed_cells_are_not_filled(tmp_path, make_job, capsys):
    """If another run tries a job of this grid again, the exit code is not 0 and the message says why."""
    job = make_job()
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.add_jobs([job])
        ledger.begin("another run")
        ledger.claim([job.digest], 1)
        plan = SimpleNamespace(jobs=[job])
        assert summary.finish(Console(), ledger, plan, "r.db", failed_now=False) == 1
    assert "1 job claimed by another run" in capsys.readouterr().out


def test_a_killed_retry_is_tried_again_only_on_request(bench, tmp_path, make_outcome):
    """The job keeps its earlier outcome: the next run leaves it and ends with 1; with `--retry-failed` it is done."""
    db = str(tmp_path / "r.db")
    options = (*GRID, "--draws", 1, "--inline")
    [job] = plan_jobs(1)
    with Ledger(db, write=True) as ledger:
        ledger.add_jobs([job])
        ledger.begin("first")
        [claim] = ledger.claim([job.digest], 1)
        ledger.record(make_outcome(job, status="diverged", score=0.25, error="NaN"), claim.number)
    kill(start_claimer(db, "diverged"))
    ended = bench.run(tmp_path, "r.db", *options)
    assert ended.code == 1
    assert "1 cell failed" in ended.out
    with Ledger(db) as ledger:
        assert [(entry.state, entry.metrics) for entry in ledger.entries()] == [
            ("diverged", {"accuracy": 0.5, "score": 0.25})
        ]
    kill(start_claimer(db, "diverged"))
    assert bench.run(tmp_path, "r.db", *options, "--retry-failed").code == 0
    check_ledger(db)
