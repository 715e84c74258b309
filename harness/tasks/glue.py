"""The nine GLUE tasks that have labelled validation sets, and the reader for datasets of the Hub.

Training examples come from `train`. The official test labels are secret, so the official validation
set is the test set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from harness.backbones.hub.datasets import load_split
from harness.backbones.hub.revisions import resolve_revision
from harness.errors import CorruptData
from harness.tasks.base import Example, Task

_SHOWN = 5  # problems in one message


@dataclass(frozen=True, kw_only=True)
class HubReader:
    """Reads a dataset of the Hub, which must have the task's class names in the task's order."""

    dataset: str
    config: str | None
    fields: tuple[str, ...]  # columns of the one or two texts
    label: str = "label"
    labels: tuple[str, ...]  # class names; empty for a regression
    branch: str = "main"
    group: str = ""  # column whose value rows share that are not independent, such as a premise

    def revision(self) -> str:
        """Return the commit of `branch`, the same throughout a process.

        Raises:
            Unavailable: the Hub cannot be reached and nothing is cached, or there is no such dataset.
        """
        return resolve_revision("dataset", self.dataset, self.branch)

    def examples(self, split: str, revision: str) -> Sequence[Example]:
        """Return all examples of a split at a commit.

        Raises:
            Unavailable: the Hub cannot be reached and nothing is cached.
            UsageError: the dataset has no such configuration or split.
            CorruptData: a column is missing, the class names differ, or rows have no text or no
                valid label.
        """
        columns, classes, *_ = load_split(self.dataset, self.config, split, revision)
        where = "/".join([self.dataset, *([self.config] if self.config else []), split])
        self._check_columns(where, columns, classes)
        texts = list(zip(*(columns[name] for name in self.fields), strict=True))
        groups = columns[self.group] if self.group else [""] * len(texts)
        rows = [Example(*row) for row in zip(texts, columns[self.label], groups, strict=True)]
        problems = [
            f"row {number}, {problem}"
            for number, row in enumerate(rows, 1)
            if (problem := self._problem(row.texts, row.label))
        ]
        if problems:
            more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise CorruptData(
                f"{where} has rows that cannot be used: {'; '.join(problems[:_SHOWN])}{more}"
            )
        return rows

    def _check_columns(
        self, where: str, columns: Mapping[str, list[Any]], classes: Mapping[str, tuple[str, ...]]
    ) -> None:
        missing = [name for name in (*self.fields, self.label) if name not in columns]
        if missing:
            raise CorruptData(
                f"{where} has no column {', '.join(missing)}; there are: {', '.join(columns)}"
            )
        named = classes.get(self.label, self.labels)
        if named != self.labels:
            expected = ", ".join(self.labels) or "a number"
            raise CorruptData(
                f"{where}: column {self.label} has the classes {', '.join(named)}; the task expects {expected}"
            )

    def _problem(self, texts: tuple[Any, ...], label: Any) -> str:
        """Return what is wrong with a row, or an empty text. Empty sentences are allowed: QQP has some."""
        for name, text in zip(self.fields, texts, strict=True):
            if not isinstance(text, str):
                return f"column {name}: not a text"
        if self.labels:
            if type(label) is not int or not 0 <= label < len(self.labels):
                return f"column {self.label}: {label!r} is not a class" + (
                    " (unlabelled)" if label in (-1, None) else ""
                )
        elif not isinstance(label, int | float) or label != label or abs(label) == float("inf"):
            return f"column {self.label}: {label!r} is not a finite number"
        return ""


def _glue(
    name: str,
    title: str,
    fields: tuple[str, ...],
    labels: tuple[str, ...],
    metrics: tuple[str, ...],
    train_rows: int,
    tests: Mapping[str, str] | None = None,
    seen: bool = False,
    group: str = "",
) -> Task:
    return Task(
        name=name,
        title=title,
        reader=HubReader(
            dataset="nyu-mll/glue", config=name, fields=fields, labels=labels, group=group
        ),
        labels=labels,
        metrics=metrics,
        pair=len(fields) == 2,
        tests=tests or {"": "validation"},
        train_rows=train_rows,
        seen_by=frozenset({"sentence-transformers/all-MiniLM-L6-v2"}) if seen else frozenset(),
    )


_SENTENCE = ("sentence",)
_SENTENCES = ("sentence1", "sentence2")
_ENTAILED = ("entailment", "not_entailment")
_ACCURACY = ("accuracy",)
_MNLI_TESTS = {"": "validation_matched", "mismatched": "validation_mismatched"}

TASKS: Final[dict[str, Task]] = {
    task.name: task
    for task in (
        _glue(
            "sst2",
            "sentiment of film reviews",
            _SENTENCE,
            ("negative", "positive"),
            _ACCURACY,
            67349,
        ),
        _glue(
            "cola",
            "is a sentence acceptable English",
            _SENTENCE,
            ("unacceptable", "acceptable"),
            ("matthews",),
            8551,
        ),
        _glue(
            "mrpc",
            "do two news sentences mean the same",
            _SENTENCES,
            ("not_equivalent", "equivalent"),
            ("accuracy", "f1"),
            3668,
        ),
        _glue(
            "stsb",
            "how alike are two sentences, 0 to 5",
            _SENTENCES,
            (),
            ("pearson", "spearman"),
            5749,
        ),
        _glue(
            "qqp",
            "do two questions ask the same",
            ("question1", "question2"),
            ("not_duplicate", "duplicate"),
            ("accuracy", "f1"),
            363846,
            seen=True,
        ),
        _glue(
            "mnli",
            "does a premise entail a hypothesis, many genres",
            ("premise", "hypothesis"),
            ("entailment", "neutral", "contradiction"),
            _ACCURACY,
            392702,
            tests=_MNLI_TESTS,
            seen=True,
            group="premise",
        ),
        _glue(
            "qnli",
            "does a sentence answer a question",
            ("question", "sentence"),
            _ENTAILED,
            _ACCURACY,
            104743,
            seen=True,
        ),
        _glue("rte", "does a text entail a hypothesis", _SENTENCES, _ENTAILED, _ACCURACY, 2490),
        _glue(
            "wnli",
            "is a pronoun resolved correctly",
            _SENTENCES,
            ("not_entailment", "entailment"),
            _ACCURACY,
            635,
        ),
    )
}
