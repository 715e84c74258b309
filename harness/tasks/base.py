"""A task: a dataset, its classes and its metrics. Its reader reads the examples."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from harness.jobs import Label

Kind = Literal["classes", "number", "multilabel", "text"]  # of a label


class Example(NamedTuple):
    """One or two texts and a label."""

    texts: tuple[str, ...]
    label: Label
    # what the row shares with rows that are not independent of it, such as a premise; empty: its texts
    group: str = ""

    @property
    def classes(self) -> tuple[int, ...]:
        """The numbers of the row's classes; the label must be a class or a set of classes."""
        label = self.label if isinstance(self.label, tuple) else (self.label,)
        return tuple(map(int, label))

    @property
    def references(self) -> tuple[str, ...]:
        """The references of the text that is to be written."""
        assert isinstance(self.label, tuple)
        return tuple(map(str, self.label))

    @property
    def group_key(self) -> str | tuple[str, ...]:
        """What rows of one group have in common: the group, or texts that are equal but for case, width and spaces."""
        return self.group or normalise(self.texts)


def normalise(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return texts without differences of case, character width and spacing."""
    return tuple(" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in texts)


class ExampleReader(Protocol):
    """Source of a task's examples. The same revision always gives the same examples in the same order."""

    def revision(self) -> str:
        """Return what identifies the contents: a commit, a hash of a file or a generator's version.

        Raises:
            Unavailable: the source cannot be reached and nothing is cached.
        """

    def examples(self, split: str, revision: str) -> Sequence[Example]:
        """Return all examples of a split at a revision.

        Raises:
            Unavailable: the source cannot be reached and nothing is cached.
            CorruptData: a row has no text or an unknown label; the message names row and column.
        """


@dataclass(frozen=True, kw_only=True)
class Task:
    """A dataset to learn, and the metrics that score predictions."""

    name: str
    title: str  # one line for `bench list tasks`
    reader: ExampleReader = field(repr=False)
    labels: tuple[str, ...]  # class names in the order of their numbers; empty for a regression
    metrics: tuple[
        str, ...
    ]  # names in `harness.tasks.metrics`; the score is their mean, as in GLUE
    pair: bool  # two texts per example
    train: str = "train"
    # Suffix of the metrics on a test set, and its split.
    tests: Mapping[str, str] = field(default_factory=lambda: {"": "validation"})
    train_rows: int | None = None  # size of the training split, to refuse sizes before reading it
    test_rows: int | None = None  # size of a test split of the user's
    holdout: bool = False  # there is no test split: each draw holds out other examples
    # Backbones that are known to have been trained on data of this task.
    seen_by: frozenset[str] = frozenset()
    version: int = 1  # increased by a correction that changes numbers
    multilabel: bool = False  # a row has any number of the classes
    text: bool = False  # a text is to be written; the label of a row is its references
    # metrics of a text that are computed beside those of the score
    other_metrics: tuple[str, ...] = ()
    # sentences on a user's file: what it contains, and what may be wrong with it
    description: tuple[str, ...] = field(default=(), compare=False)
    findings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def kind(self) -> Kind:
        """What a label is: one of several classes, a number, a set of classes, or references of a text."""
        if self.text:
            return "text"
        if self.multilabel:
            return "multilabel"
        return "classes" if self.labels else "number"

    @property
    def regression(self) -> bool:
        """Whether the label is a number and not a class."""
        return self.kind == "number"

    @property
    def outputs(self) -> int:
        """Number of outputs of the head: one per class, or one for a regression."""
        return len(self.labels) or 1
