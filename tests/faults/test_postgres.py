"""One PostgreSQL ledger for a team: the same code, row locks in place of file locks, connections that break.

Runs where SIMPLEXBENCH_POSTGRES names a server on which databases may be made, as `.ci/run` sets
it.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, event, make_url, text

from harness.ledger import Ledger
from harness.ledger.database import open_engine
from harness.ledger.liveness import ServerLock
from harness.ledger.merging import merge
from tests.support import fake_training
from tests.support.ledger_invariants import check_ledger
from tests.support.storm import ROOT, metrics_of, workers_of

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
    words = [sys.executable, "-m", "tests.support.fake_run", db, str(count), str(slots), str(acks)]
    env = os.environ | {"BENCH_FAKE_SECONDS": seconds}
    return subprocess.Popen(
        words, cwd=ROOT, env=env, start_new_session=True, stdout=subprocess.DEVNULL
    )


def test_what_goes_in_comes_out_as_from_a_file(db, tmp_path):
    """NaN, curves, predictions, costs: a ledger on a server holds what one in a file holds, and merges with it."""
    jobs = [fake_training.job(number) for number in range(30)]
    for name in (db, str(tmp_path / "r.db")):
        with Ledger(name, write=True) as ledger:
            ledger.add_jobs(jobs)
            ledger.begin("fake")
            for claim in ledger.claim([job.digest for job in jobs], 30):
                assert ledger.record(fake_training.outcome(claim.digest), claim.epoch)
    check_ledger(db, None, metrics_of)
    with Ledger(db) as here, Ledger(str(tmp_path / "r.db")) as there:
        assert [entry.digest for entry in here.entries()] == [
            entry.digest for entry in there.entries()
        ]
        assert all(here.blobs(job.digest) == there.blobs(job.digest) for job in jobs)
        assert {(label, state, count) for _, label, state, count in here.counts()} == {
            ("fake", "done", 30)
        }
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


def test_a_host_that_vanishes_holds_its_claims_for_minutes_and_not_hours(db):
    """The server itself asks whether the holder of a run's lock is there: what it says of its end of that connection."""
    with Ledger(db, write=True) as ledger:
        ledger.begin("fake")
        connection = ledger._lock._connection
        asked = [
            connection.execute(text(f"SHOW tcp_keepalives_{name}")).scalar()
            for name in ("idle", "interval", "count")
        ]
        assert connection.execute(
            text("SELECT inet_server_port()")
        ).scalar()  # over TCP: these are the socket's own values
    assert asked == ["60", "10", "6"]


def test_a_server_that_vanishes_is_given_up_after_two_minutes(db):
    """The sockets of this side probe a silent server and wait for nothing longer; what a user's URL says comes first."""

    def socket_of(name):
        engine = open_engine(name, write=True)
        with (
            engine.connect() as connection,
            socket.fromfd(
                connection.connection.pgconn.socket, socket.AF_INET, socket.SOCK_STREAM
            ) as own,
        ):
            said = [own.getsockopt(socket.IPPROTO_TCP, option) for option in (
                socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)]  # fmt: skip
        engine.dispose()
        return said

    assert socket_of(db) == [60, 10, 6, 120_000]
    assert socket_of(f"{db}?keepalives_idle=7") == [7, 10, 6, 120_000]


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
    assert set(acks.read_text().split()) <= {
        fake_training.job(number).digest for number in range(300)
    }
    check_ledger(db, acks, metrics_of)


def test_the_command_works_on_a_server(db, bench, tmp_path):
    """Run, status, report and verify by URL; the password is never printed."""
    words = (
        "--methods",
        "lora,features",
        "--tasks",
        "toy-sentiment",
        "--draws",
        2,
        "--keep",
        "none",
    )
    ran = bench.run(tmp_path, db, *words)
    assert ran.code == 0, ran.err
    for command in (("status",), ("report",), ("db", "verify"), ("doctor",)):
        ended = bench(tmp_path, *command, "--db", db)
        assert ended.code == 0, ended.err
    wrong = (
        make_url(db)
        .set(password="hunter22", username="nobody")
        .render_as_string(hide_password=False)
    )
    refused = bench(tmp_path, "status", "--db", wrong)
    assert refused.code == 69
    assert "hunter22" not in refused.out + refused.err


def test_jobs_run_in_the_order_of_the_run_and_none_is_passed_over(db):
    """Entered in another order than this run wants them: each is claimed, first come first."""
    jobs = [fake_training.job(number) for number in range(8)]
    with Ledger(db, write=True) as ledger:
        ledger.add_jobs(jobs)
        ledger.begin("fake")
        wanted = [jobs[number].digest for number in (5, 1, 7, 0, 3, 2, 6, 4)]
        assert [ledger.claim(wanted, 1)[0].digest for _ in wanted] == wanted


def test_a_server_that_goes_away_for_a_moment_is_waited_for(db, monkeypatch):
    """Its connections are refused for three seconds; the result is recorded all the same."""
    job = fake_training.job(0)
    with Ledger(db, write=True) as ledger:
        ledger.add_jobs([job])
        ledger.begin("fake")
        [claim] = ledger.claim([job.digest], 1)
        engine, back = ledger._engine, time.monotonic() + 3
        whole = engine.begin

        def begin():
            if time.monotonic() < back:
                create_engine(make_url(db).set(port=1)).connect()
            return whole()

        monkeypatch.setattr(engine, "begin", begin)
        assert ledger.record(fake_training.outcome(job.digest), claim.epoch)
    check_ledger(db, None, metrics_of)


