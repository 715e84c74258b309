"""One PostgreSQL ledger for a team: the same code, row locks in place of file locks, connections that break.

Runs where SIMPLEXBENCH_POSTGRES names a server on which databases may be made, as `.ci/run` sets it.
"""

import os
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import create_engine, make_url, text

from harness.ledger import Ledger
from harness.ledger.merging import merge
from tests.faults import fake
from tests.faults.oracle import check_ledger
from tests.faults.storm import ROOT, metrics_of, workers_of

SERVER = os.environ.get("SIMPLEXBENCH_POSTGRES", "")
pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(not SERVER, reason="SIMPLEXBENCH_POSTGRES names no PostgreSQL server"),
]


@pytest.fixture
def db(request):
    """The URL of a new database."""
    name = f"bench_{os.getpid()}_{abs(hash(request.node.name)) % 10**8}"
    admin = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(SERVER).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def start(db, count, slots, acks, seconds="0.02"):
    """A run on the fake method."""
    words = [sys.executable, "-m", "tests.faults.parent", db, str(count), str(slots), str(acks)]
    env = os.environ | {"BENCH_FAKE_SECONDS": seconds}
    return subprocess.Popen(words, cwd=ROOT, env=env, start_new_session=True, stdout=subprocess.DEVNULL)


def test_what_goes_in_comes_out_as_from_a_file(db, tmp_path):
    """NaN, curves, predictions, costs: a ledger on a server holds what one in a file holds, and merges with it."""
    jobs = [fake.job(number) for number in range(30)]
    for name in (db, str(tmp_path / "r.db")):
        with Ledger(name, write=True) as ledger:
            ledger.enter(jobs)
            ledger.begin("fake")
            for claim in ledger.claim([job.digest for job in jobs], 30):
                assert ledger.record(fake.outcome(claim.digest), claim.epoch)
    check_ledger(db, None, metrics_of)
    with Ledger(db) as here, Ledger(str(tmp_path / "r.db")) as there:
        assert [entry.digest for entry in here.entries()] == [entry.digest for entry in there.entries()]
        assert all(here.blobs(job.digest) == there.blobs(job.digest) for job in jobs)
        assert {(label, state, count) for _, label, state, count in here.counts()} == {("fake", "done", 30)}
    with Ledger(str(tmp_path / "copy.db"), write=True) as target, Ledger(db) as source:
        assert merge(target, source).results == 30
    check_ledger(str(tmp_path / "copy.db"), None, metrics_of)


def test_a_first_start_may_happen_four_times_at_once_and_four_runs_share_the_work(db, tmp_path):
    """F13, F14: four runs on no tables yet; each job is computed once."""
    acks = tmp_path / "acks"
    runs = [start(db, 240, 1, acks) for _ in range(4)]
    assert [run.wait(180) for run in runs] == [0] * 4
    found = check_ledger(db, acks, metrics_of)
    assert (found.results, found.attempts) == (240, 240)


def test_claims_of_a_killed_run_are_free_at_once(db, tmp_path):
    """F2: the server notices that the connection is gone; the next run takes the claims without waiting for a clock."""
    acks = tmp_path / "acks"
    process = start(db, 40, 2, acks, seconds="0.5")
    deadline = time.monotonic() + 30
    while not (acks.exists() and acks.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert workers_of(process.pid)
    process.kill()
    process.wait()
    began = time.monotonic()
    again = start(db, 40, 2, acks)
    assert again.wait(60) == 0
    assert time.monotonic() - began < 30
    assert check_ledger(db, acks, metrics_of).results == 40


def test_broken_connections_lose_nothing(db, tmp_path):
    """F29: every connection of the database is cut again and again while a run goes on; no result is lost, none kept twice."""
    acks, stop = tmp_path / "acks", threading.Event()
    cuts = 0

    def cut():
        nonlocal cuts
        admin = create_engine(SERVER, isolation_level="AUTOCOMMIT")
        name = make_url(db).database
        while not stop.wait(0.4):
            with admin.connect() as connection:
                cuts += len(connection.execute(
                    text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name}
                ).all())  # fmt: skip
        admin.dispose()

    with Ledger(db, write=True):
        pass  # the tables are there before the storm
    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        codes = [start(db, 300, 2, acks).wait(240)]
    finally:
        stop.set()
        cutter.join()
    if codes != [0]:  # what cannot be retried ends the run in words; the next goes on
        codes.append(start(db, 300, 2, acks).wait(120))
    assert codes[-1] == 0
    assert cuts > 5
    assert check_ledger(db, None, metrics_of).results == 300
    assert set(acks.read_text().split()) <= {fake.job(number).digest for number in range(300)}
    check_ledger(db, acks, metrics_of)


def test_the_command_works_on_a_server(db, bench, tmp_path):
    """Run, status, report and verify by URL; the password is never printed."""
    words = ("--methods", "lora,features", "--tasks", "toy-sentiment", "--draws", 2, "--keep", "none")
    ran = bench.run(tmp_path, db, *words)
    assert ran.code == 0, ran.err
    for command in (("status",), ("report",), ("db", "verify"), ("doctor",)):
        ended = bench(tmp_path, *command, "--db", db)
        assert ended.code == 0, ended.err
    wrong = make_url(db).set(password="hunter22", username="nobody").render_as_string(hide_password=False)
    refused = bench(tmp_path, "status", "--db", wrong)
    assert refused.code == 69
    assert "hunter22" not in refused.out + refused.err


def test_jobs_run_in_the_order_of_the_run_and_none_is_passed_over(db):
    """Entered in another order than this run wants them: each is claimed, first come first."""
    jobs = [fake.job(number) for number in range(8)]
    with Ledger(db, write=True) as ledger:
        ledger.enter(jobs)
        ledger.begin("fake")
        wanted = [jobs[number].digest for number in (5, 1, 7, 0, 3, 2, 6, 4)]
        assert [ledger.claim(wanted, 1)[0].digest for _ in wanted] == wanted


def test_a_server_that_goes_away_for_a_moment_is_waited_for(db, monkeypatch):
    """Its connections are refused for three seconds; the result is recorded all the same."""
    job = fake.job(0)
    with Ledger(db, write=True) as ledger:
        ledger.enter([job])
        ledger.begin("fake")
        [claim] = ledger.claim([job.digest], 1)
        engine, back = ledger._engine, time.monotonic() + 3
        whole = engine.begin

        def begin():
            if time.monotonic() < back:
                create_engine(make_url(db).set(port=1)).connect()
            return whole()

        monkeypatch.setattr(engine, "begin", begin)
        assert ledger.record(fake.outcome(job.digest), claim.epoch)
    check_ledger(db, None, metrics_of)


def test_runs_of_other_databases_keep_nothing_alive(db):
    """Locks are numbered for each database: a run of the same number elsewhere on the server says nothing here."""
    with Ledger(db, write=True) as here, Ledger(SERVER, write=True) as elsewhere:
        here.begin("fake")
        elsewhere.begin("other")
        assert not here.others()
        assert not elsewhere.others()
