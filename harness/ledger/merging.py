"""Merging ledgers: a target gets the jobs and results of a source, such as of a shard of its grid.

A job has the same digest in every ledger. If both ledgers have a result of a job and the numbers
differ, the target keeps its own, and the merge reports the job.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, case, insert, select, update

from harness.ledger import looks
from harness.ledger.claims import state_before_claim
from harness.ledger.ledger import Ledger
from harness.ledger.overview import DATA_KEYS, NEWEST_KEYS
from harness.ledger.statements import (
    CHUNK,
    chunks,
    insert_missing,
    insert_row,
    table_of,
    text_ids,
)
from harness.ledger.tables import (
    Attempt,
    Blob,
    Environment,
    JobRow,
    Meta,
    MetricRow,
    Result,
    RunRow,
    Setting,
)

# From best to worst. A better state of the source replaces that of the target.
ENDED_STATES = ("done", "diverged", "failed", "infeasible")
JOBS_PER_PART = 200  # read and merged together


@dataclass
class MergeCounts:
    """What a merge changed."""

    jobs: int = 0  # that the target did not have
    results: int = 0  # copied from the source
    same: int = 0  # results that both have, with equal numbers
    unequal: list[str] = field(default_factory=list)  # digests of results whose numbers differ


def runs_of(source: Ledger) -> dict[looks.Place, set[tuple[int, int]]]:
    """Return draw and seed of all jobs by comparison and method, for `record_looks`."""
    with source.transaction() as source_db:
        return looks.runs_of(source_db)


def record_looks(
    target: Ledger, runs: Iterable[Mapping[looks.Place, set[tuple[int, int]]]]
) -> None:
    """Record the target's looks before the runs of one or more sources are copied into it.

    Called once for each source, it would count the runs of one shard as a look when the next is copied.
    """
    new: dict[looks.Place, set[tuple[int, int]]] = {}
    for source in runs:
        for place, added in source.items():
            new.setdefault(place, set()).update(added)
    with target.transaction() as target_db:
        looks.record(target_db, new)


def merge(target: Ledger, source: Ledger) -> MergeCounts:
    """Copy what the target lacks from the source, in one transaction; call `record_looks` first."""
    with source.transaction() as source_db, target.transaction() as target_db:
        looks.lock(target_db)
        _copy_meta(target_db, source_db)
        merger = _Merger(
            target_db,
            source_db,
            settings=_copy_texts(target_db, source_db, Setting),
            environments=_copy_texts(target_db, source_db, Environment),
            runs=_copy_runs(target_db, source_db),
        )
        for jobs in _jobs(source_db):
            merger.merge_jobs(jobs)
    return merger.counts


def _copy_meta(target: Connection, source: Connection) -> None:
    """Copy values, such as the hypothesis, whose key the target does not have.

    A target that has results gets no hypothesis: it would have been declared after them. Every target gets the
    looks, the findings about data and, where it has none, the name of the data that a run used last, because these
    belong to the copied results.
    """
    meta, results = table_of(Meta), table_of(Result)
    has_results = target.execute(select(results.c.job).limit(1)).first() is not None
    for key, value in source.execute(select(meta.c.key, meta.c.value)).all():
        if key == looks.KEY:
            looks.add(target, looks.parse(value))
        elif key.startswith((DATA_KEYS, NEWEST_KEYS)) or not (has_results or key == "schema"):
            insert_missing(target, meta, [{"key": key, "value": value}], "key")


def _copy_texts(
    target: Connection, source: Connection, table_class: type[Setting | Environment]
) -> dict[int, int]:
    """Copy the texts of a table and return the target's id for each id of the source."""
    table = table_of(table_class)
    texts = dict(source.execute(select(table.c.id, table.c.json)).all())
    ids = text_ids(target, table_class, list(texts.values()))
    return {source_id: ids[text] for source_id, text in texts.items()}


def _copy_runs(target: Connection, source: Connection) -> dict[int, int]:
    """Copy the runs and return the target's id for each id of the source.

    They are marked as ended, since they have no claims in the target.
    """
    runs, ids = table_of(RunRow), {}
    for row in source.execute(select(runs)).mappings():
        values = {name: row[name] for name in ("started", "command", "program", "lock")}
        ids[row["id"]] = insert_row(target, runs, values | {"ended": row["ended"] or ""})
    return ids


def _jobs(source: Connection) -> Iterator[list[dict[str, Any]]]:
    """Yield the source's jobs in parts. A claimed job gets the state that it had before the claim."""
    table, last_id = table_of(JobRow), 0
    state = case(
        (table.c.state == "claimed", state_before_claim(table)), else_=table.c.state
    ).label("state")
    columns = [column for column in table.c if column.name != "state"]
    query = select(*columns, state).order_by(table.c.id).limit(JOBS_PER_PART)
    while rows := source.execute(query.where(table.c.id > last_id)).mappings().all():
        yield [dict(row) for row in rows]
        last_id = rows[-1]["id"]


