"""The reading half of a ledger: scores out. Nothing here changes a database."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select

from harness.errors import UsageError
from harness.geometry import ALONE, Geometry
from harness.ledger.database import copy_to, shown
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


class Known(NamedTuple):
    """A setting in the ledger."""

    id: int
    setting: Mapping[str, Any]
    jobs: int


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

    @property
    def geometry(self) -> Geometry:
        """How the job went through the model; the default for a job without a result."""
        return Geometry.parse(self.result["geometry"]) if self.result else ALONE


class Reader(Overview):
    """An open ledger, to read from: see `Overview`."""

    def damage(self) -> list[str]:
        """What the database engine finds wrong with its own file; nothing where it has no such check."""
        if self._engine.dialect.name != "sqlite":
            return []
        with self.transaction() as connection:
            said = [
                str(line) for line in connection.exec_driver_sql("PRAGMA integrity_check").scalars()
            ]
            dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        return [line for line in said if line != "ok"] + [
            f"a row of {row[0]} belongs to nothing" for row in dangling
        ]

    def copy_to(self, path: Path) -> None:
        """A consistent copy of a SQLite database under a new name.

        Raises:
            UsageError: it is no file. CannotWrite: the copy exists or cannot be made.
        """
        if self._engine.dialect.name != "sqlite":
            raise UsageError(
                f"{shown(self.name)} is no file: its server has means of its own, such as pg_dump"
            )
        copy_to(self._engine, path)

    def facts(self) -> dict[str, str]:
        """All facts about the ledger, as `Ledger.set_once` kept them: a damaged index would hide one that is asked for."""
        facts = table_of(Meta)
        with self.transaction() as connection:
            return dict(connection.execute(select(facts.c.key, facts.c.value)).all())

    def any_results(self) -> bool:
        """Whether there is a result."""
        with self.transaction() as connection:
            return connection.execute(select(table_of(Result).c.job).limit(1)).first() is not None

    def settings(self) -> list[Known]:
        """What the jobs of one method on one task share, and how many there are; in the order of their latest jobs."""
        jobs, settings = table_of(JobRow), table_of(Setting)
        counted = select(jobs.c.setting, func.count(), func.max(jobs.c.id)).group_by(jobs.c.setting)
        with self.transaction() as connection:
            counts = {number: (count, last) for number, count, last in connection.execute(counted)}
            texts = connection.execute(select(settings.c.id, settings.c.json)).all()
        found = [
            (counts[number][1], Known(number, json.loads(text), counts[number][0]))
            for number, text in texts
            if number in counts
        ]
        return [known for _, known in sorted(found, key=lambda one: one[0])]

    def entries(
        self, digest_prefix: str = "", *, settings: Sequence[int] | None = None
    ) -> list[Entry]:
        """Jobs with their states and, where they are done, their results, oldest first.

        Args:
            digest_prefix: only those whose digest starts so.
            settings: only those of these settings.
        """
        jobs = table_of(JobRow)
        if digest_prefix:
            wheres = [
                [jobs.c.digest >= digest_prefix, jobs.c.digest < digest_prefix + "~"]
            ]  # "~" follows every digit
        elif settings is not None:
            wheres = [[jobs.c.setting.in_(part)] for part in chunks(settings, CHUNK)]
        else:
            wheres = [[]]
        with self.transaction() as connection:
            found = [entry for where in wheres for entry in self._read(connection, where)]
        return [entry for _, entry in sorted(found, key=lambda one: one[0])]

    @staticmethod
    def _read(
        connection: Connection, where: Sequence[ColumnElement[bool]]
    ) -> list[tuple[int, Entry]]:
        jobs, settings, results = table_of(JobRow), table_of(Setting), table_of(Result)
        environments, values = table_of(Environment), table_of(MetricRow)
        wanted = (
            select(jobs, settings.c.json)
            .join(settings, jobs.c.setting == settings.c.id)
            .where(*where)
        )
        rows = connection.execute(wanted).mappings().all()
        versions = {
            number: json.loads(text)
            for number, text in connection.execute(select(environments.c.id, environments.c.json))
        }
        mine = select(results).join(jobs, results.c.job == jobs.c.id).where(*where)
        found = {row["job"]: dict(row) for row in connection.execute(mine).mappings()}
        metrics: dict[int, dict[str, float]] = {}
        named = select(values.c.job, values.c.name, values.c.value, values.c.special)
        for job, name, value, special in connection.execute(
            named.join(jobs, values.c.job == jobs.c.id).where(*where)
        ):
            metrics.setdefault(job, {})[name] = float(special) if special else value
        parsed = {text: json.loads(text) for text in {row["json"] for row in rows}}
        for result in found.values():
            result["versions"] = versions[result["environment"]]
        return [
            (
                row["id"],
                _entry(row, parsed[row["json"]], metrics.get(row["id"], {}), found.get(row["id"])),
            )
            for row in rows
        ]

    def all_blobs(self, settings: Sequence[int] | None = None) -> dict[str, dict[str, bytes]]:
        """The blobs of the jobs of some settings, or of all, by digest and kind."""
        jobs, blobs = table_of(JobRow), table_of(Blob)
        wanted = select(jobs.c.digest, blobs.c.kind, blobs.c.data).join(
            jobs, blobs.c.job == jobs.c.id
        )
        parts = [None] if settings is None else list(chunks(settings, CHUNK))
        found: dict[str, dict[str, bytes]] = {}
        with self.transaction() as connection:
            for part in parts:
                rows = connection.execute(
                    wanted if part is None else wanted.where(jobs.c.setting.in_(part))
                )
                for digest_, kind, data in rows:
                    found.setdefault(digest_, {})[kind] = data
        return found

    def blobs(self, digest_: str) -> dict[str, bytes]:
        """The blobs of one job by their kind."""
        jobs, blobs = table_of(JobRow), table_of(Blob)
        wanted = (
            select(blobs.c.kind, blobs.c.data)
            .join(jobs, blobs.c.job == jobs.c.id)
            .where(jobs.c.digest == digest_)
        )
        with self.transaction() as connection:
            return dict(connection.execute(wanted).all())

    def attempts(self, digest_: str) -> list[dict[str, Any]]:
        """Every try at one job, oldest first."""
        jobs, attempts = table_of(JobRow), table_of(Attempt)
        wanted = (
            select(attempts)
            .join(jobs, attempts.c.job == jobs.c.id)
            .where(jobs.c.digest == digest_)
            .order_by(attempts.c.id)
        )
        with self.transaction() as connection:
            return [dict(row) for row in connection.execute(wanted).mappings()]


def _entry(
    row: Any, setting: Mapping[str, Any], metrics: Mapping[str, float], result: Any
) -> Entry:
    same = [
        "digest",
        "task",
        "label",
        "size",
        "draw",
        "seed",
        "fingerprint",
        "n_train",
        "n_dev",
        "n_test",
        "note",
        "state",
    ]
    return Entry(
        **{name: row[name] for name in same}, setting=setting, metrics=metrics, result=result
    )
