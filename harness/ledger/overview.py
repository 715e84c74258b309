"""What `bench status` reads from a ledger: counts, in plain SQL.

This module does not import the table classes, because that takes a third of a second.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import Connection, Executable, text
from sqlalchemy.exc import DatabaseError, IntegrityError

from harness.jobs import BackboneSpec
from harness.ledger.database import open_engine, user_error

NEWEST_KEYS: Final = (
    "newest "  # in Meta, how the keys begin that name the data that a run used last
)
DATA_KEYS: Final = "data "  # in Meta, how the keys of what a run said about a task's data begin


class Overview:
    """An open ledger whose jobs can be counted. Usable in a `with` block.

    Args:
        name: a file, or a database URL.
        write: whether it may be created and upgraded.

    Raises:
        CorruptData, CannotWrite, Unavailable, Busy: see `open_engine`.
    """

    def __init__(self, name: str, *, write: bool = False) -> None:
        self.name = name
        self._engine = open_engine(name, write=write)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a transaction. Turn errors of the database into errors that a user can act on."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise  # the tables refuse a value: a bug of this program, not damage of the file
        except DatabaseError as error:
            raise user_error(error, self.name) from error

    def rows(self, query: Executable) -> Sequence[Any]:
        """Run a query in a transaction of its own and return its rows."""
        with self.transaction() as connection:
            return connection.execute(query).all()

    def backbones(self) -> dict[int, str]:
        """Return the name of the backbone of each setting, by setting id."""
        settings = self.rows(text("SELECT id, json FROM setting"))
        return {
            key: BackboneSpec(**json.loads(setting)["backbone"]).title for key, setting in settings
        }

    def counts(self) -> list[tuple[int, str, str, int]]:
        """Return sorted tuples: setting id, label, state, and the number of jobs that have these."""
        columns = (
            "state, setting, label"  # as in the index `job_state`, so the database need not sort
        )
        query = f"SELECT {columns}, count(*) FROM job GROUP BY {columns}"  # noqa: S608  # constants
        counts = self.rows(text(query))
        return sorted((setting, label, state, count) for state, setting, label, count in counts)

    def findings(self) -> dict[str, list[str]]:
        """Return what runs said about the data of tasks that have jobs, by task."""
        tasks = [
            json.loads(setting)["task"]
            for (setting,) in self.rows(text("SELECT json FROM setting"))
        ]
        keys = {f"{DATA_KEYS}{task['task']} {task['revision']}": task["task"] for task in tasks}
        said: dict[str, list[str]] = {}
        for key, value in self.rows(text("SELECT key, value FROM meta")):
            if key in keys:
                said.setdefault(keys[key], []).extend(json.loads(value)["findings"])
        return said

    def seconds(self) -> float:
        """Return the sum of the training and evaluation seconds of all results."""
        query = "SELECT sum(seconds_training + seconds_evaluation) FROM result"
        return float(self.rows(text(query))[0][0] or 0)

    def errors(self) -> list[tuple[str, str]]:
        """Return the digest and the last error of each job that has failed or diverged."""
        query = """
            SELECT job.digest, attempt.error FROM attempt JOIN job ON attempt.job = job.id
            WHERE job.state IN ('failed', 'diverged') ORDER BY attempt.id
        """
        return list(dict(self.rows(text(query))).items())

    def digests(self, prefix: str, limit: int = 100) -> list[str]:
        """Return at most `limit` digests of finished jobs that start with a prefix, newest first."""
        query = """
            SELECT digest FROM job WHERE state = 'done' AND substr(digest, 1, :length) = :prefix
            ORDER BY id DESC LIMIT :limit
        """
        values = {"prefix": prefix, "length": len(prefix), "limit": limit}
        return [digest for (digest,) in self.rows(text(query).bindparams(**values))]
