"""Tasks from the user's files: CSV, TSV, JSONL or Parquet.

One message reports all problems of the files, by row and column. Rows without a text or a label are left
out. Whatever is left out, recognised or assumed is one of the task's findings.
"""

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.errors import CorruptData, UsageError
from harness.tasks import metrics as scoring
from harness.tasks.base import Example, Task
from harness.tasks.decoding import decode, delimiter_named
from harness.tasks.findings import alike, description, doubts, is_blank, left_out, text_problem
from harness.tasks.table_files import (
    FileTable,
    Problems,
    Reading,
    as_label,
    as_number,
    digest,
    read_bytes,
    read_table,
)
from harness.wording import plural
from methods.core.suggestions import did_you_mean

REPEATS: Final = "repeating the header"
MISSING: Final = (
    "na",
    "n/a",
    "#n/a",
    "nan",
    "null",
    "none",
    "nil",
)  # what programs write for no value
MAX_CLASSES: Final = 20  # with more distinct numbers the user must name the kind of label
_KEYS: Final = (
    *("name", "data", "test", "text", "label", "kind", "labels", "positive", "metrics", "group"),
    *("strict", "delimiter", "encoding"),
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
    group: str = ""  # column that marks rows that are not independent, such as an author
    strict: bool = False  # refuse rows without a text or a label
    delimiter: str | None = None  # None: recognise it
    encoding: str | None = None  # None: recognise it
    decimal_comma: bool = False  # labels are numbers such as `1,5`

    @property
    def reading(self) -> Reading:
        """How the files are read."""
        group = (self.group,) if self.group else ()
        return Reading(
            needed=(*self.text, self.label, *group),
            delimiter=self.delimiter,
            encoding=self.encoding,
        )

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
        rows = self.parse(read_table(path, contents[path], problems, self.reading), problems, {})
        problems.raise_if_any()
        return rows

    def _digest(self, contents: Sequence[bytes]) -> str:
        # Other columns of the same file are another task.
        columns = (self.text, self.label, self.labels, *([self.group] if self.group else []))
        columns += tuple(filter(None, (self.delimiter, self.encoding)))
        return digest([*contents, repr(columns).encode()])

    def _paths(self) -> tuple[Path, ...]:
        return (self.data, self.test) if self.test else (self.data,)

    def parse(
        self, table: FileTable, problems: Problems, left_out: dict[str, list[str]]
    ) -> list[Example]:
        """Return the examples of a table.

        Args:
            table: the table.
            problems: receives rows that cannot be used.
            left_out: receives the positions of rows that are left out, by reason.
        """
        existing = existing_columns(table, self.reading.needed, problems)
        numbers = {name: number for number, name in enumerate(self.labels)}
        rows: list[Example] = []
        ungrouped: list[str] = []
        for position, record in zip(table.positions, table.rows, strict=True):
            repeats = _repeats_header(record, self.reading.needed)
            reason = REPEATS if repeats else self._lacks(record, existing)
            if reason and not self.strict:
                left_out.setdefault(reason, []).append(position)
                continue
            if reason == REPEATS:
                problems.add_row(table.path, position, ": repeats the header")
                continue
            texts = [
                read_text(table.path, record, name, position, problems)
                for name in self.text
                if name in existing
            ]
            if self.label not in existing:
                continue
            at = table.path, position
            label = self._label(record.get(self.label), numbers, at, problems)
            if label is not None and None not in texts:
                of = as_label(record.get(self.group)) if self.group else ""
                if self.group and not of:
                    ungrouped.append(position)
                rows.append(Example(tuple(text for text in texts if text is not None), label, of))
        if ungrouped:
            problems.notes.append(
                f"{table.path.name}: {plural(len(ungrouped), 'row')} without a value of {self.group!r}; "
                "they are grouped by their texts"
            )
        return rows

    def _lacks(self, record: Mapping[str, Any], existing: Collection[str]) -> str:
        """Return what a row lacks so that it is left out; empty if it lacks nothing."""
        for name in self.text:
            value = record.get(name)
            if name in existing and (value is None or (isinstance(value, str) and is_blank(value))):
                return "without text"
        if self.label in existing and is_blank(as_label(record.get(self.label))):
            return "without label"
        return ""

    def _label(
        self,
        value: object,
        numbers: Mapping[str, int],
        at: tuple[Path, str],
        problems: Problems,
    ) -> int | float | None:
        column = f", column {self.label!r}: "
        if kind := _not_a_label(value):
            problems.add_row(*at, f"{column}{kind} is not a label")
            return None
        text = as_label(value)
        if problem := text_problem(text):
            problems.add_row(*at, f"{column}{'no label' if is_blank(text) else problem}")
            return None
        if not self.labels:
            number = as_number(text.replace(",", ".") if self.decimal_comma else text)
            if number is None:
                problems.add_row(*at, f"{column}{_short(text)} is not a finite number")
            return number
        if text not in numbers:
            text = next((name for name in self.labels if _whole(name) == _whole(text)), text)
        if text not in numbers:
            known = ", ".join(_short(name) for name in self.labels[:MAX_CLASSES]) + (
                ", ..." if len(self.labels) > MAX_CLASSES else ""
            )
            near = did_you_mean(text, self.labels)
            problems.add_row(
                *at, f"{column}{_short(text)} is not a label of the training file ({known}){near}"
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
    strict: bool = False,
    delimiter: str | None = None,
    encoding: str | None = None,
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
        strict: refuse rows without a text or a label, which are left out otherwise.
        delimiter: what separates columns; by default it is recognised.
        encoding: of text files; by default it is recognised.

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
    reader = FileReader(
        data=data, test=test, text=tuple(text), label=label, group=group or "",
        strict=strict, delimiter=delimiter, encoding=encoding,
    )  # fmt: skip
    tables = [_read(path, problems, reader.reading) for path in ([data, test] if test else [data])]
    train = tables[0]
    said = [note for table in tables if table is not None for note in table.notes]
    findings: list[str] = []
    if train is not None and label in train.columns:
        kind = _kind(train, label, reader.reading.needed, regression, labels, problems)
        regression, classes = kind.regression, kind.classes
        if positive is not None and regression is not None:
            classes = _with_positive(classes, positive, problems)
        reader = replace(reader, labels=classes, decimal_comma=kind.decimal_comma)
        findings += [*kind.notes, *alike(classes)]
    else:
        classes = ()
    n_train = 0
    for table in tables:
        if table is not None and (classes or regression):
            missing: dict[str, list[str]] = {}
            before = problems.count
            rows = reader.parse(table, problems, missing)
            if table.rows and not rows and problems.count == before:
                problems.add(f"{table.path}: no row has a text and a label")
            n_train = n_train or len(rows)
            file = table.path.name
            said += description(file, rows, classes)
            findings += [*left_out(file, missing), *doubts(file, rows, classes)]
        elif table is not None:  # without the labels only the columns can be checked
            existing_columns(table, (*text, label), problems)
    chosen = (
        tuple(metrics) if metrics else (("pearson", "spearman") if regression else ("accuracy",))
    )
    _check_metrics(chosen, classes, regression, problems)
    problems.raise_if_any()
    findings += dict.fromkeys(problems.notes)
    assert train is not None  # or there was a problem
    return Task(
        name=name,
        title=f"{data.name}: {' and '.join(text)} -> {label}",
        reader=reader,
        labels=classes,
        metrics=chosen,
        pair=len(text) == 2,
        tests={"": "test"},
        train_rows=n_train,
        holdout=test is None,
        # Version 2 holds out whole groups of rows.
        version=2 if test is None else 1,
        description=tuple(said),
        findings=tuple(findings),
    )


def from_toml(path: Path) -> Task:
    """Return the task that a TOML file describes; paths in it are relative to the file.

    Keys: name, data, test, text (one or two columns), label, kind ("classes" or "number"), labels,
    positive, metrics, group, strict (true or false), delimiter, encoding.

    Raises:
        UsageError: lists everything that is wrong with the file or the files that it names.
    """
    content = decode(path, read_bytes(path)).text
    try:
        entries: dict[str, Any] = tomllib.loads(content)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        hint = "; in double quotes a backslash begins an escape: write a path in single quotes"
        raise UsageError(
            f"{path} is not valid TOML: {error}{hint if chr(92) in content else ''}"
        ) from None
    problems = Problems()
    for key in entries.keys() - set(_KEYS):
        problems.add(
            f"{path}: unknown key {key!r}{did_you_mean(key, _KEYS)}; there are {', '.join(_KEYS)}"
        )
    for key in ("data", "text", "label"):
        if key not in entries:
            problems.add(f"{path}: the key {key!r} is missing")
    for key in ("name", "data", "test", "label", "kind", "group", "delimiter", "encoding"):
        if key in entries and (not isinstance(entries[key], str) or not entries[key]):
            problems.add(f"{path}: {key!r} must be a text, got {entries[key]!r}")
    if not isinstance(entries.get("strict", False), bool):
        problems.add(f"{path}: 'strict' must be true or false, got {entries['strict']!r}")
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
        path.parent / _expanded(entries["data"]),
        text or [],
        entries["label"],
        test=path.parent / _expanded(entries["test"]) if "test" in entries else None,
        name=entries.get("name"),
        regression=entries["kind"] == "number"
        if "kind" in entries
        else (False if labels else None),
        metrics=chosen,
        labels=labels,
        group=entries.get("group"),
        positive=positive[0] if positive else None,
        strict=entries.get("strict", False),
        delimiter=delimiter_named(entries["delimiter"]) if "delimiter" in entries else None,
        encoding=entries.get("encoding"),
    )


def _expanded(text: str) -> Path:
    """Return a path with the user's home folder for `~`; an unknown user's `~name` stays as it is."""
    with suppress(RuntimeError):
        return Path(text).expanduser()
    return Path(text)


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


def _read(path: Path, problems: Problems, how: Reading) -> FileTable | None:
    """Return the table in a file; None, with a problem added, if it cannot be read."""
    try:
        table = read_table(path, read_bytes(path), problems, how)
    except UsageError as error:
        problems.add(*error.problems)
        return None
    return table if table.columns else None


def _repeats_header(record: Mapping[str, Any], columns: Collection[str]) -> bool:
    """Return whether a row has the names of these columns in them."""
    return all(
        str(record.get(name)).strip("\ufeff ").casefold() == name.casefold() for name in columns
    )


class _Kind(NamedTuple):
    """What the labels of a file are."""

    regression: bool | None = None  # None: it is ambiguous
    classes: tuple[str, ...] = ()
    decimal_comma: bool = False
    notes: tuple[str, ...] = ()


def _kind(
    train: FileTable,
    label: str,
    needed: Collection[str],
    regression: bool | None,
    labels: Sequence[str] | None,
    problems: Problems,
) -> _Kind:
    """Return what the labels are: of the kind that was named, or else classes unless that is ambiguous."""
    cells = [row.get(label) for row in train.rows if not _repeats_header(row, needed)]
    values = {
        text
        for cell in cells
        if not _not_a_label(cell) and not text_problem(text := as_label(cell))
    }
    at = f"{train.path}, column {label!r}"
    if train.rows and not values:
        kinds = {kind for cell in cells if (kind := _not_a_label(cell))}
        problems.add(
            f"{at}: {', '.join(sorted(kinds))} is not a label"
            if kinds
            else f"{at}: no row has a label"
        )
        return _Kind()
    comma = _decimal_comma(values)
    numbers = {text: as_number(text.replace(",", ".") if comma else text) for text in values}
    if regression is None and labels is None and (doubt := _doubt(numbers)):
        problems.add(f"{at}: {doubt}; pass `--kind number` or `--kind classes`")
        return _Kind()
    if regression and any("," in text for text in values) and not comma:
        problems.add(f"{at}: write numbers without thousands separators")
    merged = _merged(values)
    if len(set(numbers.values()) if regression and None not in numbers.values() else merged) == 1:
        what = "the same number" if regression else "of one class"
        problems.add(f"{at}: every row is {what} ({_short(merged[0])}); there is nothing to learn")
    if regression:
        note = f"{at}: numbers with a decimal comma"
        return _Kind(True, (), comma, (note,) if comma else ())
    if labels:
        return _Kind(False, tuple(labels))
    return _Kind(False, merged, False, tuple(_assumed(at, numbers, merged, regression)))


def _doubt(numbers: Mapping[str, float | None]) -> str:
    """Return why labels may be classes or measurements; empty if they are classes.

    Args:
        numbers: the distinct labels, and the number that each is, or None.
    """
    known = {number for number in numbers.values() if number is not None}
    others = [text for text, number in numbers.items() if number is None]
    decimals = any(not number.is_integer() for number in known)
    if len(others) > 0.2 * len(numbers) or not (decimals or len(known) > MAX_CLASSES):
        return ""
    shown = ", ".join(sorted(numbers.keys() - set(others))[:3])
    what = "decimal numbers" if decimals else "different numbers"
    beside = f", and beside them {', '.join(map(_short, sorted(others)[:3]))}" if others else ""
    return f"{len(known)} {what} ({shown}, ...){beside} may be classes or measurements"


def _assumed(
    at: str, numbers: Mapping[str, float | None], merged: Collection[str], regression: bool | None
) -> Iterator[str]:
    """Yield sentences on what was assumed about labels that are classes."""
    if regression is None and None not in numbers.values() and len(merged) > 2:
        yield f"{at}: the numbers are taken as classes; `--kind number` takes them as measurements"
    if both := sorted(text for text in numbers if text not in merged):
        yield f"{at}: {', '.join(map(_short, both[:3]))} and the whole number are taken as one class"
    if missing := sorted(text for text in merged if text.lower() in MISSING):
        yield f"{at}: {', '.join(map(_short, missing))} is taken as a class; leave the cell empty if it is none"


def _decimal_comma(values: Collection[str]) -> bool:
    """Return whether all labels are numbers if a comma is a decimal point, and some are not without."""
    commas = [text for text in values if "," in text]
    thousands = all(re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+", text) for text in commas)
    return (
        bool(commas)
        and not thousands
        and all(
            as_number(text) is not None or re.fullmatch(r"[+-]?\d+,\d+", text) for text in values
        )
    )


def _merged(values: Collection[str]) -> tuple[str, ...]:
    """Return the classes, sorted; of `1` and `1.0`, which are one number, the shorter one."""
    shortest: dict[str, str] = {}
    for text in sorted(values, key=lambda text: (len(text), text)):
        shortest.setdefault(_whole(text), text)
    return tuple(sorted(shortest.values()))


def _whole(text: str) -> str:
    """Return `1` for `1.0`, and any other text as it is."""
    return re.sub(r"(?<=[0-9])\.0+$", "", text) if re.fullmatch(r"[+-]?[0-9]+\.0+", text) else text


def _not_a_label(value: object) -> str:
    """Return what a value is that cannot be a label: a list, an object or bytes; empty if it can be one."""
    kinds = ((list | tuple, "a list"), (dict, "an object"), (bytes, "a sequence of bytes"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "")


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


def read_text(
    path: Path, record: Mapping[str, Any], name: str, position: str, problems: Problems
) -> str | None:
    """Return the text in a column of a row; None, with a problem added, if there is none."""
    value, column = record.get(name), f", column {name!r}: "
    if value is not None and not isinstance(value, str):
        problems.add_row(path, position, f"{column}{_short(str(value))} is not a text")
    elif problem := text_problem(value or ""):
        problems.add_row(path, position, f"{column}{problem}")
    else:
        return value
    return None


def _short(text: str) -> str:
    """Return a quoted text of at most 40 characters."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
