"""What a claim leaves behind when it is given back: a job is then what it was before, to the runs that try it again."""

from sqlalchemy import ColumnElement, Table, and_, exists, func, select

from harness.ledger.reader import table_of
from harness.ledger.tables import Attempt


def state_before(jobs: Table) -> ColumnElement[str]:
    """The state of a job without the claim on it: its latest recorded outcome, or none yet."""
    attempts = table_of(Attempt)
    latest = (
        select(attempts.c.outcome)
        .where(attempts.c.job == jobs.c.id)
        .order_by(attempts.c.id.desc())
        .limit(1)
    )
    return func.coalesce(latest.correlate(jobs).scalar_subquery(), "planned")


def set_free(jobs: Table, digest: str, epoch: int) -> ColumnElement[bool]:
    """A job whose claim of that epoch was given back; nobody has claimed it since, or the epoch were another."""
    attempts = table_of(Attempt)
    recorded = (
        exists().where(attempts.c.job == jobs.c.id, attempts.c.epoch == epoch).correlate(jobs)
    )
    free = jobs.c.state.in_(["planned", "failed", "diverged"])
    return and_(jobs.c.digest == digest, jobs.c.epoch == epoch, free, ~recorded)
