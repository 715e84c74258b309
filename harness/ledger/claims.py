"""Claims: which run may record the result of a job.

Every claim raises the epoch of its job by one. A result is accepted only with the epoch of the
latest claim, so the late result of a run that lost its claim is refused (fencing). A released job
returns to the state that it had before the claim.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    case,
    exists,
    func,
    or_,
    select,
    update,
)

from harness.ledger.statements import CHUNK, chunks, table_of
from harness.ledger.tables import Attempt, JobRow, RunRow


class Claim(NamedTuple):
    """The right to record one result."""

    digest: str
    epoch: int


def claim_jobs(
    connection: Connection,
    run: int | None,
    digests: Sequence[str],
    count: int,
    *,
    retry: Sequence[str],
    in_flight: Collection[str],
) -> list[Claim]:
    """Claim up to `count` free jobs for a run, in the order of `digests`.

    A job that the database shows as claimed by this run, but that is not `in_flight`, is free too:
    the connection broke before the run learned of its claim.

    Args:
        connection: an open transaction.
        run: id of the claiming run.
        digests: jobs to choose from.
        count: maximum number of claims.
        retry: states besides `planned` that may be tried again, such as `failed`.
        in_flight: digests of the jobs that the run knows it has claimed.
    """
    table = table_of(JobRow)
    unnoticed = and_(
        table.c.state == "claimed",
        table.c.owner == run,
        table.c.digest.not_in(list(in_flight)),
    )
    free = or_(table.c.state.in_(["planned", *retry]), unnoticed)
    claims: list[Claim] = []
    for part in chunks(digests, CHUNK):
        query = select(table.c.digest, table.c.epoch).where(table.c.digest.in_(part), free)
        if connection.dialect.name == "postgresql":
            # Lock no more rows than needed: other runs skip locked rows.
            order = case({name: place for place, name in enumerate(part)}, value=table.c.digest)
            query = (
                query.order_by(order).limit(count - len(claims)).with_for_update(skip_locked=True)
            )
        epochs: dict[str, int] = dict(connection.execute(query).all())
        claims += [Claim(name, epochs[name] + 1) for name in part if name in epochs]
        if len(claims) >= count:
            break
    for claim in claims[:count]:
        connection.execute(
            update(table)
            .where(table.c.digest == claim.digest)
            .values({"state": "claimed", "owner": run, "epoch": claim.epoch})
        )
    return claims[:count]


def release_claims(
    connection: Connection, run: int | None, digests: Sequence[str] | None = None
) -> None:
    """Release the claims of a run on some jobs, or on all jobs if `digests` is None."""
    table = table_of(JobRow)
    release = update(table).where(table.c.owner == run, table.c.state == "claimed")
    release = release.values(state=state_before_claim(table), owner=None)
    for part in chunks(digests, CHUNK) if digests is not None else [None]:
        connection.execute(release if part is None else release.where(table.c.digest.in_(part)))


def release_dead_claims(
    connection: Connection,
    run: int | None,
    live_runs: Callable[[Connection, Mapping[int, str]], set[int]],
) -> int:
    """Release the claims of all runs whose process is gone and return how many there were.

    Args:
        connection: an open transaction.
        run: id of the calling run, whose own claims stay.
        live_runs: takes the names of the locks of runs by run id, and returns the ids of the runs that live.
    """
    jobs, runs = table_of(JobRow), table_of(RunRow)
    claiming = select(jobs.c.owner).where(jobs.c.state == "claimed").distinct()
    locks: dict[int, str] = dict(
        connection.execute(
            select(runs.c.id, runs.c.lock).where(runs.c.id.in_(claiming), runs.c.id != run)
        ).all()
    )
    dead = locks.keys() - live_runs(connection, locks)
    if not dead:
        return 0
    release = update(jobs).where(jobs.c.state == "claimed", jobs.c.owner.in_(dead))
    release = release.values(state=state_before_claim(jobs), owner=None)
    return connection.execute(release).rowcount


def reclaim(connection: Connection, run: int | None, epochs: Mapping[str, int]) -> None:
    """Take back claims that another run released because it could not see this run's lock.

    Jobs that have been claimed again since, which their epoch shows, stay with their new owner.

    Args:
        connection: an open transaction.
        run: id of the run that takes its claims back.
        epochs: the epoch of each claim by digest.
    """
    jobs = table_of(JobRow)
    for digest, epoch in epochs.items():
        connection.execute(
            update(jobs)
            .where(claim_was_released(jobs, digest, epoch))
            .values(state="claimed", owner=run)
        )


def holds_claim(
    jobs: Table, digest: str, epoch: int, *, even_if_released: bool
) -> ColumnElement[bool]:
    """Return the condition under which a result is accepted: the claim with this epoch is the job's latest.

    Args:
        jobs: the job table.
        digest: the job.
        epoch: of the claim.
        even_if_released: accept a claim that was released too, if nobody has claimed the job since. For a
            run that did not release the claim itself; another run took it for dead.
    """
    held = and_(jobs.c.digest == digest, jobs.c.epoch == epoch, jobs.c.state == "claimed")
    return or_(held, claim_was_released(jobs, digest, epoch)) if even_if_released else held


def claim_was_released(jobs: Table, digest: str, epoch: int) -> ColumnElement[bool]:
    """Return the condition that the claim with this epoch was released and nobody has claimed the job since."""
    attempts = table_of(Attempt)
    recorded = (
        exists().where(attempts.c.job == jobs.c.id, attempts.c.epoch == epoch).correlate(jobs)
    )
    return and_(
        jobs.c.digest == digest,
        jobs.c.epoch == epoch,
        jobs.c.state.in_(["planned", "failed", "diverged"]),
        ~recorded,
    )


def state_before_claim(jobs: Table) -> ColumnElement[str]:
    """Return the state of a job without its claim: its latest recorded outcome, or `planned`."""
    attempts = table_of(Attempt)
    latest = (
        select(attempts.c.outcome)
        .where(attempts.c.job == jobs.c.id)
        .order_by(attempts.c.id.desc())
        .limit(1)
    )
    return func.coalesce(latest.correlate(jobs).scalar_subquery(), "planned")
