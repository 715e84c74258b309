"""A ledger on a PostgreSQL server: row locks instead of file locks, and connections that break.

The tests run if SIMPLEXBENCH_POSTGRES names a server on which databases may be created, as in `.ci/run`.
"""

import os
import shlex
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, event, func, make_url, select, text

from harness.jobs import Recipe
from harness.ledger import Ledger, looks
from harness.ledger.database import open_engine
from harness.ledger.liveness import ServerLock
from harness.ledger.merging import merge
from harness.ledger.statements import insert_missing, table_of
from harness.ledger.tables import JobRow, Meta
from tests.support import fake_training
from tests.support.fake_run import start
from tests.support.fake_training import metrics_of
from tests.support.ledger_invariants import check_ledger
from tests.support.processes import wait_for_workers, wait_until

SERVER = os.environ.get("SIMPLEXBENCH_POSTGRES", "")
pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(not SERVER, reason="SIMPLEXBENCH_POSTGRES names no PostgreSQL server"),
]


@pytest.fixture
def db(request):
    """The URL of a new database on the server."""
    name = f"bench_{os.getpid()}_{abs(hash(request.node.name)) % 10**8}"
    admin = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(SERVER).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def test_a_server_stores_what_a_file_stores(db, tmp_path):
    """NaN, curves, predictions and costs are read back as from a file, and the two ledgers can be merged."""
    jobs = [fake_training.job(number) for number in range(30)]
    for name in (db, str(tmp_path / "r.db")):
        with Ledger(name, write=True) as ledger:
            ledger.add_jobs(jobs)
            ledger.begin("fake")
            for claim in ledger.claim([job.digest for job in jobs], 30):
                assert ledger.record(fake_training.outcome(claim.digest), claim.number)
    check_ledger(db, None, metrics_of)
    with Ledger(db) as server, Ledger(str(tmp_path / "r.db")) as file:
        assert [entry.digest for entry in server.entries()] == [
            entry.digest for entry in file.entries()
        ]
        assert all(server.blobs(job.digest) == file.blobs(job.digest) for job in jobs)
        assert {(label, state, count) for _, label, state, count in server.counts()} == {
            ("fake", "done", 30)
        }
    with Ledger(str(tmp_path / "copy.db"), write=True) as target, Ledger(db) as source:
        assert merge(target, source).results == 30
    check_ledger(str(tmp_path / "copy.db"), None, metrics_of)


def test_four_simultaneous_first_runs_share_the_jobs(db, tmp_path):
    """F13, F14: four runs start without tables; each job is computed once."""
    acks = tmp_path / "acks"
    runs = [start(db, 120, 1, acks) for _ in range(4)]
    for process in runs:
        process.communicate()
    assert [process.returncode for process in runs] == [0] * 4
    counts = check_ledger(db, acks, metrics_of)
    assert (counts.results, counts.attempts) == (120, 120)


@pytest.mark.parametrize("statement", ["FROM setting", "FROM meta"])
def test_runs_that_add_jobs_at_the_same_time_wait_for_each_other(db, statement):
    """F14: jobs of other settings that are added during the record of a look break neither run, and both looks stay."""

    def jobs_of(lr, numbers):
        return [
            replace(fake_training.job(5 * number), options={"lr": lr}, recipe=Recipe(steps=steps))
            for number in numbers
            for steps in (4, 8)
        ]

    threads = []
    with Ledger(db, write=True) as first, Ledger(db, write=True) as second:
        for lr in (0.1, 0.2):  # two complete methods under each of two recipes
            jobs = jobs_of(lr, range(3))
            first.add_jobs(jobs)
            first.begin("fake")
            for claim in first.claim([job.digest for job in jobs], len(jobs)):
                assert first.record(fake_training.outcome(claim.digest), claim.number)

        @event.listens_for(first._engine, "after_cursor_execute")
        def add_others(_connection, _cursor, text, *_):
            if statement in text and not threads:
                jobs = jobs_of(0.2, range(3, 5))[1::2] + jobs_of(0.3, range(3))
                threads.append(ThreadPoolExecutor(1).submit(second.add_jobs, jobs))
                with suppress(TimeoutError):
                    threads[0].result(timeout=0.5)

        assert first.add_jobs(jobs_of(0.1, range(3, 5))[::2])
        assert threads[0].result(timeout=30)
        stored = looks.parse(first.meta_values()[looks.KEY])
    assert [len(found) for found in stored.values()] == [1, 1]


def test_a_reader_sees_one_state(db):
    """What other processes commit during a reader's transaction is not in its later statements."""
    with Ledger(db, write=True) as writer:
        writer.add_jobs([fake_training.job(0)])
        count = select(func.count()).select_from(table_of(JobRow))
        with Ledger(db) as reader, reader.transaction() as connection:
            before = connection.execute(count).scalar()
            writer.add_jobs([fake_training.job(1)])
            assert connection.execute(count).scalar() == before == 1


