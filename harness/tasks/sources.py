"""Where the rows of a user's task come from: files, or splits of a dataset of the Hub."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.errors import UsageError
from harness.tasks.files.file_table import FileTable, Reading
from harness.tasks.files.parquet import as_written
from harness.tasks.files.problems import Problems
from harness.tasks.files.table_files import read_bytes, read_table
from harness.wording import escaped


class Source(Protocol):
    """Tables of training rows and, unless rows are held out, of test rows."""

    @property
    def name(self) -> str:
        """The default name of a task on these rows."""

    @property
    def splits(self) -> tuple[str, ...]:
        """`train`, and `test` if there are test rows."""

    def contents(self) -> list[bytes]:
        """Return what identifies the rows.

        Raises:
            UsageError: a file cannot be read.
        """

    def table(
        self, split: str, contents: Sequence[bytes], problems: Problems, how: Reading
    ) -> FileTable:
        """Return the table of a split.

        Args:
            split: one of `splits`.
            contents: as returned by `contents`.
            problems: receives what is wrong with single rows.
            how: how to read it.

        Raises:
            UsageError: there is no such table, or it cannot be read.
        """


@dataclass(frozen=True)
class Files:
    """A training file and an optional test file."""

    data: Path
    test: Path | None = None

    @property
    def name(self) -> str:
        """The name of the training file."""
        return self.data.stem

    @property
    def splits(self) -> tuple[str, ...]:
        """`train`, and `test` if there is a test file."""
        return ("train", "test") if self.test else ("train",)

    def contents(self) -> list[bytes]:
        """Return the bytes of the files."""
        contents, problems = [], Problems()
        for path in filter(None, (self.data, self.test)):
            try:
                contents.append(read_bytes(path))
            except UsageError as error:
                problems.add(*error.problems)
        problems.raise_if_any()
        return contents

    def table(
        self, split: str, contents: Sequence[bytes], problems: Problems, how: Reading
    ) -> FileTable:
        """Return the table in a file."""
        path = {"train": self.data, "test": self.test}[split]
        assert path is not None  # only `splits` are asked for
        return read_table(path, contents[self.splits.index(split)], problems, how)

    def __str__(self) -> str:
        tested = f" tested on {self.test.resolve()}" if self.test else ""
        return f"{self.data.resolve()}{tested}"


@dataclass(frozen=True)
class HubSplits:
    """Splits of a dataset of the Hub at one commit."""

    dataset: str
    config: str | None
    train: str
    test: str | None
    commit: str

    @property
    def name(self) -> str:
        """The last part of the dataset's name, with its configuration."""
        return "-".join(filter(None, [self.dataset.rpartition("/")[2], self.config]))

    @property
    def splits(self) -> tuple[str, ...]:
        """`train`, and `test` if there is a test split."""
        return ("train", "test") if self.test else ("train",)

    def contents(self) -> list[bytes]:
        """Return what names the rows, the commit included."""
        named = (self.dataset, self.config, self.train, self.test, self.commit)
        return [repr(named).encode()]

    def table(
        self, split: str, contents: Sequence[bytes], problems: Problems, how: Reading
    ) -> FileTable:
        """Return a split; class numbers become class names, and -1, for unlabelled, nothing."""
        from harness.backbones.hub.datasets import load_split

        del contents  # the commit names the rows
        named = {"train": self.train, "test": self.test}[split]
        assert named is not None  # only `splits` are asked for
        found = load_split(self.dataset, self.config, named, self.commit, columns=how.needed)
        columns = {
            name: [_class(value, found.classes[name]) for value in values]
            if name in found.classes
            else as_written(values)
            if name in found.single
            else values
            for name, values in found.columns.items()
        }
        count = max(map(len, columns.values()), default=0)
        if (
            columns and not count
        ):  # without columns, none of those named exists, which is said elsewhere
            problems.add(f"{self} has no rows in its split {named!r}")
        rows = [{name: values[row] for name, values in columns.items()} for row in range(count)]
        where = Path(self.dataset, *([self.config] if self.config else []), named)
        positions = [f"row {number}" for number in range(1, count + 1)]
        return FileTable(where, found.names, rows, positions, title=f"{self.name} {named}")

    def __str__(self) -> str:
        config = f"/{self.config}" if self.config else ""
        return f"{self.dataset}{config} of the Hub"


def _class(number: Any, names: Sequence[str]) -> str | list[str | None] | None:
    """Return the name of a class number, or the names of a list of them; None for -1, which marks unlabelled rows."""
    if isinstance(number, list):
        return [names[one] if 0 <= one < len(names) else None for one in number]
    return names[number] if isinstance(number, int) and 0 <= number < len(names) else None


def hub_splits(
    dataset: str, config: str | None, train: str, test: str | None, branch: str = "main"
) -> HubSplits:
    """Return the splits of a dataset at the present commit of a branch.

    Raises:
        UsageError: the name is not that of a dataset.
        Unavailable: there is no such dataset, or the Hub cannot be reached and nothing is cached.
    """
    from harness.backbones.hub.revisions import resolve_revision

    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", dataset):
        raise UsageError(f"--dataset must look like owner/name, got {escaped(dataset)!r}")
    if test == train:
        raise UsageError(f"{escaped(train)!r} is both the training and the test split")
    return HubSplits(dataset, config, train, test, resolve_revision("dataset", dataset, branch))
