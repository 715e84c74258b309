"""Tasks from the user's own files: CSV, TSV, JSONL or Parquet. Every problem of the files is named at once, by row and column.

A file is read as it stands or not at all: nothing is guessed, skipped or repaired.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from harness.errors import CorruptData, UsageError
from harness.tasks import metrics as scoring
from harness.tasks.base import Example, Task
from harness.tasks.sheets import (
    Problems,
    Sheet,
    as_label,
    as_number,
    digest,
    read_bytes,
    read_sheet,
)
from methods.core.suggestions import did_you_mean

Kind = Literal["classes", "number"]

MANY: Final = 20  # so many distinct numbers may be classes or measurements: the user must say
_KEYS: Final = ("name", "data", "test", "text", "label", "kind", "labels", "metrics")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class FileReader:
    """Rows of a training file and perhaps a test file. The revision is a hash of their bytes and of what is read of them."""

    data: Path
    test: Path | None = None
    text: tuple[str, ...]  # one or two columns
    label: str
    labels: tuple[str, ...] = ()  # names of the classes; empty where the label is a number

    def revision(self) -> str:
        """A hash of the files' bytes and of the columns and classes chosen.

        Raises:
            UsageError: a file cannot be read.
        """
        return self._digest([read_bytes(path) for path in self._paths()])

    def examples(self, split: str, revision: str) -> Sequence[Example]:
        """All rows of `train` or `test`, of exactly that revision.

        Raises:
            UsageError: rows cannot be used, or there is no such split.
            CorruptData: the files have changed since the revision was taken.
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
        sheet = read_sheet(path, contents[path], problems)
        rows = self.parse(sheet, problems)
        problems.done()
        return rows

    def _digest(self, contents: Sequence[bytes]) -> str:
        chosen = repr(
            (self.text, self.label, self.labels)
        ).encode()  # other columns of the same file are another task
        return digest([*contents, chosen])

    def _paths(self) -> tuple[Path, ...]:
        return (self.data, self.test) if self.test else (self.data,)

    def parse(self, sheet: Sheet, problems: Problems) -> list[Example]:
        """The rows of a sheet; what cannot be used goes to `problems`."""
        have = columns_of(sheet, (*self.text, self.label), problems)
        numbers = {name: number for number, name in enumerate(self.labels)}
        rows = []
        for index, record in enumerate(sheet.rows):
            at = sheet.at(index)
            texts = [text_of(record, name, at, problems) for name in self.text if name in have]
            if self.label not in have:
                continue
            label = self._label(record.get(self.label), numbers, at, problems)
            if label is not None and None not in texts:
                rows.append(Example(tuple(text for text in texts if text is not None), label))
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
            known = ", ".join(_short(name) for name in self.labels[:MANY]) + (
                ", ..." if len(self.labels) > MANY else ""
            )
            near = did_you_mean(text, self.labels)
            problems.add(
                f"{at}, column {self.label!r}: {_short(text)} is no label of the training file ({known}){near}"
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
) -> Task:
    """A task from the user's files; both are read and checked whole.

    Args:
        data: the training file.
        text: one or two columns with the texts.
        label: the column with the label.
        test: the test file; without one, other rows are held out for every draw.
        name: the task's name; the training file's if not given.
        regression: whether the label is a number; None finds out, and asks where that is not
            certain.
        metrics: names of metrics; accuracy for classes, pearson and spearman for numbers if not
            given.
        labels: the classes in their order; those of the training file, sorted, if not given.

    Raises:
        UsageError: everything that is wrong with the request and the files.
    """
    problems = Problems()
    name = (
        name
        if name is not None
        else re.sub(r"[^A-Za-z0-9._-]+", "-", data.stem).strip("-._") or "own"
    )
    if not _NAME.fullmatch(name):
        problems.add(
            f"a task's name has letters, digits, '.', '_' and '-' and begins with a letter or digit, got {name!r}"
        )
    if not 1 <= len(text) <= 2 or len({*text, label}) != len(text) + 1:
        problems.add(
            f"name one or two text columns and another one for the label, got text {', '.join(text) or 'none'}; label {label}"
        )
    if test is not None and test.resolve() == data.resolve():
        problems.add(f"{data} is both the training and the test file")
    sheets = [_read(path, problems) for path in ([data, test] if test else [data])]
    train = sheets[0]
    classes: tuple[str, ...] = ()
    known = train is not None and label in train.columns
    if train is not None and known:
        regression, classes = _kind(train, label, regression, labels, problems)
        reader = FileReader(data=data, test=test, text=tuple(text), label=label, labels=classes)
        for sheet in sheets:
            if sheet is not None:
                _check(reader, sheet, bool(classes) or bool(regression), problems)
    else:  # without its labels, the columns of every file can still be checked
        for sheet in sheets:
            if sheet is not None:
                columns_of(sheet, (*text, label), problems)
    chosen = (
        tuple(metrics) if metrics else (("pearson", "spearman") if regression else ("accuracy",))
    )
    _check_metrics(chosen, classes, regression, problems)
    problems.done()
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
    )