def test_claims_of_a_killed_run_are_released(db, tmp_path):
    """F2: the server notices that the connection of a killed run is gone, and the next run takes over its claims."""
    acks = tmp_path / "acks"
    process = start(db, 20, 2, acks, seconds=0.5)
    wait_until(lambda: acks.exists() and acks.read_text())
    assert wait_for_workers(process.pid, 2)
    process.kill()
    process.communicate()
    second = start(db, 20, 2, acks)
    second.communicate()
    assert second.returncode == 0
    assert check_ledger(db, acks, metrics_of).results == 20


def test_the_server_probes_the_connection_of_a_lock(db):
    """The server sets its keepalive so that a vanished host keeps its claims for minutes and not for hours."""
    with Ledger(db, write=True) as ledger:
        ledger.begin("fake")
        connection = ledger._lock._connection
        settings = [
            connection.execute(text(f"SHOW tcp_keepalives_{name}")).scalar()
            for name in ("idle", "interval", "count")
        ]
        # Over TCP, these are the values of the socket itself.
        assert connection.execute(text("SELECT inet_server_port()")).scalar()
    assert settings == ["60", "10", "6"]


def test_this_side_probes_a_silent_server(db):
    """The client's sockets give a silent server up after two minutes; values in the user's URL take precedence."""

    def socket_options(name):
        engine = open_engine(name, write=True)
        with (
            engine.connect() as connection,
            socket.fromfd(
                connection.connection.pgconn.socket, socket.AF_INET, socket.SOCK_STREAM
            ) as client,
        ):
            options = [client.getsockopt(socket.IPPROTO_TCP, option) for option in (
                socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)]  # fmt: skip
        engine.dispose()
        return options

    assert socket_options(db) == [60, 10, 6, 120_000]
    assert socket_options(f"{db}?keepalives_idle=7") == [7, 10, 6, 120_000]


@pytest.mark.slow
def test_broken_connections_lose_no_result(db, tmp_path):
    """F29: all connections to the database are cut again and again during a run; no result is lost or repeated."""
    acks, ended = tmp_path / "acks", threading.Event()
    cuts = 0

    def cut():
        nonlocal cuts
        admin = create_engine(SERVER, isolation_level="AUTOCOMMIT")
        query = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
        # A command that cannot open its database ends at once, which is not what this test is about.
        wait_until(lambda: acks.exists() and acks.read_text())
        while not ended.wait(0.4):
            with admin.connect() as connection:
                cuts += len(connection.execute(query, {"name": make_url(db).database}).all())
        admin.dispose()

    with Ledger(db, write=True):
        pass  # creates the tables
    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        process = start(db, 300, 2, acks)
        process.communicate()
    finally:
        ended.set()
        cutter.join()
    if process.returncode != 0:  # an error that cannot be retried ends a run; the next run goes on
        process = start(db, 300, 2, acks)
        process.communicate()
    assert process.returncode == 0
    assert cuts > 5
    assert check_ledger(db, acks, metrics_of).results == 300


def test_the_commands_work_on_a_server(db, bench, tmp_path):
    """`run`, `status`, `report` and `verify` accept a URL and never print its password."""
    grid = shlex.split("--methods lora,features --tasks toy-sentiment --draws 2 --keep none")
    ended = bench.run(tmp_path, db, *grid)
    assert ended.code == 0, ended.err
    for command in (("status",), ("report",), ("db", "verify"), ("doctor",)):
        ended = bench(tmp_path, *command, "--db", db)
        assert ended.code == 0, ended.err
    url = make_url(db).set(password="hunter22", username="nobody")
    ended = bench(tmp_path, "status", "--db", url.render_as_string(hide_password=False))
    assert ended.code == 69
    assert "hunter22" not in ended.out + ended.err


def test_jobs_are_claimed_in_the_order_of_the_run(db):
    """The order of the claims is that of the digests, not that in which the jobs were added."""
    jobs = [fake_training.job(number) for number in range(8)]
    with Ledger(db, write=True) as ledger:
        ledger.add_jobs(jobs)
        ledger.begin("fake")
        digests = [jobs[number].digest for number in (5, 1, 7, 0, 3, 2, 6, 4)]
        assert [ledger.claim(digests, 1)[0].digest for _ in digests] == digests


def test_a_server_that_goes_away_is_waited_for(db, monkeypatch):
    """Three connections are refused, then the server is back; the result is recorded."""
    job, refused = fake_training.job(0), []
    with Ledger(db, write=True) as ledger:
        ledger.add_jobs([job])
        ledger.begin("fake")
        [claim] = ledger.claim([job.digest], 1)
        engine_begin = ledger._engine.begin

        def begin():
            if len(refused) < 3:
                refused.append(1)
                create_engine(make_url(db).set(port=1)).connect()
            return engine_begin()

        monkeypatch.setattr(ledger._engine, "begin", begin)
        assert ledger.record(fake_training.outcome(job.digest), claim.number)
    assert len(refused) == 3
    check_ledger(db, None, metrics_of)


