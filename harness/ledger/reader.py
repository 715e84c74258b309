"""Reading a ledger: settings, jobs with their results, blobs and attempts. This module changes no database."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, case, func, select

from harness.errors import UsageError
from harness.geometry import ALONE, Geometry
from harness.ledger.database import copy_to, display_name
from harness.ledger.overview import Overview
from harness.ledger.statements import CHUNK, chunks, table_of
from harness.ledger.tables import (
    Attempt,
    Blob,
    Environment,
    JobRow,
    Meta,
    MetricRow,
    Result,
    Setting,
)

JOB_COLUMNS = ("digest", "task", "label", "size", "draw", "seed", "fingerprint", "n_train", "n_dev", "n_test", "note",
               "state")  # fmt: skip


class StoredSetting(NamedTuple):
    """A setting of the ledger, how many jobs have it, and how many of these have ended."""

    id: int
    setting: Mapping[str, Any]
    jobs: int
    ended: int


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """A job of the ledger, with its result if it is done."""

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
    result: Mapping[str, Any] | None  # the columns of `Result`, and the environment as `versions`

    @property
    def geometry(self) -> Geometry:
        """The pack and batch shape in which the job was computed; the default for a job without a result."""
        return Geometry.parse(self.result["geometry"]) if self.result else ALONE


class LedgerReader(Overview):
    """An open ledger that can be read: see `Overview`."""

    def integrity_problems(self) -> list[str]:
        """Return the problems that SQLite's own check reports; none for a server, which has no such check."""
        if self._engine.dialect.name != "sqlite":
            return []
        with self.transaction() as connection:
            lines = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
            orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        return [str(line) for line in lines if line != "ok"] + [
            f"a row of table {row[0]} refers to a missing row" for row in orphans
        ]

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of a SQLite database to a new file.

        Raises:
            UsageError: the ledger is on a server.
            CannotWrite: the copy exists or cannot be written.
        """
        if self._engine.dialect.name != "sqlite":
            name = display_name(self.name)
            raise UsageError(f"{name} is on a server: use the server's own tools, such as pg_dump")
        copy_to(self._engine, path)

    def meta_values(self) -> dict[str, str]:
        """Return all values stored by `Ledger.set_once`, by key.

        This reads the whole table, because a damaged index could hide a row.
        """
        meta = table_of(Meta)
        return dict(self.rows(select(meta.c.key, meta.c.value)))

    def any_results(self) -> bool:
        """Return whether the ledger has a result."""
        return bool(self.rows(select(table_of(Result).c.job).limit(1)))

    def settings(self) -> list[StoredSetting]:
        """Return the settings that have jobs. The setting with the newest job comes last."""
        jobs, settings = table_of(JobRow), table_of(Setting)
        ended = jobs.c.state.in_(("done", "diverged", "failed"))
        used = (
            select(jobs.c.setting, func.count(), func.sum(case((ended, 1), else_=0)))
            .group_by(jobs.c.setting)
            .order_by(func.max(jobs.c.id))
        )
        with self.transaction() as connection:
            counts = connection.execute(used).all()
            texts = dict(connection.execute(select(settings.c.id, settings.c.json)).all())
        return [
            StoredSetting(setting, json.loads(texts[setting]), count, int(done))
            for setting, count, done in counts
            if setting in texts
        ]

    def entries(
        self, digest_prefix: str = "", *, settings: Sequence[int] | None = None
    ) -> list[LedgerEntry]:
        """Return jobs with their states and results, oldest first.

        Args:
            digest_prefix: only jobs whose digest starts with this text.
            settings: only jobs with one of these setting ids.
        """
        jobs = table_of(JobRow)
        if digest_prefix:
            end = digest_prefix + "~"  # "~" sorts after every hexadecimal digit
            filters = [[jobs.c.digest >= digest_prefix, jobs.c.digest < end]]
        elif settings is not None:
            filters = [[jobs.c.setting.in_(part)] for part in chunks(settings, CHUNK)]
        else:
            filters = [[]]
        entries: dict[int, LedgerEntry] = {}
        with self.transaction() as connection:
            for conditions in filters:  # one query for each
                entries |= self._entries_where(connection, conditions)
        return [entries[job] for job in sorted(entries)]

    @staticmethod
    def _entries_where(
        connection: Connection, conditions: Sequence[ColumnElement[bool]]
    ) -> dict[int, LedgerEntry]:
        """Return the entries of the jobs that meet all conditions, by job id."""
        jobs, settings, results = table_of(JobRow), table_of(Setting), table_of(Result)
        environments, metrics = table_of(Environment), table_of(MetricRow)
        query = select(jobs, settings.c.json).join(settings, jobs.c.setting == settings.c.id)
        rows = connection.execute(query.where(*conditions)).mappings().all()
        query = select(environments.c.id, environments.c.json)
        versions = {key: json.loads(text) for key, text in connection.execute(query)}
        query = select(results).join(jobs, results.c.job == jobs.c.id).where(*conditions)
        results_by_job = {
            row["job"]: {**row, "versions": versions[row["environment"]]}
            for row in connection.execute(query).mappings()
        }
        query = (
            select(metrics.c.job, metrics.c.name, metrics.c.value, metrics.c.special)
            .join(jobs, metrics.c.job == jobs.c.id)
            .where(*conditions)
        )
        metrics_by_job: dict[int, dict[str, float]] = {}
        for job, name, value, special in connection.execute(query):
            metrics_by_job.setdefault(job, {})[name] = float(special) if special else value
        parsed = {text: json.loads(text) for text in {row["json"] for row in rows}}
        return {
            row["id"]: LedgerEntry(
                **{name: row[name] for name in JOB_COLUMNS},
                setting=parsed[row["json"]],
                metrics=metrics_by_job.get(row["id"], {}),
                result=results_by_job.get(row["id"]),
            )
            for row in rows
        }

    def all_blobs(self, settings: Sequence[int] | None = None) -> dict[str, dict[str, bytes]]:
        """Return the blobs of many jobs by digest and kind.

        Args:
            settings: only jobs with one of these setting ids; None: all jobs.
        """
        jobs, blobs = table_of(JobRow), table_of(Blob)
        query = select(jobs.c.digest, blobs.c.kind, blobs.c.data).join(
            jobs, blobs.c.job == jobs.c.id
        )
        parts = [None] if settings is None else list(chunks(settings, CHUNK))
        by_digest: dict[str, dict[str, bytes]] = {}
        with self.transaction() as connection:
            for part in parts:
                part_query = query if part is None else query.where(jobs.c.setting.in_(part))
                for digest, kind, data in connection.execute(part_query):
                    by_digest.setdefault(digest, {})[kind] = data
        return by_digest

    def blobs(self, digest: str) -> dict[str, bytes]:
        """Return the blobs of one job by kind."""
        jobs, blobs = table_of(JobRow), table_of(Blob)
        query = select(blobs.c.kind, blobs.c.data).join(jobs, blobs.c.job == jobs.c.id)
        return dict(self.rows(query.where(jobs.c.digest == digest)))

    def attempts(self, digest: str) -> list[dict[str, Any]]:
        """Return all attempts at one job, oldest first."""
        jobs, attempts = table_of(JobRow), table_of(Attempt)
        query = (
            select(attempts)
            .join(jobs, attempts.c.job == jobs.c.id)
            .where(jobs.c.digest == digest)
            .order_by(attempts.c.id)
        )
        return [dict(row._mapping) for row in self.rows(query)]
