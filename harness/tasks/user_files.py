"""Tasks from the user's files: CSV, TSV, JSONL or Parquet.

One message reports all problems of the files, by row and column. Nothing is guessed, skipped or
repaired.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import CorruptData, UsageError
from harness.tasks import metrics as scoring
from harness.tasks.base import Example, Task
from harness.tasks.table_files import (
    FileTable,
    Problems,
    as_label,
    as_number,
    digest,
    read_bytes,
    read_table,
)
from methods.core.suggestions import did_you_mean

MAX_CLASSES: Final = 20  # with more distinct numbers the user must name the kind of label
_KEYS: Final = (
    *("name", "data", "test", "text", "label", "kind", "labels", "positive", "metrics", "group"),
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class FileReader:
    """Reads a training file and an optional test file."""

    data: Path
    test: Path | None = None
    text: tuple[str, ...]  # one or two columns
    label: str
    labels: tuple[str, ...] = ()  # class names; empty for a regression
    group: str = ""  # column whose value rows share that are not independent, such as an author

    def revision(self) -> str:
        """Return a hash of the files' bytes and of the columns and classes that are read.

        Raises:
            UsageError: a file cannot be read.
        """
        return self._digest([read_bytes(path) for path in self._paths()])

    def examples(self, split: str, revision: str) -> Sequence[Example]:
        """Return all examples of `train` or `test` at a revision.

        Raises:
            UsageError: rows cannot be used, or there is no such split.
            CorruptData: the files changed since the revision was computed.
        """
        path = {"train": self.data, "test": self.test}.get(split)
        if path is None:
            raise UsageError(
                f"{self.data} has no split {split!r}; there {'are train, test' if self.test else 'is train'}"
            )
        contents = {file: read_bytes(file) for file in self._paths()}
        if self._digest(list(contents.values())) != revision:
            raise CorruptData(
                f"{' or '.join(map(str, contents))} changed while in use; run the same command again"
            )
        problems = Problems()
        rows = self.parse(read_table(path, contents[path], problems), problems)
        problems.raise_if_any()
        return rows

    def _digest(self, contents: Sequence[bytes]) -> str:
        # Other columns of the same file are another task.
        columns = (self.text, self.label, self.labels, *([self.group] if self.group else []))
        return digest([*contents, repr(columns).encode()])

    def _paths(self) -> tuple[Path, ...]:
        return (self.data, self.test) if self.test else (self.data,)

    def parse(self, table: FileTable, problems: Problems) -> list[Example]:
        """Return the examples of a table; add rows that cannot be used to `problems`."""
        group = (self.group,) if self.group else ()
        existing = existing_columns(table, (*self.text, self.label, *group), problems)
        numbers = {name: number for number, name in enumerate(self.labels)}
        rows = []
        for index, record in enumerate(table.rows):
            at = table.locate(index)
            texts = [
                read_text(record, name, at, problems) for name in self.text if name in existing
            ]
            if self.label not in existing:
                continue
            label = self._label(record.get(self.label), numbers, at, problems)
            if label is not None and None not in texts:
                of = as_label(record.get(self.group)) if self.group else ""
                rows.append(Example(tuple(text for text in texts if text is not None), label, of))
        return rows

    def _label(
        self, value: object, numbers: dict[str, int], at: str, problems: Problems
    ) -> int | float | None:
        text = as_label(value)
        if not text:
            problems.add(f"{at}, column {self.label!r}: no label")
            return None
        if not self.labels:
            number = as_number(text)
            if number is None:
                problems.add(f"{at}, column {self.label!r}: {_short(text)} is not a finite number")
            return number
        if text not in numbers:
            known = ", ".join(_short(name) for name in self.labels[:MAX_CLASSES]) + (
                ", ..." if len(self.labels) > MAX_CLASSES else ""
            )
            near = did_you_mean(text, self.labels)
            problems.add(
                f"{at}, column {self.label!r}: {_short(text)} is not a label of the training file ({known}){near}"
            )
        return numbers.get(text)


def from_options(
    data: Path,
    text: Sequence[str],
    label: str,
    test: Path | None = None,
    name: str | None = None,
    regression: bool | None = None,
    metrics: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    group: str | None = None,
    positive: str | None = None,
) -> Task:
    """Return a task from the user's files after checking every row.

    Args:
        data: the training file.
        text: one or two columns with the texts.
        label: the column with the label.
        test: the test file; by default each draw holds out other rows.
        name: the task's name; by default that of the training file.
        regression: whether the label is a number; by default inferred, with an error if it is
            ambiguous.
        metrics: names of metrics; by default accuracy for classes, pearson and spearman for
            numbers.
        labels: the classes in their order; by default those of the training file, sorted.
        group: the column whose value rows share that are not independent, such as an author; by
            default rows with equal texts.
        positive: which of two classes F1 and average precision are of; by default the second. It becomes
            the second, which changes the identity of jobs only if it was not.

    Raises:
        UsageError: lists everything that is wrong with the request and the files.
    """
    problems = Problems()
    name = (
        name
        if name is not None
        else re.sub(r"[^A-Za-z0-9._-]+", "-", data.stem).strip("-._") or "own"
    )
    if not _NAME.fullmatch(name):
        problems.add(
            "a task's name consists of letters, digits, '.', '_' and '-' "
            f"and starts with a letter or digit, got {name!r}"
        )
    if not 1 <= len(text) <= 2 or len({*text, label}) != len(text) + 1:
        problems.add(
            "name one or two text columns and a different label column, "
            f"got text {', '.join(text) or 'none'}; label {label}"
        )
    if test is not None and test.resolve() == data.resolve():
        problems.add(f"{data} is both the training and the test file")
    tables = [_read(path, problems) for path in ([data, test] if test else [data])]
    train = tables[0]
    classes: tuple[str, ...] = ()
    labels_known = False
    if train is not None and label in train.columns:
        regression, classes = _kind(train, label, regression, labels, problems)
        if positive is not None and regression is not None:
            classes = _with_positive(classes, positive, problems)
        labels_known = bool(classes or regression)
    reader = FileReader(
        data=data, test=test, text=tuple(text), label=label, labels=classes, group=group or ""
    )
    for table in tables:
        if table is not None and labels_known:
            reader.parse(table, problems)
        elif table is not None:  # without the labels only the columns can be checked
            existing_columns(table, (*text, label), problems)
    chosen = (
        tuple(metrics) if metrics else (("pearson", "spearman") if regression else ("accuracy",))
    )
    _check_metrics(chosen, classes, regression, problems)
    problems.raise_if_any()
    assert train is not None  # or there was a problem
    return Task(
        name=name,
        title=f"{data.name}: {' and '.join(text)} -> {label}",
        reader=reader,
        labels=classes,
        metrics=chosen,
        pair=len(text) == 2,
        tests={"": "test"},
        train_rows=len(train.rows),
        holdout=test is None,
        # Version 2 holds out whole groups of rows.
        version=2 if test is None else 1,
    )


def from_toml(path: Path) -> Task:
    """Return the task that a TOML file describes; paths in it are relative to the file.

    Keys: name, data, test, text (one or two columns), label, kind ("classes" or "number"), labels,
    positive, metrics, group.

    Raises:
        UsageError: lists everything that is wrong with the file or the files that it names.
    """
    try:
        entries: dict[str, Any] = tomllib.loads(read_bytes(path).decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    problems = Problems()
    for key in entries.keys() - set(_KEYS):
        problems.add(
            f"{path}: unknown key {key!r}{did_you_mean(key, _KEYS)}; there are {', '.join(_KEYS)}"
        )
    for key in ("data", "text", "label"):
        if key not in entries:
            problems.add(f"{path}: the key {key!r} is missing")
    for key in ("name", "data", "test", "label", "kind", "group"):
        if key in entries and (not isinstance(entries[key], str) or not entries[key]):
            problems.add(f"{path}: {key!r} must be a text, got {entries[key]!r}")
    if entries.get("kind", "classes") not in ("classes", "number"):
        problems.add(f'{path}: \'kind\' must be "classes" or "number", got {entries["kind"]!r}')
    text = _texts(path, entries, "text", problems)
    labels = _texts(path, entries, "labels", problems)
    positive = _texts(path, entries, "positive", problems)
    chosen = _texts(path, entries, "metrics", problems)
    if labels is not None and (
        entries.get("kind") == "number" or len(set(labels)) != len(labels) or len(labels) < 2
    ):
        problems.add(
            f"{path}: 'labels' must name two or more different classes, and requires kind = \"classes\""
        )
    if positive is not None and len(positive) > 1:
        problems.add(f"{path}: 'positive' must be one label, got {', '.join(positive)}")
    problems.raise_if_any()
    return from_options(
        path.parent / entries["data"],
        text or [],
        entries["label"],
        test=path.parent / entries["test"] if "test" in entries else None,
        name=entries.get("name"),
        regression=entries["kind"] == "number"
        if "kind" in entries
        else (False if labels else None),
        metrics=chosen,
        labels=labels,
        group=entries.get("group"),
        positive=positive[0] if positive else None,
    )


def _texts(path: Path, entries: dict[str, Any], key: str, problems: Problems) -> list[str] | None:
    value = entries.get(key)
    if value is None:
        return None
    items = value if isinstance(value, list) else [value]
    of_labels = key in ("labels", "positive")
    simple = (str, int, float) if of_labels else (str,)
    if not items or not all(isinstance(item, simple) and item != "" for item in items):
        problems.add(f"{path}: {key!r} must be a text or a list of texts, got {value!r}")
        return None
    return [as_label(item) if of_labels else item for item in items]


def _read(path: Path, problems: Problems) -> FileTable | None:
    """Return the table in a file; None, with a problem added, if it cannot be read."""
    try:
        table = read_table(path, read_bytes(path), problems)
    except UsageError as error:
        problems.add(*error.problems)
        return None
    return table if table.columns else None


def _kind(
    train: FileTable,
    label: str,
    regression: bool | None,
    labels: Sequence[str] | None,
    problems: Problems,
) -> tuple[bool | None, tuple[str, ...]]:
    """Return whether labels are numbers, and the classes if not; (None, ()) if that is ambiguous."""
    values = {text for record in train.rows if (text := as_label(record.get(label)))}
    if (
        regression is None
        and labels is None
        and len(values) > MAX_CLASSES
        and all(as_number(text) is not None for text in values)
    ):
        problems.add(
            f"{train.path}, column {label!r}: {len(values)} different numbers may be classes or measurements; "
            "pass `--kind number` or `--kind classes`"
        )
        return None, ()
    if train.rows and len(values) == 1:
        what = "the same number" if regression else "of one class"
        problems.add(
            f"{train.path}, column {label!r}: every row is {what} ({_short(*values)}); there is nothing to learn"
        )
    if regression:
        return True, ()
    return False, tuple(labels) if labels else tuple(sorted(values))


def _with_positive(classes: tuple[str, ...], positive: str, problems: Problems) -> tuple[str, ...]:
    """Return the classes with the positive one last; add a problem if it cannot be chosen."""
    if len(classes) != 2:
        what = f"there are {len(classes)} classes" if classes else "the label is not a class"
        problems.add(f"positive: {_short(positive)} can only be one of two classes, but {what}")
    elif positive not in classes:
        problems.add(
            f"positive: {_short(positive)} is not a label{did_you_mean(positive, classes)}; "
            f"there are {', '.join(map(_short, classes))}"
        )
    else:
        return (*(name for name in classes if name != positive), positive)
    return classes


def _check_metrics(
    chosen: Iterable[str], classes: tuple[str, ...], regression: bool | None, problems: Problems
) -> None:
    for name in chosen:
        try:
            suits = scoring.get(name).suits
        except UsageError as error:
            problems.add(*error.problems)
            continue
        if regression and suits in ("classes", "two classes"):
            problems.add(
                f"metric {name} scores classes, but the label is a number; use pearson, spearman, mse or rmse"
            )
        if regression is False and suits == "numbers":
            problems.add(
                f"metric {name} scores numbers, but the label is a class; use accuracy, macro-f1 or matthews"
            )
        if suits == "two classes" and len(classes) > 2:
            problems.add(
                f"metric {name} scores two classes, but there are {len(classes)}; use macro-f1"
            )


def existing_columns(table: FileTable, names: Sequence[str], problems: Problems) -> set[str]:
    """Return the columns that a table has; add each missing one to `problems`."""
    missing = [name for name in names if name not in table.columns]
    for name in missing:
        problems.add(
            f"{table.path}: no column {name!r}{did_you_mean(name, table.columns)}; there are {', '.join(table.columns)}"
        )
    return set(names) - set(missing)


def read_text(record: dict[str, Any], name: str, at: str, problems: Problems) -> str | None:
    """Return the text in a column of a row; None, with a problem added, if there is none."""
    value = record.get(name)
    if isinstance(value, str) and value.strip():
        if bad := re.search("[\0\ud800-\udfff]", value):
            what = (
                "a NUL character"
                if bad[0] == "\0"
                else "half of a surrogate pair, which is not a character"
            )
            problems.add(f"{at}, column {name!r}: {what}")
            return None
        return value
    empty = value is None or (isinstance(value, str) and not value.strip())
    problems.add(
        f"{at}, column {name!r}: " + ("no text" if empty else f"{_short(str(value))} is not a text")
    )
    return None


def _short(text: str) -> str:
    """Return a quoted text of at most 40 characters."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
