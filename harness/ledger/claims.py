"""Claims: which run may record the result of a job.

The claims of a job have rising numbers. The ledger accepts a result only with the number of the job's
latest claim, so it refuses the late result of a run if another run has claimed the job since. When a claim
is released, its job returns to the state before the claim.

A run holds a lock while it is alive (`liveness.py`). Other runs release the claims of a run that holds
no lock.

In the job table, the column `epoch` holds the number of the job's latest claim. In the attempt table,
which has a row for each recorded outcome, `epoch` holds the number of the claim under which the outcome was
recorded.
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
    """The right to record the result of one job."""

    digest: str  # of the job
    number: int  # of the claim, among all claims of the job


def claim_jobs(
    connection: Connection,
    run: int | None,
    digests: Sequence[str],
    count: int,
    *,
    retry: Sequence[str],
    in_flight: Collection[str],
) -> list[Claim]:
    """Claim up to `count` jobs for a run, in the order of `digests`.

    A job can be claimed if its state is `planned` or in `retry`. It can also be claimed if the database
    shows it as claimed by this run, but it is not `in_flight`: the connection broke after the commit of
    that claim, so the run does not know of it.

    Args:
        connection: an open transaction.
        run: id of the claiming run. Never None, although the annotation allows it.
        digests: jobs to choose from.
        count: maximum number of claims.
        retry: states besides `planned` that may be tried again, such as `failed`.
        in_flight: digests of the jobs that the run knows it has claimed.
    """
    jobs = table_of(JobRow)
    claimed_unknowingly = and_(
        jobs.c.state == "claimed",
        jobs.c.owner == run,
        jobs.c.digest.not_in(list(in_flight)),
    )
    claimable = or_(jobs.c.state.in_(["planned", *retry]), claimed_unknowingly)
    claims: list[Claim] = []
    for part in chunks(digests, CHUNK):
        query = select(jobs.c.digest, jobs.c.epoch).where(jobs.c.digest.in_(part), claimable)
        if connection.dialect.name == "postgresql":
            # Lock only the rows that this call will claim. Other runs skip locked rows, so with more
            # locks they would miss jobs that are free.
            order = case(
                {digest: position for position, digest in enumerate(part)}, value=jobs.c.digest
            )
            query = (
                query.order_by(order).limit(count - len(claims)).with_for_update(skip_locked=True)
            )
        latest: dict[str, int] = dict(connection.execute(query).all())  # number of the latest claim
        claims += [Claim(digest, latest[digest] + 1) for digest in part if digest in latest]
        if len(claims) >= count:
            break
    for claim in claims[:count]:
        connection.execute(
            update(jobs)
            .where(jobs.c.digest == claim.digest)
            .values({"state": "claimed", "owner": run, "epoch": claim.number})
        )
    return claims[:count]


def release_claims(
    connection: Connection, run: int | None, digests: Sequence[str] | None = None
) -> None:
    """Release the claims of a run.

    Args:
        connection: an open transaction.
        run: id of the run; None: no run was begun, so there is nothing to release.
        digests: of the jobs; None: all jobs that the run has claimed.
    """
    jobs = table_of(JobRow)
    release = (
        update(jobs)
        .where(jobs.c.owner == run, jobs.c.state == "claimed")
        .values(state=state_before_claim(jobs), owner=None)
    )
    statements = (
        [release]
        if digests is None
        else [release.where(jobs.c.digest.in_(part)) for part in chunks(digests, CHUNK)]
    )
    for statement in statements:
        connection.execute(statement)


def release_dead_claims(
    connection: Connection,
    run: int | None,
    live_runs: Callable[[Connection, Mapping[int, str]], set[int]],
) -> int:
    """Release the claims of all runs that hold no lock, and return the number of released claims.

    Args:
        connection: an open transaction.
        run: id of the calling run, whose own claims stay; None: the caller has not begun a run.
        live_runs: returns the ids of the runs that are alive, given a mapping from the id of each run to
            the name of its lock.
    """
    jobs, runs = table_of(JobRow), table_of(RunRow)
    owners = select(jobs.c.owner).where(jobs.c.state == "claimed").distinct()
    # If `run` is None, `!=` becomes IS NOT NULL, which holds for every run.
    locks: dict[int, str] = dict(
        connection.execute(
            select(runs.c.id, runs.c.lock).where(runs.c.id.in_(owners), runs.c.id != run)
        ).all()
    )
    dead = locks.keys() - live_runs(connection, locks)
    if not dead:
        return 0
    release = (
        update(jobs)
        .where(jobs.c.state == "claimed", jobs.c.owner.in_(dead))
        .values(state=state_before_claim(jobs), owner=None)
    )
    return connection.execute(release).rowcount


def reclaim(connection: Connection, run: int, claim_numbers: Mapping[str, int]) -> None:
    """Take back claims that another run released because it could not see this run's lock.

    This happens if the connection that holds the lock on the server broke. A job that a run has claimed
    since then stays with that run.

    Args:
        connection: an open transaction.
        run: id of the run that takes its claims back.
        claim_numbers: the number of each claim by digest.
    """
    jobs = table_of(JobRow)
    for digest, number in claim_numbers.items():
        connection.execute(
            update(jobs)
            .where(claim_was_released(jobs, Claim(digest, number)))
            .values(state="claimed", owner=run)
        )


def result_is_accepted(jobs: Table, claim: Claim, *, even_if_released: bool) -> ColumnElement[bool]:
    """Return the SQL condition, on rows of the job table, under which the ledger accepts the result of a claim.

    The claim must be the latest one of its job, and must not have been released, except as
    `even_if_released` allows.

    Args:
        jobs: the job table.
        claim: the claim under which the run computed the result.
        even_if_released: accept the result also if the claim was released but no run has claimed the job
            since. Pass True unless this run released the claim: another run does so only if it cannot see
            this run's lock.
    """
    is_open = and_(
        jobs.c.digest == claim.digest, jobs.c.epoch == claim.number, jobs.c.state == "claimed"
    )
    return or_(is_open, claim_was_released(jobs, claim)) if even_if_released else is_open


def claim_was_released(jobs: Table, claim: Claim) -> ColumnElement[bool]:
    """Return the SQL condition that a claim was released and that no run has claimed its job since."""
    attempts = table_of(Attempt)
    recorded = (
        exists()
        .where(attempts.c.job == jobs.c.id, attempts.c.epoch == claim.number)
        .correlate(jobs)
    )
    # True if the claim is the job's latest, the job is neither claimed nor done, and no attempt was
    # recorded under the claim.
    return and_(
        jobs.c.digest == claim.digest,
        jobs.c.epoch == claim.number,
        jobs.c.state.in_(["planned", "failed", "diverged"]),
        ~recorded,
    )


def state_before_claim(jobs: Table) -> ColumnElement[str]:
    """Return the SQL expression for the state of a job without its claim: its last outcome, or `planned`."""
    attempts = table_of(Attempt)
    latest = (
        select(attempts.c.outcome)
        .where(attempts.c.job == jobs.c.id)
        .order_by(attempts.c.id.desc())
        .limit(1)
    )
    return func.coalesce(latest.correlate(jobs).scalar_subquery(), "planned")