def from_toml(path: Path) -> Task:
    """A task described by a TOML file; paths in it are relative to it.

    Keys: name, data, test, text (a column or two), label, kind ("classes" or "number"), labels,
    metrics.

    Raises:
        UsageError: everything that is wrong with the file, or with the files that it names.
    """
    try:
        entries: dict[str, Any] = tomllib.loads(read_bytes(path).decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise UsageError(f"{path} is no valid TOML: {problem}") from None
    problems = Problems()
    for key in entries.keys() - set(_KEYS):
        problems.add(
            f"{path}: unknown key {key!r}{did_you_mean(key, _KEYS)}; there are {', '.join(_KEYS)}"
        )
    for key in ("data", "text", "label"):
        if key not in entries:
            problems.add(f"{path}: the key {key!r} is missing")
    for key in ("name", "data", "test", "label", "kind"):
        if key in entries and (not isinstance(entries[key], str) or not entries[key]):
            problems.add(f"{path}: {key!r} must be a text, got {entries[key]!r}")
    if entries.get("kind", "classes") not in ("classes", "number"):
        problems.add(f'{path}: \'kind\' must be "classes" or "number", got {entries["kind"]!r}')
    text = _texts(path, entries, "text", problems)
    labels = _texts(path, entries, "labels", problems)
    chosen = _texts(path, entries, "metrics", problems)
    if labels is not None and (
        entries.get("kind") == "number" or len(set(labels)) != len(labels) or len(labels) < 2
    ):
        problems.add(
            f"{path}: 'labels' names two or more different classes, and goes with kind = \"classes\""
        )
    problems.done()
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
    )


def _texts(path: Path, entries: dict[str, Any], key: str, problems: Problems) -> list[str] | None:
    value = entries.get(key)
    if value is None:
        return None
    items = value if isinstance(value, list) else [value]
    simple = (str, int, float) if key == "labels" else (str,)
    if not items or not all(isinstance(item, simple) and item != "" for item in items):
        problems.add(f"{path}: {key!r} must be a text or a list of texts, got {value!r}")
        return None
    return [as_label(item) if key == "labels" else item for item in items]


def _read(path: Path, problems: Problems) -> Sheet | None:
    """The sheet of a file, or None where it cannot be read at all."""
    try:
        sheet = read_sheet(path, read_bytes(path), problems)
    except UsageError as problem:
        problems.add(*problem.problems)
        return None
    return sheet if sheet.columns else None


def _kind(
    train: Sheet,
    label: str,
    regression: bool | None,
    labels: Sequence[str] | None,
    problems: Problems,
) -> tuple[bool | None, tuple[str, ...]]:
    """Whether labels are numbers, and the classes if not; None and none where the user must say."""
    found = {text for record in train.rows if (text := as_label(record.get(label)))}
    if (
        regression is None
        and labels is None
        and len(found) > MANY
        and all(as_number(text) is not None for text in found)
    ):
        problems.add(
            f"{train.path}, column {label!r}: {len(found)} different numbers may be classes or measurements; "
            "say `--kind number` or `--kind classes`"
        )
        return None, ()
    if train.rows and len(found) == 1:
        what = "the same number" if regression else "of one class"
        problems.add(
            f"{train.path}, column {label!r}: every row is {what} ({_short(*found)}); there is nothing to learn"
        )
    if regression:
        return True, ()
    return False, tuple(labels) if labels else tuple(sorted(found))


def _check(reader: FileReader, sheet: Sheet, labels_known: bool, problems: Problems) -> None:
    if labels_known:
        reader.parse(sheet, problems)
    else:
        columns_of(sheet, (*reader.text, reader.label), problems)


def _check_metrics(
    chosen: Iterable[str], classes: tuple[str, ...], regression: bool | None, problems: Problems
) -> None:
    for name in chosen:
        try:
            suits = scoring.get(name).suits
        except UsageError as problem:
            problems.add(*problem.problems)
            continue
        if regression and suits in ("classes", "two classes"):
            problems.add(
                f"metric {name} is for classes, and the label is a number; use pearson, spearman, mse or rmse"
            )
        if regression is False and suits == "numbers":
            problems.add(
                f"metric {name} is for numbers, and the label is a class; use accuracy, macro-f1 or matthews"
            )
        if suits == "two classes" and len(classes) > 2:
            problems.add(
                f"metric {name} is for two classes, and there are {len(classes)}; use macro-f1"
            )


def columns_of(sheet: Sheet, wanted: Sequence[str], problems: Problems) -> set[str]:
    """Those of the wanted columns that a sheet has; each missing one is a problem."""
    missing = [name for name in wanted if name not in sheet.columns]
    for name in missing:
        problems.add(
            f"{sheet.path}: no column {name!r}{did_you_mean(name, sheet.columns)}; there are {', '.join(sheet.columns)}"
        )
    return set(wanted) - set(missing)


def text_of(record: dict[str, Any], name: str, at: str, problems: Problems) -> str | None:
    """The text in a column of a row; None, with a problem noted, where there is none."""
    value = record.get(name)
    if isinstance(value, str) and value.strip():
        if bad := re.search("[\0\ud800-\udfff]", value):
            what = (
                "a NUL character"
                if bad[0] == "\0"
                else "half a character, which no tokenizer reads"
            )
            problems.add(f"{at}, column {name!r}: {what}")
            return None
        return value
    empty = value is None or (isinstance(value, str) and not value.strip())
    problems.add(
        f"{at}, column {name!r}: " + ("no text" if empty else f"{_short(str(value))} is no text")
    )
    return None


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
