"""Runs that share a ledger, and one dies: what it held is done by the other, whose 0 means that every cell is filled."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from harness.commands.exit_code import finish
from harness.ledger import Ledger
from harness.study import planning, request
from harness.study.grid_options import GridOptions
from tests.support.ledger_invariants import check_ledger
from tests.support.storm import ROOT, metrics_of

pytestmark = pytest.mark.fault
HANDS = "in the hands of another run"
HOLDER = """
import sys, time
from harness.ledger import Ledger
ledger = Ledger(sys.argv[1], write=True)
ledger.begin("bench run")
print(len(ledger.claim([entry.digest for entry in ledger.entries()], 1)), flush=True)
time.sleep(600)
"""


def start(db, count, acks, seconds):
    """A run on the fake method."""
    words = [sys.executable, "-m", "tests.support.fake_run", str(db), str(count), "1", str(acks)]
    env = os.environ | {"BENCH_FAKE_SECONDS": seconds}
    return subprocess.Popen(
        words, cwd=ROOT, env=env, start_new_session=True, stdout=subprocess.PIPE, text=True
    )


def read_until(process, text):
    """Its lines up to one with that text, or to its end."""
    for line in process.stdout:
        if text in line:
            return line
    return ""


def test_what_a_killed_run_held_is_done_by_the_one_that_shares_its_ledger(tmp_path):
    """F2, F13: the second has done all but one job, and waits; the first is killed; the second does that one as well."""
    db, acks = tmp_path / "r.db", tmp_path / "acks"
    first = start(db, 20, acks, "600")
    while not db.exists() or not db.stat().st_size or not claimed(db):
        assert first.poll() is None
        time.sleep(0.02)
    second = start(db, 20, acks, "0.02")
    assert read_until(second, HANDS).startswith("1 jobs are")
    assert second.poll() is None
    first.kill()
    assert second.wait(60) == 0
    found = check_ledger(str(db), acks, metrics_of)
    assert (found.results, found.attempts) == (20, 20)
    first.communicate()


def claimed(db):
    """How many jobs a run has."""
    with Ledger(str(db)) as ledger:
        return sum(count for _, _, state, count in ledger.counts() if state == "claimed")


def jobs(draws):
    """Those of a small grid of the embedded model."""
    grid = GridOptions(
        model="tiny", methods="lora", tasks="toy-sentiment", sizes="20", draws=str(draws), steps="4", eval_every="2",
        test_limit="30",
    )  # fmt: skip
    return planning.plan(request.read(grid)[0]).jobs


def hold(script, db):
    """A process that has claimed a job."""
    holder = subprocess.Popen(
        [sys.executable, "-c", script, db], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "1\n"
    return holder


@pytest.fixture
def waiting(bench, tmp_path):
    """A `bench run` of two jobs that has done one, and the process of another run that holds the other."""
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.add_jobs(jobs(2))
    holder = hold(HOLDER, str(tmp_path / "r.db"))
    run = bench.run_words(
        "r.db",
        "--methods",
        "lora",
        "--tasks",
        "toy-sentiment",
        "--draws",
        2,
        "-j",
        1,
        "--keep",
        "none",
    )
    process = bench.start(tmp_path, *run)
    read_until(process, HANDS)
    yield process, holder
    holder.kill()
    holder.communicate()


def test_a_run_that_ends_well_has_filled_every_cell(bench, tmp_path, waiting):
    """The other is killed: what it held is done, and then the run ends with 0."""
    process, holder = waiting
    holder.kill()
    assert bench.end(process).code == 0
    check_ledger(str(tmp_path / "r.db"))
    with Ledger(str(tmp_path / "r.db")) as ledger:
        assert [entry.state for entry in ledger.entries()] == ["done"] * 2


def test_ctrl_c_ends_the_waiting(bench, waiting):
    """F17: once, for nothing is under way."""
    process, _ = waiting
    os.killpg(process.pid, signal.SIGINT)
    ended = bench.end(process, timeout=20)
    assert ended.code == 130
    assert "the same command goes on" in ended.out


def test_cells_that_another_run_holds_are_not_filled(tmp_path, make_job, capsys):
    """A job that had ended when this run began, and that another run tries again: the exit code is not 0, and it is said."""
    job = make_job()
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.add_jobs([job])
        ledger.begin("another run")
        ledger.claim([job.digest], 1)
        assert finish(Console(), ledger, SimpleNamespace(jobs=[job]), "r.db", failed_now=False) == 1
    assert f"1 job {HANDS}" in capsys.readouterr().out


RETRYING = HOLDER.replace(", 1)", ', 1, retry=["diverged"])')


def test_a_retry_that_was_killed_is_tried_again_when_asked_only(bench, tmp_path, make_outcome):
    """The job is as it had ended: the next run leaves it so, and does not end with 0; with `--retry-failed` it is done."""
    db = str(tmp_path / "r.db")
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
    with Ledger(db, write=True) as ledger:
        [job] = jobs(1)
        ledger.add_jobs([job])
        ledger.begin("first")
        [claim] = ledger.claim([job.digest], 1)
        ledger.record(make_outcome(job, status="diverged", score=0.25, error="NaN"), claim.epoch)
    holder = hold(RETRYING, db)
    holder.kill()
    holder.communicate()
    ended = bench.run(tmp_path, "r.db", *words)
    assert ended.code == 1
    assert "1 cell failed" in ended.out
    with Ledger(db) as ledger:
        assert [(entry.state, entry.metrics) for entry in ledger.entries()] == [
            ("diverged", {"accuracy": 0.5, "score": 0.25})
        ]
    holder = hold(RETRYING, db)
    holder.kill()
    holder.communicate()
    assert bench.run(tmp_path, "r.db", *words, "--retry-failed").code == 0
    check_ledger(db)
