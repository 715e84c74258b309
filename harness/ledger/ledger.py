"""The ledger for writing: a run adds jobs, claims them and records their outcomes.

A job is done when one transaction has committed its result, metrics and blobs (`results.py`).
`claims.py` decides which run may record a result. Only this folder uses database rows: callers pass
jobs and outcomes, and get entries.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from harness import provenance
from harness.errors import Busy
from harness.jobs import Job
from harness.ledger import claims, looks
from harness.ledger.claims import Claim
from harness.ledger.database import execute_outside_transaction, user_error
from harness.ledger.liveness import FileLock, ServerLock, is_locked
from harness.ledger.reader import LedgerReader
from harness.ledger.results import commit_outcome, is_committed
from harness.ledger.statements import (
    CHUNK,
    chunks,
    insert_missing,
    insert_row,
    now,
    table_of,
    text_ids,
)
from harness.ledger.tables import Attempt, Blob, JobRow, Meta, MetricRow, Result, RunRow, Setting
from harness.outcome import Outcome
from harness.redaction import redact

T = TypeVar("T")
SERVER_PATIENCE = 60.0  # seconds to wait for a server that does not answer
LOCK_CHECK_INTERVAL = 5.0  # seconds between two checks of the lock that a server keeps for a run
RETRY_INTERVAL = 0.5  # seconds between two attempts at a transaction
# After `wait_while`, one attempt waits this many seconds for a locked file. It is short because Python
# handles signals only between attempts.
LOCKED_FILE_ATTEMPT = 0.5
VALUES_PER_JOB = 14  # in the statement that inserts jobs


class InfeasibleCell(NamedTuple):
    """A cell that cannot be computed, and the reason."""

    job: Job  # its draw has no fingerprint
    reason: str


class Ledger(LedgerReader):
    """An open ledger. Usable in a `with` block.

    Args:
        name: a file, or a database URL.
        write: whether to create, upgrade and change it. Reading never changes anything.

    Raises:
        CorruptData, CannotWrite, Unavailable, Busy: see `open_engine`.
    """

    def __init__(self, name: str, *, write: bool = False) -> None:
        super().__init__(name, write=write)
        self._run: int | None = None
        self._lock: FileLock | ServerLock | None = None
        self._lock_checked = monotonic()
        self._wait_while: Callable[[float], bool] = lambda _: False
        # The number of each claim of this run whose result is not recorded yet, by digest.
        self._in_flight: dict[str, int] = {}
        self._versions: dict[str, str] = {}

    def close(self) -> None:
        """End the run, if one was begun, and close the connection."""
        if self._run is not None:
            with suppress(Busy):  # other runs release its claims: it no longer holds its lock
                self._retry(self._end_run)
            self._run = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        super().close()

    def _end_run(self, connection: Connection) -> None:
        runs = table_of(RunRow)
        claims.release_claims(connection, self._run)
        connection.execute(update(runs).where(runs.c.id == self._run).values(ended=now()))

    # -- transactions

    def wait_while(self, keep_waiting: Callable[[float], bool]) -> None:
        """From now on, if another process has locked the file, wait as long as `keep_waiting` returns True.

        Args:
            keep_waiting: called about once a second with the seconds that this wait has lasted.
        """
        self._wait_while = keep_waiting
        if not self._on_server:
            milliseconds = f"{1000 * LOCKED_FILE_ATTEMPT:.0f}"
            execute_outside_transaction(self._engine, f"PRAGMA busy_timeout = {milliseconds}")

    def _retry(self, work: Callable[[Connection], T]) -> T:
        """Run a transaction, again and again, until it succeeds or its error is permanent.

        A connection may break after a commit, so `work` may run again after a success. It must then
        change nothing more.
        """
        started = monotonic()
        while True:
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except IntegrityError:
                raise  # the tables refuse a value: a bug of this program, not damage of the file
            except DatabaseError as error:
                if not self._is_temporary(error, monotonic() - started):
                    raise user_error(error, self.name) from error
            sleep(RETRY_INTERVAL)
            self._renew_lock()

    def _is_temporary(self, error: DatabaseError, seconds: float) -> bool:
        """Return whether to try again.

        Args:
            error: of the last attempt.
            seconds: since the first attempt.
        """
        if self._on_server:
            return _is_temporary_on_server(error) and seconds < SERVER_PATIENCE
        return isinstance(user_error(error, self.name), Busy) and self._wait_while(seconds)

    # -- the run and its lock

    def begin(self, command: str) -> None:
        """Begin a run, which may claim jobs until this ledger is closed.

        Args:
            command: the command line, for the database.
        """
        file = None if self._on_server else FileLock.create(self._locks)
        self._versions = provenance.environment()

        def work(connection: Connection) -> int:
            values = {
                "started": now(),
                "command": redact(command),
                "program": provenance.program_version(),
                "lock": file.path.name if file else "",
            }
            run = insert_row(connection, table_of(RunRow), values)
            self._lock = file or ServerLock(self._engine, run)  # before other runs can see this one
            return run

        self._run = self._retry(work)

    def keep_lock(self) -> None:
        """Take the lock again if this run has lost it. Call this often: it checks only every few seconds."""
        due = monotonic() - self._lock_checked > LOCK_CHECK_INTERVAL
        if due and isinstance(self._lock, ServerLock):
            self._renew_lock()
            self._lock_checked = monotonic()

    def _renew_lock(self) -> None:
        """If the lock's connection broke, take the lock again, and the claims that other runs released."""
        if not isinstance(self._lock, ServerLock) or self._run is None or self._lock.is_held():
            return
        with suppress(DatabaseError, Busy):  # the server may not answer yet
            self._lock.release()  # the old connection may still hold the lock on the server
            self._lock = ServerLock(self._engine, self._run)
            with self._engine.begin() as connection:
                claims.reclaim(connection, self._run, self._in_flight)

    def has_other_runs(self) -> bool:
        """Return whether another run is alive on this ledger."""
        if self._on_server:
            with self.transaction() as connection:
                return bool(ServerLock.live_runs(connection) - {self._run})
        path = self._lock.path if isinstance(self._lock, FileLock) else None
        return any(lock != path and is_locked(lock) for lock in self._locks.glob("*.lock"))

    @property
    def _on_server(self) -> bool:
        return self._engine.dialect.name == "postgresql"

    @property
    def _locks(self) -> Path:
        """The folder with the lock files of the runs on a SQLite file, the same for every link to it."""
        path = Path(self.name).resolve()
        return path.with_name(f".{path.name}.runs")

    def _live_runs(self, connection: Connection, locks: Mapping[int, str]) -> set[int]:
        """Return the ids of the runs that are alive.

        Args:
            connection: an open transaction.
            locks: name of the lock file of each run, by run id.
        """
        if self._on_server:
            return ServerLock.live_runs(connection)
        return {run for run, lock in locks.items() if is_locked(self._locks / lock)}

    # -- jobs

    def add_jobs(self, jobs: Sequence[Job], infeasible: Sequence[InfeasibleCell] = ()) -> list[str]:
        """Add jobs and infeasible cells, and return the digests of those that the ledger did not have."""
        rows = [(job, "planned", "") for job in jobs]
        rows += [(cell.job, "infeasible", redact(cell.reason)) for cell in infeasible]
        known = self.states([job.digest for job, _, _ in rows])
        missing = [row for row in rows if row[0].digest not in known]

        new_runs: dict[looks.Place, set[tuple[int, int]]] = {}
        places: dict[tuple[str, int], looks.Place] = {}  # by setting and size, which jobs share
        for job, state, _ in missing:
            if state == "planned":
                key = job.setting_text, job.draw.size
                if key not in places:
                    places[key] = looks.place_of(job.setting(), job.draw.size)
                new_runs.setdefault(places[key], set()).add((job.draw.number, job.seed))

        def work(connection: Connection) -> None:
            looks.record(connection, new_runs)
            settings = text_ids(
                connection, Setting, sorted({job.setting_text for job, _, _ in missing})
            )
            for part in chunks(missing, CHUNK // VALUES_PER_JOB):
                values = [
                    _job_row(job, settings[job.setting_text], state, note)
                    for job, state, note in part
                ]
                insert_missing(connection, table_of(JobRow), values, "digest")

        self._retry(work)
        return [job.digest for job, _, _ in missing]

    def withdraw_jobs(self, digests: Sequence[str]) -> None:
        """Delete those of these jobs that have never had an outcome; none while another run is alive."""
        jobs, attempts = table_of(JobRow), table_of(Attempt)
        waiting = jobs.c.state.in_(("planned", "infeasible"))
        untried = jobs.c.id.not_in(select(attempts.c.job))

        def work(connection: Connection) -> None:
            for part in chunks(digests, CHUNK):
                connection.execute(jobs.delete().where(jobs.c.digest.in_(part), waiting, untried))

        if not self.has_other_runs():
            self._retry(work)

    def states(self, digests: Iterable[str]) -> dict[str, str]:
        """Return the state of each of these jobs that the ledger has, by digest."""
        table, digests = table_of(JobRow), list(digests)

        def read(connection: Connection) -> dict[str, str]:
            states: dict[str, str] = {}
            for part in chunks(digests, CHUNK):
                states |= dict(
                    connection.execute(
                        select(table.c.digest, table.c.state).where(table.c.digest.in_(part))
                    ).all()
                )
            return states

        return self._retry(read)

    def delete_jobs(self, digests: Sequence[str]) -> None:
        """Delete jobs with their results and attempts. Jobs that a run has claimed stay."""
        jobs = table_of(JobRow)
        with self.transaction() as connection:
            for part in chunks(digests, CHUNK):
                query = select(jobs.c.id).where(jobs.c.digest.in_(part), jobs.c.state != "claimed")
                job_ids = list(connection.execute(query).scalars())
                for table_class in (Result, MetricRow, Blob, Attempt):
                    table = table_of(table_class)
                    connection.execute(table.delete().where(table.c.job.in_(job_ids)))
                connection.execute(jobs.delete().where(jobs.c.id.in_(job_ids)))

    # -- claims and results

    def claim(
        self, digests: Sequence[str], count: int, *, retry: Sequence[str] = ()
    ) -> list[Claim]:
        """Claim up to `count` jobs that are `planned` or in a state of `retry`, in the order of `digests`.

        Args:
            digests: jobs to choose from.
            count: maximum number of claims.
            retry: states besides `planned` that may be tried again, such as `failed`.
        """

        def work(connection: Connection) -> list[Claim]:
            return claims.claim_jobs(
                connection, self._run, digests, count, retry=retry, in_flight=self._in_flight
            )

        claimed = self._retry(work)
        self._in_flight |= {claim.digest: claim.number for claim in claimed}
        return claimed

    def release_claims(self, released: Sequence[Claim]) -> None:
        """Release claims without a result. Each job returns to its state before the claim."""
        digests = [claim.digest for claim in released]
        self._retry(lambda connection: claims.release_claims(connection, self._run, digests))
        for digest in digests:
            self._in_flight.pop(digest, None)

    def release_dead_claims(self) -> int:
        """Release the claims of all runs that hold no lock, and return the number of released claims."""
        return self._retry(
            lambda connection: claims.release_dead_claims(connection, self._run, self._live_runs)
        )

    def record(self, outcome: Outcome, claim_number: int) -> bool:
        """Commit an outcome with its metrics, blobs and attempt.

        Args:
            outcome: the outcome of a job.
            claim_number: number of the claim under which this run computed it.

        Returns:
            False if the claim is no longer valid, such as when another run has claimed the job since.
        """
        claim, attempts = Claim(outcome.digest, claim_number), 0
        # If this claim was released although it is in flight, another run did it (see `reclaim`).
        in_flight = self._in_flight.get(outcome.digest) == claim_number

        def work(connection: Connection) -> bool:
            nonlocal attempts
            attempts += 1
            if commit_outcome(
                connection, outcome, claim, self._run, self._versions, even_if_released=in_flight
            ):
                return True
            # The connection may have broken after the first attempt was committed.
            return attempts > 1 and is_committed(connection, claim, self._run)

        committed = self._retry(work)
        self._in_flight.pop(outcome.digest, None)
        return committed

    # -- the database itself

    def set_once(self, key: str, value: str) -> str:
        """Store a value under a key that has none, and return the value that is stored."""
        meta = table_of(Meta)

        def work(connection: Connection) -> str:
            insert_missing(connection, meta, [{"key": key, "value": value}], "key")
            query = select(meta.c.value).where(meta.c.key == key)
            return str(connection.execute(query).scalar_one())

        return self._retry(work)

    def replace(self, key: str, value: str) -> None:
        """Store a value under a key in place of the one that it has, if any."""
        meta = table_of(Meta)

        def work(connection: Connection) -> None:
            connection.execute(meta.delete().where(meta.c.key == key))
            connection.execute(meta.insert().values(key=key, value=value))

        self._retry(work)

    def vacuum(self) -> None:
        """Give the space of deleted rows back to the file system."""
        try:
            if self._on_server:
                engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
                with engine.connect() as connection:
                    connection.exec_driver_sql("VACUUM")
            else:
                execute_outside_transaction(self._engine, "VACUUM")
        except (DatabaseError, sqlite3.Error) as error:
            raise user_error(error, self.name) from error


def _is_temporary_on_server(error: DatabaseError) -> bool:
    """Return whether an error is a broken connection, a server that does not answer, or a deadlock."""
    code = getattr(error.orig, "sqlstate", None)
    no_answer = isinstance(error, OperationalError) and (
        code is None or code.startswith(("08", "57P"))
    )
    deadlock = code == "40P01"  # two transactions wait for each other's rows
    return error.connection_invalidated or no_answer or deadlock


def _job_row(job: Job, setting: int, state: str, note: str) -> dict[str, Any]:
    """Return the row of `JobRow` for a new job, or for an infeasible cell with the reason as its note."""
    draw = job.draw
    remarks = []
    if draw.redrawn:
        remarks.append(f"{draw.redrawn} draws that missed a class were drawn again")
    if draw.shared:
        remarks.append(f"{draw.shared} training or dev rows also stand in the test rows")
    return {
        "digest": job.digest,
        "setting": setting,
        "task": draw.task,
        "label": job.label,
        "size": draw.size,
        "draw": draw.number,
        "seed": job.seed,
        "fingerprint": draw.fingerprint,
        "n_train": draw.n_train,
        "n_dev": draw.n_dev,
        "n_test": draw.n_test,
        "note": note or "; ".join(remarks),
        "state": state,
        "epoch": 0,
    }