def test_runs_that_enter_the_same_jobs_in_another_order_all_go_on(db, monkeypatch):
    """Each has entered a job that the other enters next: the server ends one of the transactions, which is tried again."""
    monkeypatch.setattr("harness.ledger.ledger.CHUNK", 14)  # a job a statement
    first, second, known = (fake_training.job(number) for number in range(3))
    both = threading.Barrier(2)

    def enter(jobs):
        met = []

        def meet(_connection, _cursor, statement, *_):
            if statement.startswith("INSERT INTO job") and not met:
                met.append(statement)
                both.wait(30)

        with Ledger(db, write=True) as ledger:
            event.listen(ledger._engine, "after_cursor_execute", meet)
            ledger.add_jobs(jobs)

    with Ledger(db, write=True) as ledger:
        ledger.add_jobs([known])  # and with it the setting of all
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(enter, [(first, second), (second, first)]))
    with Ledger(db) as ledger:
        assert {entry.digest for entry in ledger.entries()} == {
            first.digest,
            second.digest,
            known.digest,
        }


def test_runs_of_other_databases_keep_nothing_alive(db):
    """Locks are numbered for each database: a run of the same number elsewhere on the server says nothing here."""
    with Ledger(db, write=True) as here, Ledger(SERVER, write=True) as elsewhere:
        here.begin("fake")
        elsewhere.begin("other")
        assert not here.has_other_runs()
        assert not elsewhere.has_other_runs()


def cut_lock(db):
    """End the connections that hold a run's lock, and no other."""
    admin = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    wanted = """
        SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = :space
        AND database = (SELECT oid FROM pg_database WHERE datname = :name)
    """
    with admin.connect() as connection:
        cut = connection.execute(
            text(wanted), {"space": ServerLock.SPACE, "name": make_url(db).database}
        ).all()
        while connection.execute(
            text(wanted), {"space": ServerLock.SPACE, "name": make_url(db).database}
        ).all():
            time.sleep(0.01)
    admin.dispose()
    return len(cut)


@pytest.fixture
def orphaned(db, monkeypatch):
    """A run that has claimed a job and lost its lock, a second run, the job and the claim."""
    monkeypatch.setattr("harness.ledger.ledger.LOCK_CHECK_INTERVAL", 0.0)
    job = fake_training.job(0)
    with Ledger(db, write=True) as first, Ledger(db, write=True) as second:
        first.add_jobs([job])
        first.begin("first")
        [claim] = first.claim([job.digest], 1)
        assert cut_lock(db) == 1
        second.begin("second")
        yield first, second, job.digest, claim
    check_ledger(db, None, metrics_of)


def test_a_lock_lost_unnoticed_is_taken_again(orphaned):
    """F29: only the connection with the lock broke; at its next look the run holds it again, and nobody takes it for dead."""
    first, second, digest, claim = orphaned
    first.keep_lock()
    assert second.release_dead_claims() == 0
    assert second.claim([digest], 1) == []
    assert first.record(fake_training.outcome(digest), claim.epoch)


def test_what_was_set_free_and_claimed_by_nobody_is_claimed_again(orphaned):
    """F29: another run took the first for dead; the first looks, and the job is its own as before."""
    first, second, digest, claim = orphaned
    assert second.release_dead_claims() == 1
    first.keep_lock()
    assert second.claim([digest], 1) == []
    assert second.release_dead_claims() == 0
    assert first.record(fake_training.outcome(digest), claim.epoch)


def test_a_result_of_a_job_that_was_set_free_is_kept(orphaned):
    """F29: and it ends before the run has looked at its lock: nobody has the job, so the result is not thrown away."""
    first, second, digest, claim = orphaned
    assert second.release_dead_claims() == 1
    assert first.record(fake_training.outcome(digest), claim.epoch)
    assert second.claim([digest], 1) == []


def test_a_job_that_another_run_has_taken_over_is_recorded_by_that_run(orphaned):
    """F5, F29: claimed by the second, it stays the second's, whatever the first does; one attempt, one result."""
    first, second, digest, claim = orphaned
    assert second.release_dead_claims() == 1
    [held] = second.claim([digest], 1)
    first.keep_lock()
    assert not first.record(fake_training.outcome(digest), claim.epoch)
    first.release_claims([claim])
    assert second.record(fake_training.outcome(digest), held.epoch)
    assert not first.record(fake_training.outcome(digest), claim.epoch)


def test_locks_that_break_while_two_runs_share_the_work_lose_no_result(db, tmp_path):
    """F29: locks are cut for seven seconds, and what is in flight is set free; both runs end, and each job has one result."""
    acks = tmp_path / "acks"
    runs = [start(db, 60, 1, acks, seconds="0.3") for _ in range(2)]
    while not (acks.exists() and acks.read_text()):
        time.sleep(0.05)
    cuts = freed = 0
    for _ in range(8):
        cuts += cut_lock(db)
        with Ledger(db, write=True) as third:
            third.begin("third")
            freed += third.release_dead_claims()
        time.sleep(0.8)
    assert cuts > 2  # of two runs: a lock that was cut was taken again
    assert freed >= 8
    assert [run.wait(120) for run in runs] == [0, 0]
    found = check_ledger(db, acks, metrics_of)
    assert (found.results, found.attempts) == (60, 60)
