"""What `bench status` needs of a ledger: counts in plain SQL.

The table classes take a third of a second to import, so this module does without them.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Executable, text
from sqlalchemy.exc import DatabaseError, IntegrityError

from harness.ledger.database import open_engine, user_error


class Overview:
    """An open ledger that can be counted. Usable in a `with` block.

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
        """Open a transaction and raise errors of the database as errors that a user can act on."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise  # a value that the tables refuse: a bug of this program, not of the file
        except DatabaseError as error:
            raise user_error(error, self.name) from error

    def rows(self, query: Executable) -> Sequence[Any]:
        """Return the rows of a query, which has a transaction of its own."""
        with self.transaction() as connection:
            return connection.execute(query).all()

    def backbones(self) -> dict[int, str]:
        """Return the name of the backbone of each setting, by setting id."""
        texts = self.rows(text("SELECT id, json FROM setting"))
        return {number: json.loads(setting)["backbone"]["name"] for number, setting in texts}

    def counts(self) -> list[tuple[int, str, str, int]]:
        """Return the number of jobs by setting id, label and state: (setting, label, state, jobs)."""
        columns = "state, setting, label"  # in the order of the index, so that nothing is sorted
        query = f"SELECT {columns}, count(*) FROM job GROUP BY {columns}"  # noqa: S608  # constants
        counts = self.rows(text(query))
        return sorted((setting, label, state, count) for state, setting, label, count in counts)

    def seconds(self) -> float:
        """Return the seconds of work in all results."""
        query = "SELECT sum(seconds_training + seconds_evaluation) FROM result"
        return float(self.rows(text(query))[0][0] or 0)

    def errors(self) -> list[tuple[str, str]]:
        """Return digest and last error of each job that failed or diverged."""
        query = """
            SELECT job.digest, attempt.error FROM attempt JOIN job ON attempt.job = job.id
            WHERE job.state IN ('failed', 'diverged') ORDER BY attempt.id
        """
        return list(dict(self.rows(text(query))).items())

    def digests(self, beginning: str, most: int = 100) -> list[str]:
        """Return digests of finished jobs that begin this way, the latest first."""
        query = """
            SELECT digest FROM job WHERE state = 'done' AND substr(digest, 1, :length) = :beginning
            ORDER BY id DESC LIMIT :most
        """
        values = {"beginning": beginning, "length": len(beginning), "most": most}
        return [digest for (digest,) in self.rows(text(query).bindparams(**values))]
