"""The ledger: jobs in, results in, scores out.

A job is done when its result is committed, together with its metrics and blobs, in one transaction.
Rows never leave this folder: callers hand in jobs and outcomes and get entries back.
"""

import math
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Table, and_, case, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from harness import provenance
from harness.errors import Busy
from harness.jobs import Job, canonical
from harness.ledger.claims import set_free, state_before
from harness.ledger.database import explain, outside_transactions
from harness.ledger.liveness import Lock, ServerLock, alive
from harness.ledger.reader import CHUNK, Reader, chunks, table_of
from harness.ledger.rows import all_metrics, job_row, metric_rows
from harness.ledger.seals import payload_hash, seal
from harness.ledger.tables import (
    Attempt,
    Blob,
    Environment,
    JobRow,
    Meta,
    MetricRow,
    Result,
    Run,
    Setting,
)
from harness.outcome import Outcome
from harness.redaction import redact

R = TypeVar("R")
PATIENCE = 60.0  # seconds for a server to come back
LOOK = 5.0  # seconds between two looks at the lock that a server keeps for a run
# seconds that a run which waits for a locked file tries at a time: between, signals come through
GLANCE = 0.5


class Claim(NamedTuple):
    """The right to record one result."""

    digest: str
    epoch: int


class Infeasible(NamedTuple):
    """A cell that its task cannot give, and why."""

    job: Job  # without rows
    reason: str


