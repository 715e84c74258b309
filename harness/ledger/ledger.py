"""The ledger: jobs in, results in, scores out.

A job is done when its result is committed, together with its metrics and blobs, in one transaction. Rows never leave
this folder: callers hand in jobs and outcomes and get entries back.
"""

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlmodel import SQLModel

from harness import provenance
from harness.jobs import Job, canonical, digest
from harness.ledger.database import explain, is_url, open_engine
from harness.ledger.liveness import Lock, alive
from harness.ledger.tables import Attempt, Blob, Environment, JobRow, MetricRow, Result, Run, Setting
from harness.outcome import Outcome

CHUNK = 500  # values in one statement: some SQLite builds allow 999


class Claim(NamedTuple):
    """The right to record one result."""

    digest: str
    epoch: int


class Infeasible(NamedTuple):
    """A cell that its task cannot give, and why."""

    job: Job  # without rows
    reason: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One job as the ledger knows it."""

    digest: str
    setting: Mapping[str, Any]
    task: str
    label: str
    size: int
    draw: int
    seed: int
    fingerprint: str
    n_train: int
    n_dev: int
    n_test: int
    note: str
    state: str
    metrics: Mapping[str, float]
    result: Mapping[str, Any] | None  # the columns of `Result` and the environment as `versions`


class Ledger:
    """An open ledger. Usable in a `with` block.

    Args:
        name: a file, or a database URL.
        write: whether to create, upgrade and change it. Reading never changes anything.

    Raises:
        CorruptData, CannotWrite, Unavailable, Busy: see `open_engine`.
    """

    def __init__(self, name: str, *, write: bool = False) -> None:
        self.name = name
        self._engine = open_engine(name, write=write)
        self._run: int | None = None
        self._lock: Lock | None = None
        self._environment: int | None = None
        self._insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the run, if one was begun, and close the connection."""
        if self._run is not None:
            with self._transaction() as connection:
                self._release(connection, None)
                connection.execute(update(_t(Run)).where(_t(Run).c.id == self._run).values(ended=_now()))
            self._run = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise  # a value that the tables refuse: a fault of this program, not of the file
        except DatabaseError as error:
            raise explain(error, self.name) from error

    # -- jobs in ---------------------------------------------------------------------------------------------------

    def begin(self, command: str) -> None:
        """Start a run, which may claim jobs for as long as this process lives."""
        folder = Path(sys.prefix) if is_url(self.name) else Path(self.name).absolute().parent
        self._lock = Lock.new(folder / f".{Path(self.name).name}.runs" if not is_url(self.name) else folder / ".bench-runs")
        with self._transaction() as connection:
            values = {
                "started": _now(),
                "command": command,
                "program": provenance.program_version(),
                "lock": self._lock.path.name,
            }
            self._run = _insert_id(connection, _t(Run), values)
            versions = canonical(provenance.environment())
            self._environment = self._known(connection, Environment, [versions])[versions]

    def enter(self, jobs: Sequence[Job], infeasible: Sequence[Infeasible] = ()) -> None:
        """Note the jobs that are asked for; those already known stay as they are."""
        table = _t(JobRow)
        everything = [(job, "planned", "") for job in jobs] + [(cell.job, "infeasible", cell.reason) for cell in infeasible]
        known = self.states([job.digest for job, _, _ in everything])
        new = [one for one in everything if one[0].digest not in known]
        with self._transaction() as connection:
            ids = self._known(connection, Setting, sorted({job.setting_text for job, _, _ in new}))
            for part in _chunks(new, CHUNK // 14):  # another run may have entered some meanwhile
                rows = [_job_row(job, ids[job.setting_text], state, note) for job, state, note in part]
                connection.execute(self._insert(table).values(rows).on_conflict_do_nothing(index_elements=["digest"]))

    def _known(self, connection: Connection, kind: type[Environment | Setting], texts: Sequence[str]) -> dict[str, int]:
        """The numbers of texts that are kept once, entering those that are new."""
        table = _t(kind)
        for part in _chunks(texts, CHUNK):
            rows = [{"json": text} for text in part]
            connection.execute(self._insert(table).values(rows).on_conflict_do_nothing(index_elements=["json"]))
        known: dict[str, int] = {}
        for part in _chunks(texts, CHUNK):
            found = connection.execute(select(table.c.json, table.c.id).where(table.c.json.in_(part)))
            known |= dict(found.all())
        return known

    def states(self, digests: Iterable[str]) -> dict[str, str]:
        """The state of each job that the ledger knows."""
        table = _t(JobRow)
        states: dict[str, str] = {}
        with self._transaction() as connection:
            for part in _chunks(list(digests), CHUNK):
                found = connection.execute(select(table.c.digest, table.c.state).where(table.c.digest.in_(part)))
                states |= dict(found.all())
        return states

    # -- claims ----------------------------------------------------------------------------------------------------

    def reap(self) -> int:
        """Take back the claims of runs whose process is gone; how many there were."""
        assert self._lock is not None, "begin() comes first"
        jobs, runs = _t(JobRow), _t(Run)
        with self._transaction() as connection:
            open_claims = select(jobs.c.owner).where(jobs.c.state == "claimed").distinct()
            owners = connection.execute(select(runs.c.id, runs.c.lock).where(runs.c.id.in_(open_claims))).all()
            dead = [number for number, lock in owners if number != self._run and not alive(self._lock.path.with_name(lock))]
            if not dead:
                return 0
            freed = update(jobs).where(jobs.c.state == "claimed", jobs.c.owner.in_(dead)).values(state="planned", owner=None)
            return connection.execute(freed).rowcount

    def claim(self, digests: Sequence[str], count: int, *, retry: Sequence[str] = ()) -> list[Claim]:
        """Claim up to `count` of the jobs, in their order, that nobody has done or claimed.

        Args:
            digests: jobs to choose from.
            count: how many at most.
            retry: states besides `planned` that may be tried again, such as `failed`.
        """
        table, claims = _t(JobRow), []
        with self._transaction() as connection:
            for part in _chunks(digests, CHUNK):
                free = table.c.state.in_(["planned", *retry])
                wanted = select(table.c.digest, table.c.epoch).where(table.c.digest.in_(part), free)
                if connection.dialect.name == "postgresql":
                    wanted = wanted.with_for_update(skip_locked=True)
                epochs: dict[str, int] = dict(connection.execute(wanted).all())
                claims += [Claim(name, epochs[name] + 1) for name in part if name in epochs]
                if len(claims) >= count:
                    break
            for claim in claims[:count]:
                values = {"state": "claimed", "owner": self._run, "epoch": claim.epoch}
                connection.execute(update(table).where(table.c.digest == claim.digest).values(values))
        return claims[:count]

    def release(self, claims: Sequence[Claim]) -> None:
        """Give claims back without a result."""
        with self._transaction() as connection:
            self._release(connection, [claim.digest for claim in claims])

    def _release(self, connection: Connection, digests: list[str] | None) -> None:
        table = _t(JobRow)
        mine = update(table).where(table.c.owner == self._run, table.c.state == "claimed").values(state="planned", owner=None)
        for part in _chunks(digests, CHUNK) if digests is not None else [None]:
            connection.execute(mine if part is None else mine.where(table.c.digest.in_(part)))

    # -- results in ------------------------------------------------------------------------------------------------

    def record(self, outcome: Outcome, epoch: int) -> bool:
        """Commit an outcome with everything that belongs to it; False if the claim was lost meanwhile, and nothing was kept."""
        jobs = _t(JobRow)
        with self._transaction() as connection:
            owned = jobs.c.digest == outcome.digest, jobs.c.epoch == epoch, jobs.c.state == "claimed"
            number = connection.execute(select(jobs.c.id).where(*owned)).scalar()
            if number is None:
                return False
            connection.execute(update(jobs).where(jobs.c.id == number).values(state=outcome.status, owner=None))
            attempt = {"job": number, "run": self._run, "epoch": epoch, "ended": _now(), "outcome": outcome.status}
            connection.execute(_t(Attempt).insert().values(attempt | {"error": outcome.error[:2000], "trace": outcome.trace}))
            blobs = {"curve": outcome.curve, "predictions": outcome.predictions}
            connection.execute(_t(Blob).delete().where(_t(Blob).c.job == number))
            if kept := [{"job": number, "kind": kind, "data": data} for kind, data in blobs.items() if data]:
                connection.execute(_t(Blob).insert(), kept)
            if outcome.status == "done":
                connection.execute(_t(Result).insert().values(self._result(number, outcome)))
            connection.execute(_t(MetricRow).delete().where(_t(MetricRow).c.job == number))
            if outcome.score is not None:  # a diverged job has the score that it counts with
                connection.execute(_t(MetricRow).insert(), [_metric(number, *item) for item in _all_metrics(outcome).items()])
        return True

    def _result(self, number: int, outcome: Outcome) -> dict[str, Any]:
        same = ("device", "geometry", "best_step", "collapsed", "trained", "stored", "artefact", "peak_bytes")
        dev_score = outcome.dev_score if outcome.dev_score is not None and math.isfinite(outcome.dev_score) else None
        times = {"seconds_training": outcome.seconds_training, "seconds_evaluation": outcome.seconds_evaluation}
        payload = payload_hash(_all_metrics(outcome), {"curve": outcome.curve, "predictions": outcome.predictions})
        rest = {"job": number, "environment": self._environment, "payload": payload, "finished": _now(), "dev_score": dev_score}
        return {name: getattr(outcome, name) for name in same} | times | rest

    # -- its own state ---------------------------------------------------------------------------------------------

    def damage(self) -> list[str]:
        """What the database engine finds wrong with its own file; nothing where it has no such check."""
        if self._engine.dialect.name != "sqlite":
            return []
        with self._transaction() as connection:
            said = [str(line) for line in connection.exec_driver_sql("PRAGMA integrity_check").scalars()]
            dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        return [line for line in said if line != "ok"] + [f"a row of {row[0]} belongs to nothing" for row in dangling]

    # -- reading ---------------------------------------------------------------------------------------------------

    def entries(self, digest_prefix: str = "") -> list[Entry]:
        """Every job with its state and, where it is done, its result; optionally only those whose digest starts so."""
        jobs, settings, results = _t(JobRow), _t(Setting), _t(Result)
        environments = _t(Environment)
        wanted = select(jobs, settings.c.json).join(settings, jobs.c.setting == settings.c.id).order_by(jobs.c.id)
        if digest_prefix:
            wanted = wanted.where(func.substr(jobs.c.digest, 1, len(digest_prefix)) == digest_prefix)
        with self._transaction() as connection:
            rows = connection.execute(wanted).mappings().all()
            versions = {
                number: json.loads(text) for number, text in connection.execute(select(environments.c.id, environments.c.json))
            }
            found = {row["job"]: dict(row) for row in connection.execute(select(results)).mappings()}
            metrics: dict[int, dict[str, float]] = {}
            for row in connection.execute(select(_t(MetricRow))).mappings():
                metrics.setdefault(row["job"], {})[row["name"]] = float(row["special"]) if row["special"] else row["value"]
        parsed = {text: json.loads(text) for text in {row["json"] for row in rows}}
        for result in found.values():
            result["versions"] = versions[result["environment"]]
        return [_entry(row, parsed[row["json"]], metrics.get(row["id"], {}), found.get(row["id"])) for row in rows]

    def blobs(self, digest_: str) -> dict[str, bytes]:
        """The blobs of one job by their kind."""
        jobs, blobs = _t(JobRow), _t(Blob)
        wanted = select(blobs.c.kind, blobs.c.data).join(jobs, blobs.c.job == jobs.c.id).where(jobs.c.digest == digest_)
        with self._transaction() as connection:
            return dict(connection.execute(wanted).all())

    def attempts(self, digest_: str) -> list[dict[str, Any]]:
        """Every try at one job, oldest first."""
        jobs, attempts = _t(JobRow), _t(Attempt)
        wanted = (
            select(attempts).join(jobs, attempts.c.job == jobs.c.id).where(jobs.c.digest == digest_).order_by(attempts.c.id)
        )
        with self._transaction() as connection:
            return [dict(row) for row in connection.execute(wanted).mappings()]

    def errors(self) -> list[tuple[str, str]]:
        """Digest and last error of each job that failed or diverged."""
        jobs, attempts = _t(JobRow), _t(Attempt)
        bad = jobs.c.state.in_(["failed", "diverged"])
        wanted = (
            select(jobs.c.digest, attempts.c.error).join(jobs, attempts.c.job == jobs.c.id).where(bad).order_by(attempts.c.id)
        )
        with self._transaction() as connection:
            return list(dict(connection.execute(wanted).all()).items())


def payload_hash(metrics: Mapping[str, float], blobs: Mapping[str, bytes]) -> str:
    """A hash over what a result says, to notice changed bytes."""
    content = hashlib.sha256()
    for name in sorted(metrics):
        content.update(f"{name}={(metrics[name] + 0.0).hex()}\n".encode())  # SQLite turns -0.0 into 0.0, and so does the sum
    for kind in sorted(blobs):
        content.update(f"{kind}:{len(blobs[kind])}\n".encode() + blobs[kind])
    return content.hexdigest()


def rebuilt_digest(entry: Entry) -> str:
    """A job's digest computed from what the ledger holds of it."""
    coordinates = {"size": entry.size, "draw": entry.draw, "seed": entry.seed, "rows": entry.fingerprint}
    return digest(entry.setting, coordinates)


def _all_metrics(outcome: Outcome) -> dict[str, float]:
    assert outcome.score is not None
    return {"score": outcome.score, **outcome.metrics}


def _metric(job: int, name: str, value: float) -> dict[str, Any]:
    finite = math.isfinite(value)
    return {"job": job, "name": name, "value": value if finite else None, "special": None if finite else str(float(value))}


def _job_row(job: Job, setting: int, state: str, note: str) -> dict[str, Any]:
    rows = job.rows
    redrawn = f"{rows.redrawn} draws that missed a class were drawn again" if rows.redrawn else ""
    return {
        "digest": job.digest,
        "setting": setting,
        "task": rows.task,
        "label": job.label,
        "size": rows.size,
        "draw": rows.draw,
        "seed": job.seed,
        "fingerprint": rows.fingerprint,
        "n_train": rows.n_train,
        "n_dev": rows.n_dev,
        "n_test": rows.n_test,
        "note": note or redrawn,
        "state": state,
        "epoch": 0,
    }


def _entry(row: Any, setting: Mapping[str, Any], metrics: Mapping[str, float], result: Any) -> Entry:
    same = ["digest", "task", "label", "size", "draw", "seed", "fingerprint", "n_train", "n_dev", "n_test", "note", "state"]
    return Entry(**{name: row[name] for name in same}, setting=setting, metrics=metrics, result=result)


def _insert_id(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    key = connection.execute(table.insert().values(values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _t(kind: type[SQLModel]) -> Table:
    return kind.__table__  # type: ignore[attr-defined,no-any-return]  # SQLModel adds it to table classes


def _chunks(items: Sequence[Any], length: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), length):
        yield list(items[start : start + length])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
