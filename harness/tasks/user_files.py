"""Tasks from the user's files: CSV, TSV, JSONL or Parquet.

One message reports all problems of the files, by row and column. Rows without a text or a label are left
out. Whatever is left out, recognised or assumed is one of the task's findings.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from harness.errors import CorruptData, UsageError
from harness.tasks import label_kinds
from harness.tasks import metrics as scoring
from harness.tasks.base import Example, Task
from harness.tasks.cells import as_label, as_number, is_blank, not_a_label, text_problem, whole
from harness.tasks.findings import alike, description, doubts, left_out, seen
from harness.tasks.problems import Problems
from harness.tasks.sources import Files, Source
from harness.tasks.table_files import FileTable, Reading, digest
from harness.wording import escaped, listed, plural, short
from methods.core.suggestions import did_you_mean

REPEATS: Final = "repeating the header"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class TableReader:
    """Reads the examples of a user's tables."""

    origin: Source
    fields: tuple[str, ...]  # one or two columns with texts
    label: str
    labels: tuple[str, ...] = ()  # class names; empty for a regression
    group: str = ""  # column that marks rows that are not independent, such as an author
    strict: bool = False  # refuse rows without a text or a label
    delimiter: str | None = None  # None: recognise it
    encoding: str | None = None  # None: recognise it
    decimal_comma: bool = False  # labels are numbers such as `1,5`

    @property
    def reading(self) -> Reading:
        """How the tables are read."""
        group = (self.group,) if self.group else ()
        return Reading(
            needed=(*self.fields, self.label, *group),
            only=True,
            delimiter=self.delimiter,
            encoding=self.encoding,
        )

    @property
    def source(self) -> str:
        """The origin and the columns, for people. Results of another source do not belong to this task."""
        return f"{self.origin} ({', '.join(self.fields)} -> {self.label})"

    def revision(self) -> str:
        """Return a hash of the rows and of the columns and classes that are read.

        Raises:
            UsageError: a file cannot be read.
        """
        return self._digest(self.origin.contents())

    def examples(self, split: str, revision: str) -> Sequence[Example]:
        """Return all examples of `train` or `test` at a revision.

        Raises:
            UsageError: rows cannot be used, or there is no such split.
            CorruptData: the files changed since the revision was computed.
        """
        if split not in self.origin.splits:
            known = ", ".join(self.origin.splits)
            raise UsageError(f"{self.origin} has no split {split!r}; there are: {known}")
        contents = self.origin.contents()
        if self._digest(contents) != revision:
            raise CorruptData(f"{self.origin} changed while in use; run the same command again")
        problems = Problems()
        rows = self.parse(self.origin.table(split, contents, problems, self.reading), problems, {})
        problems.raise_if_any()
        return rows

    def tables(self, problems: Problems) -> list[FileTable | None]:
        """Return the table of each split; None, with a problem added, for one that cannot be read."""
        try:
            contents = self.origin.contents()
        except UsageError as error:
            problems.add(*error.problems)
            return [None]
        return [self._table(split, contents, problems) for split in self.origin.splits]

    def _table(self, split: str, contents: Sequence[bytes], problems: Problems) -> FileTable | None:
        try:
            table = self.origin.table(split, contents, problems, self.reading)
        except UsageError as error:
            problems.add(*error.problems)
            return None
        return table if table.columns else None

    def _digest(self, contents: Sequence[bytes]) -> str:
        # Other columns of the same rows are another task.
        columns = (self.fields, self.label, self.labels, *([self.group] if self.group else []))
        columns += tuple(filter(None, (self.delimiter, self.encoding)))
        return digest([*contents, repr(columns).encode()])

    def parse(
        self, table: FileTable, problems: Problems, left_out: dict[str, list[str]]
    ) -> list[Example]:
        """Return the examples of a table.

        Args:
            table: the table.
            problems: receives rows that cannot be used.
            left_out: receives the positions of rows that are left out, by reason.
        """
        missing = table.lacks(self.reading.needed, problems)
        numbers = {name: number for number, name in enumerate(self.labels)}
        rows: list[Example] = []
        ungrouped: list[str] = []
        for position, record in zip(table.positions, table.rows, strict=True):
            repeats = table.repeats_header(record, self.reading.needed)
            reason = REPEATS if repeats else self._lacks(record, missing)
            if reason and not self.strict:
                left_out.setdefault(reason, []).append(position)
                continue
            if reason == REPEATS:
                problems.add_row(table.path, position, ": repeats the header")
                continue
            texts = [
                table.text(record, name, position, problems)
                for name in self.fields
                if name not in missing
            ]
            if self.label in missing:
                continue
            at = table.path, position
            label = self._label(record.get(self.label), numbers, at, problems)
            if label is not None and None not in texts:
                group = as_label(record.get(self.group)) if self.group else ""
                if self.group and not group:
                    ungrouped.append(position)
                rows.append(
                    Example(tuple(text for text in texts if text is not None), label, group)
                )
        if ungrouped:
            problems.notes.append(
                f"{table.name}: {plural(len(ungrouped), 'row')} without a value of "
                f"{self.group!r}; they are grouped by their texts"
            )
        return rows

    def _lacks(self, record: Mapping[str, Any], missing: Collection[str]) -> str:
        """Return what a row lacks so that it is left out; empty if it lacks nothing."""
        for name in self.fields:
            value = record.get(name)
            if name not in missing and (
                value is None or (isinstance(value, str) and is_blank(value))
            ):
                return "without text"
        if self.label not in missing and is_blank(as_label(record.get(self.label))):
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
        if kind := not_a_label(value):
            problems.add_row(*at, f"{column}{kind} is not a label")
            return None
        text = as_label(value)
        if problem := text_problem(text):
            problems.add_row(*at, f"{column}{'no label' if is_blank(text) else problem}")
            return None
        if not self.labels:
            number = as_number(text, decimal_comma=self.decimal_comma)
            if number is None:
                mixed = as_number(text, decimal_comma=True) is not None
                hint = ": the other labels have no decimal comma" if mixed else ""
                problems.add_row(*at, f"{column}{short(text)} is not a finite number{hint}")
            return number
        if text not in numbers:
            text = next((name for name in self.labels if whole(name) == whole(text)), text)
        if text not in numbers:
            problems.add_row(*at, f"{column}{self._unknown(text)}")
        return numbers.get(text)

    def _unknown(self, text: str) -> str:
        """Return the problem of a label that is no class."""
        twin = next((name for name in self.labels if seen(name) == seen(text)), None)
        if twin is not None:
            return f"{text!a} only looks like the class {twin!a}: give them one spelling"
        known = listed(map(repr, self.labels))
        return f"{short(text)} is not one of the classes ({known}){did_you_mean(text, self.labels)}"


