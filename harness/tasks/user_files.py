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
from harness.tasks.cells import as_label, is_blank
from harness.tasks.findings import alike, description, doubts, left_out
from harness.tasks.label_kinds import NamedKind
from harness.tasks.label_parser import LabelParser
from harness.tasks.problems import Problems
from harness.tasks.sources import Files, Source
from harness.tasks.table_files import FileTable, Reading, digest
from harness.wording import escaped, listed, plural, short

REPEATS: Final = "repeating the header"
DEFAULT_METRICS: Final[Mapping[str, tuple[str, ...]]] = {
    "numbers": ("pearson", "spearman"),
    "sets of classes": ("micro-f1",),
}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class TableReader:
    """Reads the examples of a user's tables."""

    origin: Source
    fields: tuple[str, ...]  # one or two columns with texts
    # the label column; of a multilabel task perhaps one column of 0 and 1 for each class
    label: tuple[str, ...]
    labels: tuple[str, ...] = ()  # class names; empty for a regression
    multilabel: bool = False
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
            needed=(*self.fields, *self.label, *group),
            only=True,
            delimiter=self.delimiter,
            encoding=self.encoding,
        )

    @property
    def source(self) -> str:
        """The origin and the columns, for people. Results of another source do not belong to this task."""
        return f"{self.origin} ({', '.join(self.fields)} -> {', '.join(self.label)})"

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
        label = self.label if self.multilabel else self.label[0]
        columns = (self.fields, label, self.labels, *([self.group] if self.group else []))
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
        parser = LabelParser(
            columns=self.label,
            classes=self.labels,
            multilabel=self.multilabel,
            decimal_comma=self.decimal_comma,
        )
        known = not missing & {*self.label}
        rows: list[Example] = []
        ungrouped: list[str] = []
        for position, record in zip(table.positions, table.rows, strict=True):
            repeats = table.repeats_header(record, self.reading.needed)
            reason = REPEATS if repeats else self._lacks(record, missing, parser if known else None)
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
            if not known:
                continue
            label = parser.parse(record, (table.path, position), problems)
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

    def _lacks(
        self, record: Mapping[str, Any], missing: Collection[str], parser: LabelParser | None
    ) -> str:
        """Return what a row lacks so that it is left out; empty if it lacks nothing.

        Args:
            record: the row.
            missing: the columns that the table lacks.
            parser: of its label; None: the label's columns are missing.
        """
        for name in self.fields:
            value = record.get(name)
            if name not in missing and (
                value is None or (isinstance(value, str) and is_blank(value))
            ):
                return "without text"
        return "without label" if parser is not None and parser.lacks(record) else ""


def from_options(
    data: Path | Source,
    text: Sequence[str],
    label: Sequence[str],
    *,
    test: Path | None = None,
    name: str | None = None,
    kind: NamedKind | None = None,
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
        label: the column with the label, or for `multilabel` one column of 0 and 1 for each class.
        test: the test file; by default each draw holds out other rows. Ignored if `data` is another source,
            which knows whether it has a test split.
        name: the task's name; by default that of the training file.
        kind: what the label is; by default inferred, with an error if it is ambiguous.
        metrics: names of metrics; by default accuracy for classes, pearson and spearman for
            numbers, micro-f1 for sets of classes.
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
    if not 1 <= len(text) <= 2 or len({*text, *label}) != len(text) + len(label):
        problems.add(
            "name one or two text columns and a different label column, "
            f"got text {', '.join(text) or 'none'}; label {', '.join(label)}"
        )
    if isinstance(data, Path) and test is not None and test.resolve() == data.resolve():
        problems.add(f"{escaped(str(data))} is both the training and the test file")
    reader = TableReader(
        origin=origin, fields=tuple(text), label=tuple(label), group=group or "",
        multilabel=kind == "multilabel" or len(label) > 1, strict=strict, delimiter=delimiter, encoding=encoding,
    )  # fmt: skip
    tables = reader.tables(problems)
    parts = {part.strip() for part in label[0].split(",")}
    known = set(tables[0].columns) if tables[0] is not None else set()
    if (len(label) > 1 and kind != "multilabel") or len(label) == 1 < len(parts & known):
        problems.add("several label columns, each of 0 and 1, need --kind multilabel")
    found = _kind(reader, tables[0], kind, labels, positive, problems)
    reader = replace(reader, labels=found.classes, decimal_comma=found.decimal_comma)
    said: list[str] = []
    findings = [*found.notes, *alike(found.classes)]
    examples: list[list[Example]] = []
    for table in tables:
        if table is not None and (found.classes or found.regression):
            omitted: dict[str, list[str]] = {}
            before = problems.count
            rows = reader.parse(table, problems, omitted)
            if table.rows and not rows and problems.count == before:
                problems.add(f"{escaped(str(table.path))}: no row has a text and a label")
            file = table.name
            said += description(file, rows, found.classes, multilabel=found.multilabel)
            findings += [
                *left_out(file, omitted),
                *doubts(file, rows, found.classes, multilabel=found.multilabel),
            ]
            examples.append(rows)
        elif table is not None:  # without the labels only the columns can be checked
            table.lacks((*text, *label), problems)
    recognised = [note for table in tables if table is not None for note in table.notes]
    chosen = tuple(metrics) if metrics else DEFAULT_METRICS.get(found.name or "", ("accuracy",))
    _check_metrics(chosen, found, problems)
    problems.raise_if_any()
    return Task(
        name=name,
        title=f"{origin.name}: {' and '.join(text)} -> {', '.join(label)}",
        reader=_without_needless_options(reader),
        labels=found.classes,
        multilabel=found.multilabel,
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
    named: NamedKind | None,
    labels: Sequence[str] | None,
    positive: str | None,
    problems: Problems,
) -> label_kinds.LabelKind:
    """Return what the labels of the training file are, with the positive class last."""
    if train is None or not {*reader.label} <= {*train.columns}:
        return label_kinds.LabelKind()
    if len(reader.label) > 1:
        kind = label_kinds.LabelKind(False, reader.label, multilabel=True)
    else:
        (column,) = reader.label
        rows = (row for row in train.rows if not train.repeats_header(row, reader.reading.needed))
        at = f"{escaped(str(train.path))}, column {column!r}"
        cells = [row.get(column) for row in rows]
        kind = label_kinds.label_kind(cells, at, named, labels, problems)
    if positive is not None and kind.multilabel:
        problems.add("positive: with --kind multilabel, all classes count alike")
    elif positive is not None and kind.regression is not None:
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
        if (of := kind.name) is not None and of not in suits:
            fitting = [other for other, metric in scoring.METRICS.items() if of in metric.suits]
            problems.add(
                f"metric {name} scores {' or '.join(sorted(suits))}, but the labels are {of}; "
                f"use {listed(fitting)}"
            )
