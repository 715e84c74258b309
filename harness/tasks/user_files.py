"""Tasks from the user's files: CSV, TSV, JSON or Parquet.

One message reports all problems of the files, by row and column. Rows without a text or a label are left
out. Whatever is left out, recognised or assumed is one of the task's findings.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.errors import UsageError
from harness.tasks import label_kinds, slot_errors
from harness.tasks import metrics as scoring
from harness.tasks.base import Task
from harness.tasks.files.file_table import FileTable
from harness.tasks.files.problems import Problems
from harness.tasks.findings import alike, description, doubts, doubts_of_texts, left_out
from harness.tasks.label_kinds import NamedKind
from harness.tasks.label_parser import as_list
from harness.tasks.sources import Files, Source
from harness.tasks.table_reader import TableReader
from harness.tasks.text_metrics import OTHER_METRICS
from harness.wording import escaped, listed, plural, short

DEFAULT_METRICS: Final[Mapping[str, tuple[str, ...]]] = {
    "numbers": ("pearson", "spearman"),
    "sets of classes": ("micro-f1",),
    "texts": ("bleu",),
}
# Metrics that are computed beside those of the score.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


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
        label: the column with the label; for `multilabel` also one column of 0 and 1 for each class, and for
            `text` one or more columns with references.
        test: the test file; by default each draw holds out other rows. Ignored if `data` is another source,
            which knows whether it has a test split.
        name: the task's name; by default that of the training file.
        kind: what the label is; by default inferred, with an error if it is ambiguous.
        metrics: names of metrics; by default accuracy for classes, pearson and spearman for
            numbers, micro-f1 for sets of classes, bleu for texts.
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
    if not label:
        raise UsageError("name the label column")
    origin = Files(data, test) if isinstance(data, Path) else data
    name = _name(origin.name, name, problems)
    if isinstance(data, Path) and test is not None and test.resolve() == data.resolve():
        problems.add(f"{escaped(str(data))} is both the training and the test file")
    reader = TableReader(
        origin=origin, fields=tuple(text), label=tuple(label), group=group or "",
        multilabel=kind == "multilabel" or (len(label) > 1 and kind != "text"), written=kind == "text",
        strict=strict, delimiter=delimiter, encoding=encoding,
    )  # fmt: skip
    tables = reader.tables(problems)
    _check_columns(text, label, group, kind, tables[0], problems)
    found = _kind(reader, tables[0], kind, labels, positive, problems)
    reader = replace(reader, labels=found.classes, decimal_comma=found.decimal_comma)
    contents = [_contents(reader, table, found, problems) for table in tables if table is not None]
    recognised = [note for table in tables if table is not None for note in table.notes]
    chosen = (
        tuple(dict.fromkeys(metrics))
        if metrics
        else DEFAULT_METRICS.get(found.name or "", ("accuracy",))
    )
    _check_metrics(chosen, found, problems)
    problems.raise_if_any()
    findings = [*found.notes, *alike(found.classes)]
    findings += [finding for part in contents for finding in part.findings]
    return Task(
        name=name,
        title=escaped(f"{origin.name}: {' and '.join(text)} -> {', '.join(label)}"),
        reader=_without_needless_options(reader),
        labels=found.classes,
        multilabel=found.multilabel,
        text=found.text,
        metrics=chosen,
        other_metrics=tuple(
            name
            for name in (*(OTHER_METRICS if found.text else ()), *contents[0].metrics)
            if name not in chosen
        ),
        pair=len(text) == 2,
        tests={"": "test"},
        train_rows=contents[0].rows,
        test_rows=contents[1].test_rows if len(contents) > 1 else None,
        holdout="test" not in origin.splits,
        # Version 2 holds out whole groups of rows; of texts, 3 joins test rows with one source.
        version=3 if found.text else 1 if "test" in origin.splits else 2,
        description=tuple(sentence for part in contents for sentence in part.description),
        findings=(*findings, *dict.fromkeys([*problems.notes, *recognised])),
    )


def _check_columns(
    text: Sequence[str],
    label: Sequence[str],
    group: str | None,
    kind: NamedKind | None,
    train: FileTable | None,
    problems: Problems,
) -> None:
    """Add a problem if the named columns cannot be those of a task."""
    if not 1 <= len(text) <= 2 or len({*text, *label}) != len(text) + len(label):
        problems.add(
            "name one or two text columns and a different label column, "
            f"got text {', '.join(text) or 'none'}; label {', '.join(label)}"
        )
    if group is not None and group in label:
        problems.add(f"the column {group!r} cannot be the label and the group")
    parts = {part.strip() for part in label[0].split(",")}
    known = set(train.columns) if train is not None else set()
    several = len(label) == 1 < len(parts & known) and label[0] not in known
    if kind == "multilabel" and several:
        problems.add(
            "write the label columns as a list: label = ["
            + ", ".join(f'"{part}"' for part in sorted(parts))
            + "]"
        )
    elif kind not in ("multilabel", "text") and (several or len(label) > 1):
        problems.add(
            "several label columns, each of 0 and 1, need the kind multilabel (--kind multilabel)"
        )


class Contents(NamedTuple):
    """What a table contains.

    Attributes:
        rows: number of its examples.
        test_rows: number of these when they are tested: examples with one source of a text count once.
        description: sentences.
        findings: sentences on what may be wrong.
        metrics: those that only such examples have.
    """

    rows: int = 0
    test_rows: int = 0
    description: Sequence[str] = ()
    findings: Sequence[str] = ()
    metrics: Iterable[str] = ()


def _contents(
    reader: TableReader, table: FileTable, kind: label_kinds.LabelKind, problems: Problems
) -> Contents:
    """Read all rows of a table; without the kind of the labels, only the columns can be checked."""
    if not kind.known:
        table.lacks((*reader.fields, *reader.label), problems)
        return Contents()
    omitted: dict[str, list[str]] = {}
    before = problems.count
    rows = reader.parse(table, problems, omitted)
    if table.rows and not rows and problems.count == before:
        problems.add(f"{escaped(str(table.path))}: no row has a text and a label")
    held_out = "test" not in reader.origin.splits
    if (
        held_out
        and reader.group
        and len(rows) > 1
        and {row.group for row in rows} == {rows[0].group} != {""}
    ):
        problems.add(
            f"{table.name}: every row has the same value of {reader.group!r}: no row is left to train on"
        )
    found = (
        doubts_of_texts(table.name, rows)
        if kind.text
        else doubts(table.name, rows, kind.classes, multilabel=kind.multilabel)
    )
    findings = [*left_out(table.name, omitted), *found]
    if kind.regression:
        cells = [row.get(reader.label[0]) for row in table.rows]
        at = f"{table.name}, column {reader.label[0]!r}"
        findings += label_kinds.read_as(at, cells, comma=kind.decimal_comma)
    said = description(table.name, rows, kind.classes, multilabel=kind.multilabel)
    if kind.text:
        findings += _lists_in_cells(table, reader.label)
    restaurants = kind.text and all(slot_errors.is_restaurant(row.texts[0]) for row in rows)
    return Contents(
        len(rows),
        len({row.texts for row in rows}) if kind.text else len(rows),
        [*said],
        findings,
        slot_errors.METRICS if restaurants else (),
    )


def _lists_in_cells(table: FileTable, columns: Sequence[str]) -> Iterator[str]:
    """Yield a sentence on cells with a text that is read as a list of references."""
    cells = [row.get(column) for row in table.rows for column in columns]
    lists = [cell for cell in cells if isinstance(cell, str) and as_list(cell) is not None]
    if lists:
        yield (
            f"{table.name}: {plural(len(lists), 'cell')} such as {short(lists[0])} "
            f"{'is' if len(lists) == 1 else 'are'} read as a list of references"
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
    if reader.written:
        kind = label_kinds.label_kind((), escaped(str(train.path)), "text", labels, problems)
    elif len(reader.label) > 1:
        kind = label_kinds.marked(train, reader.label, labels, problems)
    else:
        (column,) = reader.label
        rows = [row for row in train.rows if reader.is_example(train, row)]
        if train.rows and not rows:
            problems.add(f"{escaped(str(train.path))}: no row has a text and a label")
        at = f"{escaped(str(train.path))}, column {column!r}"
        cells = [row.get(column) for row in rows]
        kind = label_kinds.label_kind(cells, at, named, labels, problems)
    if positive is not None and kind.multilabel:
        problems.add("positive: with --kind multilabel, all classes count alike")
    elif positive is not None and kind.text:
        problems.add("positive: texts have no classes")
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
            metric = scoring.get(name)
        except UsageError as error:
            problems.add(*error.problems)
            continue
        if (of := kind.name) is not None and of not in metric.suits:
            fitting = [other for other, known in scoring.METRICS.items() if of in known.suits]
            problems.add(
                f"metric {name} scores {' or '.join(sorted(metric.suits))}, but the labels are {of}; "
                f"use {listed(fitting)}"
            )
        elif metric.better == "neither":
            problems.add(f"metric {name} describes texts and does not say which are better")