@dataclass
class _Merger:
    """Copies jobs with their results; `settings`, `environments` and `runs` map the source's ids to the target's."""

    target: Connection
    source: Connection
    settings: Mapping[int, int]
    environments: Mapping[int, int]
    runs: Mapping[int, int]
    counts: MergeCounts = field(default_factory=MergeCounts)

    def merge_jobs(self, jobs: Sequence[Mapping[str, Any]]) -> None:
        """Merge some jobs of the source with everything that belongs to them."""
        known = self._known_jobs([job["digest"] for job in jobs])
        source_payloads = _payloads(self.source, [job["id"] for job in jobs])
        target_payloads = _payloads(self.target, [job["id"] for job in known.values()])
        copied: dict[int, int] = {}  # the target's id of each job whose rows are copied
        for job in jobs:
            target_job = known.get(job["digest"])
            if target_job is None:
                self.counts.jobs += 1
                copied[job["id"]] = self._insert_job(job)
            elif job["state"] == target_job["state"] == "done":
                same = source_payloads.get(job["id"]) == target_payloads.get(target_job["id"])
                self.counts.same += same
                self.counts.unequal += [] if same else [job["digest"]]
            elif _is_better(job["state"], target_job["state"]):
                self._replace_job(job, target_job)
                copied[job["id"]] = target_job["id"]
        for table_class in (Result, MetricRow, Blob, Attempt):
            if rows := list(self._copied_rows(table_class, copied)):
                self.target.execute(insert(table_of(table_class)), rows)
            self.counts.results += len(rows) if table_class is Result else 0

    def _known_jobs(self, digests: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Return those of these jobs that the target has, by digest."""
        table = table_of(JobRow)
        columns = table.c.digest, table.c.id, table.c.state, table.c.epoch
        known: dict[str, Mapping[str, Any]] = {}
        for part in chunks(digests, CHUNK):
            query = select(*columns).where(table.c.digest.in_(part))
            known |= {row["digest"]: row for row in self.target.execute(query).mappings()}
        return known

    def _insert_job(self, job: Mapping[str, Any]) -> int:
        """Insert a job of the source into the target and return its id there."""
        values = {name: value for name, value in job.items() if name != "id"}
        values |= {"setting": self.settings[job["setting"]], "owner": None}
        return insert_row(self.target, table_of(JobRow), values)

    def _replace_job(self, job: Mapping[str, Any], target_job: Mapping[str, Any]) -> None:
        """Give the target's job the state of the source's, and delete its metrics and blobs."""
        # If a run has claimed the target's job, a greater claim number makes the ledger refuse its result.
        claim_number = max(target_job["epoch"], job["epoch"]) + (target_job["state"] == "claimed")
        values = {"state": job["state"], "note": job["note"], "owner": None, "epoch": claim_number}
        table = table_of(JobRow)
        self.target.execute(update(table).where(table.c.id == target_job["id"]).values(values))
        for table_class in (MetricRow, Blob):
            table = table_of(table_class)
            self.target.execute(table.delete().where(table.c.job == target_job["id"]))

    def _copied_rows(
        self, table_class: type[Result | MetricRow | Blob | Attempt], jobs: Mapping[int, int]
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table that belong to copied jobs, with the target's ids.

        Args:
            table_class: names the table.
            jobs: the target's id of each copied job, by the source's id.
        """
        table = table_of(table_class)
        for part in chunks(list(jobs), CHUNK):
            for row in self.source.execute(select(table).where(table.c.job.in_(part))).mappings():
                values = dict(row) | {"job": jobs[row["job"]]}
                if table_class is Attempt:
                    del values["id"]
                    values["run"] = self.runs[row["run"]]
                if table_class is Result:
                    values["environment"] = self.environments[row["environment"]]
                yield values


def _is_better(state: str, other: str) -> bool:
    """Return whether a state of the source replaces another one of the target."""
    return state in ENDED_STATES and (
        other not in ENDED_STATES or ENDED_STATES.index(state) < ENDED_STATES.index(other)
    )


def _payloads(connection: Connection, jobs: Sequence[int]) -> dict[int, str]:
    """Return the payload hash of each job that has a result, by job id."""
    table = table_of(Result)
    payloads: dict[int, str] = {}
    for part in chunks(jobs, CHUNK):
        payloads |= dict(
            connection.execute(
                select(table.c.job, table.c.payload).where(table.c.job.in_(part))
            ).all()
        )
    return payloads
