"""Reads the examples of a user's tables: texts, labels and groups of their rows."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from harness.errors import CorruptData, UsageError
from harness.tasks.base import Example
from harness.tasks.files.cells import as_label, is_blank, whole
from harness.tasks.files.file_table import FileTable, Reading
from harness.tasks.files.problems import Problems
from harness.tasks.files.table_files import digest
from harness.tasks.findings import NO_VALUE
from harness.tasks.label_parser import LabelParser
from harness.tasks.sources import Source
from harness.wording import escaped, listed, plural, short

REPEATS: Final = "repeating the header"


@dataclass(frozen=True, kw_only=True)
class TableReader:
    """Reads the examples of a user's tables."""

    origin: Source
    fields: tuple[str, ...]  # one or two columns with texts
    # the label column; some multilabel tasks have a column of 0 and 1 for each class, and tasks that write text have
    # one or more columns of references
    label: tuple[str, ...]
    labels: tuple[str, ...] = ()  # class names; empty for a regression
    multilabel: bool = False
    written: bool = False  # the labels are references of a text that is to be written
    group: str = ""  # column, such as the author: rows with equal values are not independent
    strict: bool = False  # refuse rows that are left out otherwise
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
        """The origin and the columns, as messages show them. A database refuses two sources under one task name."""
        text = f"{self.origin} ({', '.join(self.fields)} -> {', '.join(self.label)})"
        return escaped(text)  # a file's name need not be UTF-8

    def revision(self) -> str:
        """Return a hash of the contents, the columns, the classes, the delimiter and the encoding.

        Raises:
            UsageError: a file cannot be read.
        """
        return self._digest(self.origin.contents())

    def examples(self, split: str, revision: str) -> Sequence[Example]:
        """Return the examples of `train` or `test` at a revision, without the rows that are left out.

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
        """Return the table of each split, or None for one that cannot be read; add problems.

        If the bytes of a file cannot be read, the list is `[None]`.
        """
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
        # Other columns of the same rows are another revision.
        label: object = self.label if self.multilabel else self.label[0]
        if self.written:
            label = ("text", *self.label)
        columns = (self.fields, label, self.labels, *([self.group] if self.group else []))
        columns += tuple(filter(None, (self.delimiter, self.encoding)))
        return digest([*contents, repr(columns).encode()])

    def parse(
        self, table: FileTable, problems: Problems, left_out: dict[str, list[str]]
    ) -> list[Example]:
        """Return the examples of a table.

        Args:
            table: the table.
            problems: receives rows that cannot be used, and notes.
            left_out: receives the positions of rows that are left out, by reason.
        """
        missing = table.lacks(self.reading.needed, problems)
        parser = LabelParser(
            columns=self.label,
            classes=self.labels,
            multilabel=self.multilabel,
            text=self.written,
            decimal_comma=self.decimal_comma,
        )
        known = not missing & {*self.label}
        rows: list[Example] = []
        ungrouped: list[str] = []
        for position, record in zip(table.positions, table.rows, strict=True):
            repeats = table.repeats_header(record, (*self.fields, *self.label))
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
            if label is not None and None not in texts and len(texts) == len(self.fields):
                group = whole(as_label(record.get(self.group))) if self.group else ""
                if self.group and not group:
                    ungrouped.append(position)
                rows.append(
                    Example(tuple(text for text in texts if text is not None), label, group)
                )
        unnamed = {row.group for row in rows if row.group.strip().lower() in NO_VALUE}
        if unnamed:
            count = plural(sum(row.group in unnamed for row in rows), "row")
            problems.notes.append(
                f"{table.name}: {count} with {listed(map(short, sorted(unnamed)))} in {self.group!r} count as "
                f"{plural(len(unnamed), 'group')}; leave cells without a group empty"
            )
        if ungrouped and self.group not in missing:
            problems.notes.append(
                f"{table.name}: {plural(len(ungrouped), 'row')} without a value of "
                f"{self.group!r}; they are grouped by their texts"
            )
        return rows

    def is_example(self, table: FileTable, record: Mapping[str, Any]) -> bool:
        """Return whether a row has all texts and is no header."""
        missing = {*self.fields} - {*table.columns}
        repeats = table.repeats_header(record, (*self.fields, *self.label))
        return not repeats and not self._lacks(record, missing, None)

    def _lacks(
        self, record: Mapping[str, Any], missing: Collection[str], parser: LabelParser | None
    ) -> str:
        """Return `without text`, `without label`, `without reference`, or nothing.

        Args:
            record: the row.
            missing: the columns that the table lacks.
            parser: of its label; None: the label is not checked.
        """
        for name in self.fields:
            value = record.get(name)
            if name not in missing and (
                value is None or value != value or (isinstance(value, str) and is_blank(value))
            ):
                return "without text"
        if parser is None or not parser.lacks(record):
            return ""
        return "without reference" if self.written else "without label"