def from_options(
    data: Path | Source,
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
        data: the training file, or another source of rows.
        text: one or two columns with the texts.
        label: the column with the label.
        test: the test file; by default each draw holds out other rows. Ignored if `data` is another source,
            which knows whether it has a test split.
        name: the task's name; by default that of the training file.
        regression: whether the label is a number; by default inferred, with an error if it is
            ambiguous.
        metrics: names of metrics; by default accuracy for classes, pearson and spearman for
            numbers.
        labels: the classes in their order; by default those of the training file, sorted.
        group: a column, such as the author: rows with the same value are not independent. By default, and
            for rows without a value, those with equal texts are not.
        positive: of two classes, the one for which F1 and average precision are computed; by default the
            second. It is moved to the second place; if it was there, the identity of jobs stays the same.
        strict: refuse rows without a text or a label, which are left out otherwise.
        delimiter: what separates columns; by default it is recognised.
        encoding: of text files; by default it is recognised.

    Raises:
        UsageError: lists everything that is wrong with the request and the files.
    """
    problems = Problems()
    origin = Files(data, test) if isinstance(data, Path) else data
    name = _name(origin.name, name, problems)
    if not 1 <= len(text) <= 2 or len({*text, label}) != len(text) + 1:
        problems.add(
            "name one or two text columns and a different label column, "
            f"got text {', '.join(text) or 'none'}; label {label}"
        )
    if isinstance(data, Path) and test is not None and test.resolve() == data.resolve():
        problems.add(f"{escaped(str(data))} is both the training and the test file")
    reader = TableReader(
        origin=origin, fields=tuple(text), label=label, group=group or "",
        strict=strict, delimiter=delimiter, encoding=encoding,
    )  # fmt: skip
    tables = reader.tables(problems)
    kind = _kind(reader, tables[0], regression, labels, positive, problems)
    reader = replace(reader, labels=kind.classes, decimal_comma=kind.decimal_comma)
    said: list[str] = []
    findings = [*kind.notes, *alike(kind.classes)]
    examples: list[list[Example]] = []
    for table in tables:
        if table is not None and (kind.classes or kind.regression):
            omitted: dict[str, list[str]] = {}
            before = problems.count
            rows = reader.parse(table, problems, omitted)
            if table.rows and not rows and problems.count == before:
                problems.add(f"{escaped(str(table.path))}: no row has a text and a label")
            file = table.name
            said += description(file, rows, kind.classes)
            findings += [*left_out(file, omitted), *doubts(file, rows, kind.classes)]
            examples.append(rows)
        elif table is not None:  # without the labels only the columns can be checked
            table.lacks((*text, label), problems)
    recognised = [note for table in tables if table is not None for note in table.notes]
    default = ("pearson", "spearman") if kind.regression else ("accuracy",)
    chosen = tuple(metrics) if metrics else default
    _check_metrics(chosen, kind, problems)
    problems.raise_if_any()
    return Task(
        name=name,
        title=f"{origin.name}: {' and '.join(text)} -> {label}",
        reader=_without_needless_options(reader),
        labels=kind.classes,
        metrics=chosen,
        pair=len(text) == 2,
        tests={"": "test"},
        train_rows=len(examples[0]),
        holdout="test" not in origin.splits,
        # Version 2 holds out whole groups of rows.
        version=1 if "test" in origin.splits else 2,
        description=tuple(said),
        findings=(*findings, *dict.fromkeys([*problems.notes, *recognised])),
    )


def _name(default: str, name: str | None, problems: Problems) -> str:
    """Return the task's name; by default the letters, digits, `.`, `_` and `-` of the source's name."""
    if name is None:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", default)[:100].strip("-._") or "own"
    if not _NAME.fullmatch(name):
        problems.add(
            "a task's name consists of at most 100 letters, digits, '.', '_' and '-' "
            f"and starts with a letter or digit, got {short(name)}"
        )
    return name


def _kind(
    reader: TableReader,
    train: FileTable | None,
    regression: bool | None,
    labels: Sequence[str] | None,
    positive: str | None,
    problems: Problems,
) -> label_kinds.LabelKind:
    """Return what the labels of the training file are, with the positive class last."""
    if train is None or reader.label not in train.columns:
        return label_kinds.LabelKind()
    rows = (row for row in train.rows if not train.repeats_header(row, reader.reading.needed))
    at = f"{escaped(str(train.path))}, column {reader.label!r}"
    cells = [row.get(reader.label) for row in rows]
    kind = label_kinds.label_kind(cells, at, regression, labels, problems)
    if positive is not None and kind.regression is not None:
        kind = kind._replace(classes=label_kinds.with_positive(kind.classes, positive, problems))
    return kind


def _without_needless_options(reader: TableReader) -> TableReader:
    """Return the reader without a delimiter or an encoding that would have been recognised anyway.

    They are part of the revision: naming what is recognised must not make another task.
    """
    for shorter in (replace(reader, delimiter=None), replace(reader, encoding=None)):
        if shorter != reader and _rows(shorter) == _rows(reader):
            return _without_needless_options(shorter)
    return reader


def _rows(reader: TableReader) -> list[Sequence[Mapping[str, Any]] | None]:
    problems = Problems()
    tables = reader.tables(problems)
    return [] if problems.count else [None if table is None else table.rows for table in tables]


def _check_metrics(chosen: Iterable[str], kind: label_kinds.LabelKind, problems: Problems) -> None:
    for name in chosen:
        try:
            suits = scoring.get(name).suits
        except UsageError as error:
            problems.add(*error.problems)
            continue
        if kind.regression and suits in ("classes", "two classes"):
            problems.add(
                f"metric {name} scores classes, but the label is a number; use pearson, spearman, mse or rmse"
            )
        if kind.regression is False and suits == "numbers":
            problems.add(
                f"metric {name} scores numbers, but the label is a class; use accuracy, macro-f1 or matthews"
            )
        if suits == "two classes" and len(kind.classes) > 2:
            problems.add(
                f"metric {name} scores two classes, but there are {len(kind.classes)}; use macro-f1"
            )
