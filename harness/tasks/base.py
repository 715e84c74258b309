"""A task: a dataset, its text fields, its label kind, its metrics. Plain data; rows are read by the task's reader."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class Example(NamedTuple):
    """One example: one or two texts and a label (the class's number, or the value of a regression)."""

    texts: tuple[str, ...]
    label: int | float


class ExampleReader(Protocol):
    """Where a task's rows come from. Reading the same revision always gives the same rows in the same order."""

    def revision(self) -> str:
        """What identifies the contents: a commit of the Hub, a hash of a file, a version of a generator.

        Raises:
            Unavailable: the source is out of reach and nothing is cached.
        """
        ...

    def examples(self, split: str, revision: str) -> Sequence[Example]:
        """All rows of a split at that revision.

        Raises:
            Unavailable: the source is out of reach and nothing is cached.
            CorruptData: a row cannot be used (no text, an unknown label), named by its number and
                column.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be learnt, and how it is scored."""

    name: str
    title: str  # one line for `bench list tasks`
    reader: ExampleReader = field(repr=False)
    labels: tuple[
        str, ...
    ]  # names of the classes in the order of their numbers; empty for a regression
    metrics: tuple[
        str, ...
    ]  # names in `harness.tasks.metrics`; the score is their mean (GLUE's rule)
    pair: bool  # two texts a row
    train: str = "train"
    tests: Mapping[str, str] = field(
        default_factory=lambda: {"": "validation"}
    )  # suffix of the metric -> split
    train_rows: int | None = (
        None  # known size of the training split: refuses absurd sizes before anything is read
    )
    holdout: bool = (
        False  # no test split exists: a part of the rows is held out, another one for every draw
    )
    seen_by: frozenset[str] = (
        frozenset()
    )  # backbones whose own training is known to have included this task's data
    version: int = 1  # raised when a correction changes numbers

    @property
    def regression(self) -> bool:
        """Whether the label is a number rather than a class."""
        return not self.labels

    @property
    def outputs(self) -> int:
        """How many numbers a head gives: one a class, or one for a regression."""
        return len(self.labels) or 1
