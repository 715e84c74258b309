"""One ledger's results into another: what shards of a grid computed apart comes together.

A job has one identity everywhere, so a result that both have is the same result; where their
numbers differ, the target's stands and the job is named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, case, insert, select, update

from harness.ledger.claims import state_before_claim
from harness.ledger.ledger import Ledger
from harness.ledger.statements import CHUNK, chunks, insert_missing, insert_row, table_of, text_ids
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

ENDED = (
    "done",
    "diverged",
    "failed",
    "infeasible",
)  # from best to least: what a target has is replaced by what is better
PART = 200  # jobs at once


@dataclass
class Merged:
    """What came of it."""

    jobs: int = 0  # that the target did not know
    results: int = 0  # taken over
    same: int = 0  # that both had, with equal numbers
    unequal: list[str] = field(default_factory=list)  # digests of those with other numbers


def merge(target: Ledger, source: Ledger) -> Merged:
    """Take over everything that the target lacks, in one transaction: all of it or nothing."""
    merged = Merged()
    with source.transaction() as theirs, target.transaction() as ours:
        settings = _numbers(ours, theirs, Setting)
        environments = _numbers(ours, theirs, Environment)
        runs = _runs(ours, theirs)
        _facts(ours, theirs)
        for jobs in _parts(theirs):
            _take(ours, theirs, jobs, settings, environments, runs, merged)
    return merged


def _facts(ours: Connection, theirs: Connection) -> None:
    """Facts such as the hypothesis, where the target has none of that name."""
    facts = table_of(Meta)
    for key, value in theirs.execute(select(facts.c.key, facts.c.value)).all():
        if key != "schema":
            insert_missing(ours, facts, [{"key": key, "value": value}], "key")


def _numbers(
    ours: Connection, theirs: Connection, kind: type[Setting | Environment]
) -> dict[int, int]:
    """The target's number for each of the source's texts."""
    texts = dict(theirs.execute(select(table_of(kind).c.id, table_of(kind).c.json)).all())
    known = text_ids(ours, kind, list(texts.values()))
    return {number: known[text] for number, text in texts.items()}


def _runs(ours: Connection, theirs: Connection) -> dict[int, int]:
    """The source's runs, entered as ended ones: who claims in the source claims nothing here."""
    numbers = {}
    for row in theirs.execute(select(table_of(Run))).mappings():
        values = {name: row[name] for name in ("started", "command", "program", "lock")} | {
            "ended": row["ended"] or ""
        }
        numbers[row["id"]] = insert_row(ours, table_of(Run), values)
    return numbers


def _parts(theirs: Connection) -> Iterator[list[dict[str, Any]]]:
    """The jobs, as they were before the claims on them."""
    table, last = table_of(JobRow), 0
    state = case(
        (table.c.state == "claimed", state_before_claim(table)), else_=table.c.state
    ).label("state")
    others = [column for column in table.c if column.name != "state"]
    while True:
        wanted = select(*others, state).where(table.c.id > last).order_by(table.c.id).limit(PART)
        rows = [dict(row) for row in theirs.execute(wanted).mappings()]
        if not rows:
            return
        last = rows[-1]["id"]
        yield rows


def _take(
    ours: Connection,
    theirs: Connection,
    jobs: Sequence[dict[str, Any]],
    settings: dict[int, int],
    environments: dict[int, int],
    runs: dict[int, int],
    merged: Merged,
) -> None:
    """One part of the jobs, with all that hangs on them."""
    table = table_of(JobRow)
    here: dict[str, tuple[int, str, int]] = {}
    for part in chunks([job["digest"] for job in jobs], CHUNK):
        found = select(table.c.digest, table.c.id, table.c.state, table.c.epoch).where(
            table.c.digest.in_(part)
        )
        here |= {
            digest: (number, state, epoch) for digest, number, state, epoch in ours.execute(found)
        }
    payloads = (
        _payloads(theirs, jobs),
        _payloads(ours, [{"id": here[j["digest"]][0]} for j in jobs if j["digest"] in here]),
    )
    numbers: dict[
        int, int
    ] = {}  # the source's jobs that are taken over: the target's number of each
    for job in jobs:
        state = job["state"]
        if job["digest"] not in here:
            merged.jobs += 1
            values = {name: value for name, value in job.items() if name != "id"}
            values |= {"setting": settings[job["setting"]], "owner": None}
            numbers[job["id"]] = insert_row(ours, table, values)
            continue
        number, held, epoch = here[job["digest"]]
        if state == held == "done":
            same = payloads[0].get(job["id"]) == payloads[1].get(number)
            merged.same += same
            merged.unequal += [] if same else [job["digest"]]
        elif state in ENDED and (held not in ENDED or ENDED.index(state) < ENDED.index(held)):
            # who holds a claim may be dead; if not, its result comes too late and is refused, as
            # this one stands
            later = held == "claimed"
            values = {
                "state": state,
                "note": job["note"],
                "owner": None,
                "epoch": max(epoch, job["epoch"]) + later,
            }
            ours.execute(update(table).where(table.c.id == number).values(values))
            for old in (MetricRow, Blob):
                ours.execute(table_of(old).delete().where(table_of(old).c.job == number))
            numbers[job["id"]] = number
    for kind in (Result, MetricRow, Blob, Attempt):
        rows = list(_moved(theirs, kind, numbers, environments, runs))
        if rows:
            ours.execute(insert(table_of(kind)), rows)
        merged.results += len(rows) if kind is Result else 0


def _payloads(connection: Connection, jobs: Sequence[dict[str, Any]]) -> dict[int, str]:
    table = table_of(Result)
    found: dict[int, str] = {}
    for part in chunks([job["id"] for job in jobs], CHUNK):
        found |= dict(
            connection.execute(
                select(table.c.job, table.c.payload).where(table.c.job.in_(part))
            ).all()
        )
    return found


def _moved(
    theirs: Connection,
    kind: type[Result | MetricRow | Blob | Attempt],
    numbers: dict[int, int],
    environments: dict[int, int],
    runs: dict[int, int],
) -> Iterator[dict[str, Any]]:
    """The rows of one table that belong to jobs which are taken over, with the target's numbers."""
    table = table_of(kind)
    for part in chunks(list(numbers), CHUNK):
        for row in theirs.execute(select(table).where(table.c.job.in_(part))).mappings():
            values = dict(row) | {"job": numbers[row["job"]]}
            if kind is Attempt:
                values = {name: value for name, value in values.items() if name != "id"} | {
                    "run": runs[row["run"]]
                }
            if kind is Result:
                values["environment"] = environments[row["environment"]]
            yield values
