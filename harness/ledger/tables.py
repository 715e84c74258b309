"""The tables. SQLModel does not validate table classes, so these are storage only; values are checked before they come here."""

from sqlalchemy import LargeBinary
from sqlmodel import Field, SQLModel


class Meta(SQLModel, table=True):
    """Facts about the database itself: its schema's number, the program that made it."""

    key: str = Field(primary_key=True)
    value: str


class Run(SQLModel, table=True):
    """One `bench run`: who claims jobs."""

    id: int | None = Field(default=None, primary_key=True)
    started: str
    ended: str | None = None
    command: str
    program: str
    lock: str  # name of the file whose lock the process holds for as long as it lives


class Environment(SQLModel, table=True):
    """Versions, kept once."""

    id: int | None = Field(default=None, primary_key=True)
    json_: str = Field(sa_column_kwargs={"name": "json"}, unique=True)


class Setting(SQLModel, table=True):
    """What the jobs of one method on one task share, kept once; with a job's own columns it gives the digest again."""

    id: int | None = Field(default=None, primary_key=True)
    json_: str = Field(sa_column_kwargs={"name": "json"}, unique=True)


class JobRow(SQLModel, table=True):
    """A cell that was asked for."""

    __tablename__ = "job"

    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)
    setting: int = Field(foreign_key="setting.id")
    task: str
    label: str
    size: int
    draw: int
    seed: int
    fingerprint: str  # of the rows; empty for a cell that cannot be drawn
    n_train: int
    n_dev: int
    n_test: int
    note: str = ""  # why it is infeasible; that draws were thrown away
    state: str = "planned"
    owner: int | None = Field(default=None, foreign_key="run.id")
    epoch: int = 0  # rises with every claim, so that a late result of a lost claim is refused


class Attempt(SQLModel, table=True):
    """One try at a job, append-only."""

    id: int | None = Field(default=None, primary_key=True)
    job: int = Field(foreign_key="job.id")
    run: int = Field(foreign_key="run.id")
    epoch: int
    ended: str
    outcome: str
    error: str = ""
    trace: str = ""


class Result(SQLModel, table=True):
    """What came of a job that is done."""

    job: int = Field(primary_key=True, foreign_key="job.id")
    environment: int = Field(foreign_key="environment.id")
    device: str
    geometry: str
    dev_score: float | None  # None where it is not a finite number
    best_step: int
    collapsed: bool
    trained: int
    stored: int
    seconds_training: float
    seconds_evaluation: float
    peak_bytes: int
    artefact: str | None
    payload: (
        str  # SHA-256 over metrics and blobs: a database does not notice changed bytes by itself
    )
    finished: str
    # SHA-256 over this row and what belongs to it; empty in results from before it was there
    seal: str = ""


class MetricRow(SQLModel, table=True):
    """One metric of one result. SQLite turns NaN into NULL, so what is not finite is named."""

    __tablename__ = "metric"

    job: int = Field(primary_key=True, foreign_key="job.id")
    name: str = Field(primary_key=True)
    value: float | None
    special: str | None  # nan, inf or -inf


class Blob(SQLModel, table=True):
    """Compressed numbers of one job: its dev curve, its test predictions, the right answers by split."""

    job: int = Field(primary_key=True, foreign_key="job.id")
    kind: str = Field(primary_key=True)
    data: bytes = Field(sa_type=LargeBinary)
