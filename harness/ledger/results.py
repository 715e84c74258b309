"""Storing outcomes: one transaction commits an outcome with its metrics, its blobs and the attempt."""

import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select, update

from harness.jobs import canonical
from harness.ledger.claims import Claim, result_is_accepted
from harness.ledger.seals import payload_hash, seal
from harness.ledger.statements import now, table_of, text_ids
from harness.ledger.tables import Attempt, Blob, Environment, JobRow, MetricRow, Result
from harness.outcome import Outcome

COPIED = ("device", "best_step", "collapsed", "trained", "stored", "artefact", "peak_bytes",
          "seconds_training", "seconds_evaluation")  # fmt: skip


def commit_outcome(
    connection: Connection,
    outcome: Outcome,
    claim: Claim,
    run: int | None,
    versions: Mapping[str, str],
    *,
    even_if_released: bool,
) -> bool:
    """Store an outcome if its claim allows it, and return whether it was stored.

    Args:
        connection: an open transaction.
        outcome: the outcome of the job.
        claim: the claim under which the run computed it.
        run: id of the recording run.
        versions: of the libraries of this process; those of the outcome take precedence.
        even_if_released: see `result_is_accepted`.
    """
    jobs = table_of(JobRow)
    accepted = result_is_accepted(jobs, claim, even_if_released=even_if_released)
    job = (
        connection.execute(select(jobs).where(accepted).with_for_update()).mappings().one_or_none()
    )
    if job is None:
        return False
    job_id = job["id"]
    connection.execute(
        update(jobs).where(jobs.c.id == job_id).values(state=outcome.status, owner=None)
    )
    attempt = {
        "job": job_id,
        "run": run,
        "epoch": claim.number,
        "ended": now(),
        "outcome": outcome.status,
        "error": outcome.error[:2000],
        "trace": outcome.trace,
    }
    connection.execute(table_of(Attempt).insert().values(attempt))
    for table_class in (Blob, MetricRow):  # those of an earlier attempt
        connection.execute(
            table_of(table_class).delete().where(table_of(table_class).c.job == job_id)
        )
    blobs = [
        {"job": job_id, "kind": kind, "data": data} for kind, data in outcome.blobs.items() if data
    ]
    if blobs:
        connection.execute(table_of(Blob).insert(), blobs)
    if outcome.status == "done":
        versions = {**versions, **outcome.versions}
        text = canonical(versions)
        connection.execute(
            table_of(Result)
            .insert()
            .values(
                result_row(
                    dict(job), outcome, versions, text_ids(connection, Environment, [text])[text]
                )
            )
        )
    if outcome.score is not None:  # a diverged job has one too, which reports use
        connection.execute(table_of(MetricRow).insert(), metric_rows(job_id, outcome))
    return True


def is_committed(connection: Connection, claim: Claim, run: int | None) -> bool:
    """Return whether a run has recorded an attempt under a claim."""
    jobs, attempts = table_of(JobRow), table_of(Attempt)
    query = (
        select(attempts.c.id)
        .join(jobs, attempts.c.job == jobs.c.id)
        .where(jobs.c.digest == claim.digest, attempts.c.epoch == claim.number)
        .where(attempts.c.run == run)
    )
    return connection.execute(query).scalar() is not None


def result_row(
    job: Mapping[str, Any], outcome: Outcome, versions: Mapping[str, str], environment: int
) -> dict[str, Any]:
    """Return the row of `Result` for an outcome.

    Args:
        job: the row of `JobRow`.
        outcome: the outcome of the job.
        versions: of the libraries that computed it.
        environment: id of the versions in the table of environments.
    """
    dev_score = outcome.dev_score
    values = {name: getattr(outcome, name) for name in COPIED} | {
        "geometry": str(outcome.geometry),
        "dev_score": dev_score if dev_score is not None and math.isfinite(dev_score) else None,
        "payload": payload_hash(_metrics(outcome), outcome.blobs),
        "finished": now(),
    }
    return values | {
        "job": job["id"],
        "environment": environment,
        "seal": seal(job, values, versions),
    }


def metric_rows(job: int, outcome: Outcome) -> list[dict[str, Any]]:
    """Return the rows of `MetricRow` for the outcome of the job with this id."""
    return [
        {
            "job": job,
            "name": name,
            "value": value if math.isfinite(value) else None,
            "special": None if math.isfinite(value) else str(float(value)),
        }
        for name, value in _metrics(outcome).items()
    ]


def _metrics(outcome: Outcome) -> dict[str, float]:
    """Return the metrics of an outcome and its score."""
    assert outcome.score is not None
    return {"score": outcome.score, **outcome.metrics}