def test_a_deadlock_between_two_runs_is_retried(db):
    """Two transactions write the same rows in different orders: the server ends one of them, which is tried again."""
    both = threading.Barrier(2)
    starts = []

    def write(keys):
        def work(connection):
            for key in keys:
                insert_missing(connection, table_of(Meta), [{"key": key, "value": ""}], "key")
                if len(starts) < 2:
                    starts.append(key)
                    both.wait(30)

        with Ledger(db, write=True) as ledger:
            ledger._retry(work)

    with Ledger(db, write=True) as ledger:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(write, ["ab", "ba"]))
        assert set(starts) == {"a", "b"} <= set(ledger.meta_values())


def test_runs_of_other_databases_are_not_counted(db):
    """Locks belong to a database: a run with the same id in another database of the server is another run."""
    with Ledger(db, write=True) as first, Ledger(SERVER, write=True) as second:
        first.begin("fake")
        second.begin("other")
        assert not first.has_other_runs()
        assert not second.has_other_runs()


def cut_locks(db):
    """End the connections that hold the lock of a run, and no others; return how many there were."""
    admin = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    query = text("""
        SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = :space
        AND database = (SELECT oid FROM pg_database WHERE datname = :name)
    """)
    parameters = {"space": ServerLock.SPACE, "name": make_url(db).database}
    with admin.connect() as connection:
        cut = connection.execute(query, parameters).all()
        wait_until(lambda: not connection.execute(query, parameters).all())
    admin.dispose()
    return len(cut)


@pytest.fixture
def orphaned(db, monkeypatch):
    """A run that has claimed a job and lost its lock, a second run, the digest of the job, and the claim."""
    monkeypatch.setattr("harness.ledger.ledger.LOCK_CHECK_INTERVAL", 0.0)
    job = fake_training.job(0)
    with Ledger(db, write=True) as first, Ledger(db, write=True) as second:
        first.add_jobs([job])
        first.begin("first")
        [claim] = first.claim([job.digest], 1)
        assert cut_locks(db) == 1
        second.begin("second")
        yield first, second, job.digest, claim
    check_ledger(db, None, metrics_of)


def test_a_lost_lock_is_renewed(orphaned):
    """F29: only the connection of the lock broke; the run renews it at its next check, and its claims stay."""
    first, second, digest, claim = orphaned
    first.keep_lock()
    assert second.release_dead_claims() == 0
    assert second.claim([digest], 1) == []
    assert first.record(fake_training.outcome(digest), claim.number)


def test_a_released_claim_is_taken_back(orphaned):
    """F29: another run released the claim; as nobody has claimed the job since, the first run takes it back."""
    first, second, digest, claim = orphaned
    assert second.release_dead_claims() == 1
    first.keep_lock()
    assert second.claim([digest], 1) == []
    assert second.release_dead_claims() == 0
    assert first.record(fake_training.outcome(digest), claim.number)


def test_a_result_of_a_released_claim_is_accepted(orphaned):
    """F29: the job ends before the run has checked its lock; as nobody has claimed the job, the result counts."""
    first, second, digest, claim = orphaned
    assert second.release_dead_claims() == 1
    assert first.record(fake_training.outcome(digest), claim.number)
    assert second.claim([digest], 1) == []


def test_a_job_claimed_by_another_run_is_recorded_by_that_run(orphaned):
    """F5, F29: once the second run has claimed the job, the first one cannot record it; there is one attempt."""
    first, second, digest, claim = orphaned
    assert second.release_dead_claims() == 1
    [new_claim] = second.claim([digest], 1)
    first.keep_lock()
    assert not first.record(fake_training.outcome(digest), claim.number)
    first.release_claims([claim])
    assert second.record(fake_training.outcome(digest), new_claim.number)
    assert not first.record(fake_training.outcome(digest), claim.number)


@pytest.mark.slow
def test_locks_that_break_during_two_runs_lose_no_result(db, tmp_path):
    """F29: locks are cut and claims released eight times; both runs succeed, and each job has one result."""
    acks = tmp_path / "acks"
    runs = [start(db, 60, 1, acks, seconds=0.3) for _ in range(2)]
    wait_until(lambda: acks.exists() and acks.read_text())
    cuts = released = 0
    for _ in range(8):
        cuts += cut_locks(db)
        with Ledger(db, write=True) as third:
            third.begin("third")
            released += third.release_dead_claims()
        time.sleep(0.8)
    assert cuts > 2  # there are two runs: at least one lock was renewed after a cut
    assert released >= 8
    for process in runs:
        process.communicate()
    assert [process.returncode for process in runs] == [0, 0]
    counts = check_ledger(db, acks, metrics_of)
    assert (counts.results, counts.attempts) == (60, 60)
