"""The tables. SQLModel does not validate the values of table classes, so callers pass checked values."""

from sqlalchemy import LargeBinary
from sqlmodel import Field, SQLModel


class Meta(SQLModel, table=True):
    """Facts about the database itself, such as its schema version."""

    key: str = Field(primary_key=True)
    value: str


class RunRow(SQLModel, table=True):
    """One call of `bench run`, which may claim jobs."""

    __tablename__ = "run"

    id: int | None = Field(default=None, primary_key=True)
    started: str
    ended: str | None = None
    command: str
    program: str
    lock: str  # name of the file that the run locks; empty on a server


class Environment(SQLModel, table=True):
    """Versions of Python and libraries; each text is stored once."""

    id: int | None = Field(default=None, primary_key=True)
    json_: str = Field(sa_column_kwargs={"name": "json"}, unique=True)


class Setting(SQLModel, table=True):
    """What all jobs of one method on one task have in common; each text is stored once.

    The digest of a job is a hash of its setting and some of its columns.
    """

    id: int | None = Field(default=None, primary_key=True)
    json_: str = Field(sa_column_kwargs={"name": "json"}, unique=True)


class JobRow(SQLModel, table=True):
    """A cell of a requested grid."""

    __tablename__ = "job"

    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)
    setting: int = Field(foreign_key="setting.id")
    task: str
    label: str
    size: int
    draw: int
    seed: int
    fingerprint: str  # of the examples; empty for a cell that cannot be drawn
    n_train: int
    n_dev: int
    n_test: int
    note: str = ""  # why the cell is infeasible, or that draws were discarded
    state: str = "planned"
    owner: int | None = Field(default=None, foreign_key="run.id")
    epoch: int = 0  # number of its latest claim: see `claims.py`; 0: never claimed


class Attempt(SQLModel, table=True):
    """An attempt at a job, with its outcome. A row is added when it ends and never changed."""

    id: int | None = Field(default=None, primary_key=True)
    job: int = Field(foreign_key="job.id")
    run: int = Field(foreign_key="run.id")
    epoch: int  # number of the claim under which the run recorded it
    ended: str
    outcome: str
    error: str = ""
    trace: str = ""


class Result(SQLModel, table=True):
    """The result of a job that is done."""

    job: int = Field(primary_key=True, foreign_key="job.id")
    environment: int = Field(foreign_key="environment.id")
    device: str
    geometry: str
    dev_score: float | None  # None if it is not finite
    best_step: int
    collapsed: bool
    trained: int
    stored: int
    seconds_training: float
    seconds_evaluation: float
    peak_bytes: int
    artefact: str | None
    payload: str  # SHA-256 of metrics and blobs: a database does not detect changed bytes
    finished: str
    seal: str = ""  # SHA-256 of this row and of its job; empty in results of the first schema


class MetricRow(SQLModel, table=True):
    """A metric of a result. `special` names a value that is not finite, since SQLite turns NaN into NULL."""

    __tablename__ = "metric"

    job: int = Field(primary_key=True, foreign_key="job.id")
    name: str = Field(primary_key=True)
    value: float | None
    special: str | None  # nan, inf or -inf


class Blob(SQLModel, table=True):
    """Compressed values of a job: its dev curve, its test predictions, or the labels of a split."""

    job: int = Field(primary_key=True, foreign_key="job.id")
    kind: str = Field(primary_key=True)
    data: bytes = Field(sa_type=LargeBinary)