class Ledger(Reader):
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
        self._lock: Lock | ServerLock | None = None
        self._looked = monotonic()
        self._waits: Callable[[float], bool] = lambda _: False
        self._flight: dict[
            str, int
        ] = {}  # the epochs of what is claimed here, without a result yet
        self._environment: int | None = None
        self._versions: dict[str, str] = {}
        self._insert = (
            postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        )

    def close(self) -> None:
        """End the run, if one was begun, and close the connection."""
        if self._run is not None:
            with suppress(Busy):  # what it still has claimed is anybody's once its lock is gone
                self._again(self._end)
            self._run = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        super().close()

    def _end(self, connection: Connection) -> None:
        self._release(connection, None)
        connection.execute(
            update(table_of(Run)).where(table_of(Run).c.id == self._run).values(ended=_now())
        )

    def wait_while(self, going_on: Callable[[float], bool]) -> None:
        """Wait from now on, where another process has the file locked, for as long as `going_on` says.

        It is asked about once a second, with the seconds that it has been.
        """
        self._waits = going_on
        if not self._on_server:
            outside_transactions(self._engine, f"PRAGMA busy_timeout = {1000 * GLANCE:.0f}")

    def _again(self, work: Callable[[Connection], R]) -> R:
        """A transaction that is tried again as long as what hinders it may pass; `work` may find itself done."""
        began = monotonic()
        while True:
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except IntegrityError:
                raise  # a value that the tables refuse: a fault of this program, not of the file
            except DatabaseError as error:
                if not self._passes(error, monotonic() - began):
                    raise explain(error, self.name) from error
            sleep(0.5)
            self._lock_again()

    def _passes(self, error: DatabaseError, seconds: float) -> bool:
        """Whether to go on: a server's trouble is given a minute, another process's lock on a file what `wait_while` allows."""
        if self._on_server:
            return _passing(error) and seconds < PATIENCE
        return isinstance(explain(error, self.name), Busy) and self._waits(seconds)

    def hold(self) -> None:
        """See every few seconds that this run still counts as alive; to be called now and then while jobs are in flight."""
        if isinstance(self._lock, ServerLock) and monotonic() - self._looked > LOOK:
            self._lock_again()
            self._looked = monotonic()

    def _lock_again(self) -> None:
        """Hold the lock of this run once more if its connection broke, and the claims that it lost by that to nobody yet."""
        if not isinstance(self._lock, ServerLock) or self._run is None or self._lock.lives():
            return
        with suppress(DatabaseError, Busy):  # the server may still be away
            self._lock.release()  # a half-open connection of our own would keep it
            self._lock = ServerLock(self._engine, self._run)
            with self._engine.begin() as connection:
                self._reclaim(connection)

    def _reclaim(self, connection: Connection) -> None:
        """Take back what a run that saw no lock of ours has set free, and nobody has claimed since: the epoch tells."""
        jobs = table_of(JobRow)
        for digest_, epoch in self._flight.items():
            connection.execute(
                update(jobs)
                .where(set_free(jobs, digest_, epoch))
                .values(state="claimed", owner=self._run)
            )

    # -- jobs in
    # ---------------------------------------------------------------------------------------------------

    def begin(self, command: str) -> None:
        """Start a run, which may claim jobs for as long as this process lives."""
        file = None if self._on_server else Lock.new(self._locks)
        self._versions = provenance.environment()

        def work(connection: Connection) -> int:
            values = {
                "started": _now(),
                "command": redact(command),
                "program": provenance.program_version(),
            }
            number = _insert_id(
                connection, table_of(Run), values | {"lock": file.path.name if file else ""}
            )
            versions = canonical(self._versions)
            self._environment = self._known(connection, Environment, [versions])[versions]
            self._lock = file or ServerLock(
                self._engine, number
            )  # taken before anybody can see the run
            return number

        self._run = self._again(work)

    def remember(self, key: str, value: str) -> str:
        """Keep a fact about the ledger, unless one of that name is kept already; gives what is kept."""
        facts = table_of(Meta)

        def work(connection: Connection) -> str:
            connection.execute(
                self._insert(facts).values(key=key, value=value).on_conflict_do_nothing()
            )
            return str(
                connection.execute(select(facts.c.value).where(facts.c.key == key)).scalar_one()
            )

        return self._again(work)

    @property
    def _on_server(self) -> bool:
        return self._engine.dialect.name == "postgresql"

    @property
    def _locks(self) -> Path:
        """The folder of the locks of the runs on a file."""
        path = Path(self.name).absolute()
        return path.with_name(f".{path.name}.runs")

    def _alive(self, connection: Connection, runs: Sequence[tuple[int, str]]) -> set[int]:
        """Which of some runs, given with the names of their locks, live."""
        if self._on_server:
            return ServerLock.held(connection)
        return {number for number, lock in runs if alive(self._locks / lock)}

    def others(self) -> bool:
        """Whether another run is alive on this ledger."""
        if self._on_server:
            with self._transaction() as connection:
                return bool(ServerLock.held(connection) - {self._run})
        mine = self._lock.path if isinstance(self._lock, Lock) else None
        return any(path != mine and alive(path) for path in self._locks.glob("*.lock"))

    def enter(self, jobs: Sequence[Job], infeasible: Sequence[Infeasible] = ()) -> None:
        """Note the jobs that are asked for; those already known stay as they are."""
        cannot = [(cell.job, "infeasible", redact(cell.reason)) for cell in infeasible]
        everything = [(job, "planned", "") for job in jobs] + cannot
        known = self.states([job.digest for job, _, _ in everything])
        new = [one for one in everything if one[0].digest not in known]
        self._again(lambda connection: self._enter(connection, new))

    def _enter(self, connection: Connection, new: Sequence[tuple[Job, str, str]]) -> None:
        ids = self._known(connection, Setting, sorted({job.setting_text for job, _, _ in new}))
        for part in chunks(new, CHUNK // 14):  # another run may have entered some meanwhile
            rows = [job_row(job, ids[job.setting_text], state, note) for job, state, note in part]
            connection.execute(
                self._insert(table_of(JobRow))
                .values(rows)
                .on_conflict_do_nothing(index_elements=["digest"])
            )

    def _known(
        self, connection: Connection, kind: type[Environment | Setting], texts: Sequence[str]
    ) -> dict[str, int]:
        """The numbers of texts that are kept once, entering those that are new."""
        table = table_of(kind)
        for part in chunks(texts, CHUNK):
            rows = [{"json": text} for text in part]
            connection.execute(
                self._insert(table).values(rows).on_conflict_do_nothing(index_elements=["json"])
            )
        known: dict[str, int] = {}
        for part in chunks(texts, CHUNK):
            found = connection.execute(
                select(table.c.json, table.c.id).where(table.c.json.in_(part))
            )
            known |= dict(found.all())
        return known

    def states(self, digests: Iterable[str]) -> dict[str, str]:
        """The state of each job that the ledger knows."""
        table, wanted = table_of(JobRow), list(digests)

        def read(connection: Connection) -> dict[str, str]:
            found: dict[str, str] = {}
            for part in chunks(wanted, CHUNK):
                found |= dict(
                    connection.execute(
                        select(table.c.digest, table.c.state).where(table.c.digest.in_(part))
                    ).all()
                )
            return found

        return self._again(read)

    # -- claims
    # ----------------------------------------------------------------------------------------------------

    def reap(self) -> int:
        """Take back the claims of runs whose process is gone; how many there were."""
        return self._again(self._reap)

    def _reap(self, connection: Connection) -> int:
        jobs, runs = table_of(JobRow), table_of(Run)
        open_claims = select(jobs.c.owner).where(jobs.c.state == "claimed").distinct()
        owners = connection.execute(
            select(runs.c.id, runs.c.lock).where(runs.c.id.in_(open_claims))
        ).all()
        living = self._alive(
            connection, [(number, lock) for number, lock in owners if number != self._run]
        )
        dead = [number for number, _ in owners if number != self._run and number not in living]
        if not dead:
            return 0
        theirs = update(jobs).where(jobs.c.state == "claimed", jobs.c.owner.in_(dead))
        return connection.execute(theirs.values(state=state_before(jobs), owner=None)).rowcount

    def claim(
        self, digests: Sequence[str], count: int, *, retry: Sequence[str] = ()
    ) -> list[Claim]:
        """Claim up to `count` of the jobs, in their order, that nobody has done or claimed.

        Args:
            digests: jobs to choose from.
            count: how many at most.
            retry: states besides `planned` that may be tried again, such as `failed`.
        """
        claims = self._again(lambda connection: self._claim(connection, digests, count, retry))
        self._flight |= {claim.digest: claim.epoch for claim in claims}
        return claims

    def _claim(
        self, connection: Connection, digests: Sequence[str], count: int, retry: Sequence[str]
    ) -> list[Claim]:
        table = table_of(JobRow)
        claims: list[Claim] = []
        lost = and_(
            table.c.state == "claimed", table.c.owner == self._run
        )  # claimed, and the connection broke before we knew
        for part in chunks(digests, CHUNK):
            free = or_(
                table.c.state.in_(["planned", *retry]),
                and_(lost, table.c.digest.not_in(list(self._flight))),
            )
            wanted = select(table.c.digest, table.c.epoch).where(table.c.digest.in_(part), free)
            if (
                self._on_server
            ):  # lock no more rows than are wanted: others would take them for claimed
                order = case({name: place for place, name in enumerate(part)}, value=table.c.digest)
                wanted = (
                    wanted.order_by(order)
                    .limit(count - len(claims))
                    .with_for_update(skip_locked=True)
                )
            epochs: dict[str, int] = dict(connection.execute(wanted).all())
            claims += [Claim(name, epochs[name] + 1) for name in part if name in epochs]
            if len(claims) >= count:
                break
        for claim in claims[:count]:
            values = {"state": "claimed", "owner": self._run, "epoch": claim.epoch}
            connection.execute(update(table).where(table.c.digest == claim.digest).values(values))
        return claims[:count]

    def release(self, claims: Sequence[Claim]) -> None:
        """Give claims back without a result: jobs are what they were before."""
        digests = [claim.digest for claim in claims]
        self._again(lambda connection: self._release(connection, digests))
        for digest_ in digests:
            self._flight.pop(digest_, None)

    def _release(self, connection: Connection, digests: list[str] | None) -> None:
        table = table_of(JobRow)
        mine = update(table).where(table.c.owner == self._run, table.c.state == "claimed")
        mine = mine.values(state=state_before(table), owner=None)
        for part in chunks(digests, CHUNK) if digests is not None else [None]:
            connection.execute(mine if part is None else mine.where(table.c.digest.in_(part)))

    # -- results in
    # ------------------------------------------------------------------------------------------------

    def record(self, outcome: Outcome, epoch: int) -> bool:
        """Commit an outcome with everything that belongs to it; False if the claim was lost meanwhile, and nothing was kept."""
        tried: list[bool] = []  # after a broken connection it may have been kept the first time

        def work(connection: Connection) -> bool:
            tried.append(True)
            return self._record(connection, outcome, epoch) or (
                len(tried) > 1 and self._kept(connection, outcome.digest, epoch)
            )

        kept = self._again(work)
        self._flight.pop(outcome.digest, None)
        return kept

    def _record(self, connection: Connection, outcome: Outcome, epoch: int) -> bool:
        jobs = table_of(JobRow)
        owned = and_(
            jobs.c.digest == outcome.digest, jobs.c.epoch == epoch, jobs.c.state == "claimed"
        )
        if (
            self._flight.get(outcome.digest) == epoch
        ):  # not given back by us, but by who took us for dead
            owned = or_(owned, set_free(jobs, outcome.digest, epoch))
        job = (
            connection.execute(select(jobs).where(owned).with_for_update()).mappings().one_or_none()
        )
        if job is None:
            return False
        number = job["id"]
        connection.execute(
            update(jobs).where(jobs.c.id == number).values(state=outcome.status, owner=None)
        )
        attempt = {
            "job": number,
            "run": self._run,
            "epoch": epoch,
            "ended": _now(),
            "outcome": outcome.status,
        }
        connection.execute(
            table_of(Attempt)
            .insert()
            .values(attempt | {"error": outcome.error[:2000], "trace": outcome.trace})
        )
        connection.execute(table_of(Blob).delete().where(table_of(Blob).c.job == number))
        if kept := [
            {"job": number, "kind": kind, "data": data}
            for kind, data in outcome.blobs.items()
            if data
        ]:
            connection.execute(table_of(Blob).insert(), kept)
        if outcome.status == "done":
            connection.execute(
                table_of(Result).insert().values(self._result(connection, dict(job), outcome))
            )
        connection.execute(table_of(MetricRow).delete().where(table_of(MetricRow).c.job == number))
        if outcome.score is not None:  # a diverged job has the score that it counts with
            connection.execute(table_of(MetricRow).insert(), metric_rows(number, outcome))
        return True

    def _kept(self, connection: Connection, digest_: str, epoch: int) -> bool:
        """Whether this run has recorded an attempt of that epoch."""
        jobs, attempts = table_of(JobRow), table_of(Attempt)
        mine = jobs.c.digest == digest_, attempts.c.epoch == epoch, attempts.c.run == self._run
        return (
            connection.execute(
                select(attempts.c.id).join(jobs, attempts.c.job == jobs.c.id).where(*mine)
            ).scalar()
            is not None
        )

    def _result(
        self, connection: Connection, job: Mapping[str, Any], outcome: Outcome
    ) -> dict[str, Any]:
        same = (
            "device",
            "geometry",
            "best_step",
            "collapsed",
            "trained",
            "stored",
            "artefact",
            "peak_bytes",
        )
        dev_score = (
            outcome.dev_score
            if outcome.dev_score is not None and math.isfinite(outcome.dev_score)
            else None
        )
        times = {
            "seconds_training": outcome.seconds_training,
            "seconds_evaluation": outcome.seconds_evaluation,
        }
        payload = payload_hash(all_metrics(outcome), outcome.blobs)
        values = {name: getattr(outcome, name) for name in same} | times
        values |= {"payload": payload, "finished": _now(), "dev_score": dev_score}
        versions, environment = {**self._versions, **outcome.versions}, self._environment
        if outcome.versions:
            environment = self._known(connection, Environment, [canonical(versions)])[
                canonical(versions)
            ]
        return values | {
            "job": job["id"],
            "environment": environment,
            "seal": seal(job, values, versions),
        }

    # -- its own state
    # ---------------------------------------------------------------------------------------------

    def vacuum(self) -> None:
        """Give the space of deleted rows back."""
        try:
            if self._on_server:
                with self._engine.connect().execution_options(
                    isolation_level="AUTOCOMMIT"
                ) as connection:
                    connection.exec_driver_sql("VACUUM")
            else:
                outside_transactions(self._engine, "VACUUM")
        except (DatabaseError, sqlite3.Error) as error:
            raise explain(error, self.name) from error

    def forget(self, digests: Sequence[str]) -> None:
        """Delete jobs with everything that hangs on them; those that a run holds stay."""
        jobs = table_of(JobRow)
        with self._transaction() as connection:
            for part in chunks(digests, CHUNK):
                free = jobs.c.digest.in_(part), jobs.c.state != "claimed"
                numbers = list(connection.execute(select(jobs.c.id).where(*free)).scalars())
                for kind in (Result, MetricRow, Blob, Attempt):
                    connection.execute(
                        table_of(kind).delete().where(table_of(kind).c.job.in_(numbers))
                    )
                connection.execute(jobs.delete().where(jobs.c.id.in_(numbers)))


def _passing(error: DatabaseError) -> bool:
    """Whether a server's trouble passes: its connection broke, it is away, or two transactions waited for each other."""
    state = getattr(error.orig, "sqlstate", None)
    away = isinstance(error, OperationalError) and (
        state is None or state.startswith(("08", "57P"))
    )
    return (
        error.connection_invalidated or away or state == "40P01"
    )  # two runs enter the same jobs, each in its order


def _insert_id(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    key = connection.execute(table.insert().values(values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
