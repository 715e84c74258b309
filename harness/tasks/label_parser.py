"""The label of one row of a user's table: a class, a number, a set of classes, or the references of a text."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from harness.jobs import Label
from harness.tasks.files.cells import (
    as_label,
    as_mapping,
    as_number,
    is_blank,
    not_a_label,
    text_problem,
    whole,
)
from harness.tasks.files.problems import Problems
from harness.tasks.findings import MOST_NAMED, NO_VALUE, seen
from harness.wording import listed, short
from methods.core.suggestions import did_you_mean

_QUOTED: Final = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
# An element of a list that Python writes: a text, a number or a name, or a list, which is refused later.
_ELEMENT: Final = rf"(?:{_QUOTED}|[+-]?\w[\w.+-]*|\[[^\[\]]*\])"
# Possessive (`*+`), so that a long run of spaces is tried once.
_LIST: Final = re.compile(rf"\[\s*+(?:{_ELEMENT}(?:\s*+,\s*+{_ELEMENT})*+\s*+,?+)?+\s*+\]")
_ADJACENT: Final = re.compile(rf"\[\s*+{_QUOTED}(?:\s++{_QUOTED})*+\s*+\]")
_NUMBERS: Final = re.compile(r"\[\s*+\d++(?:\.\d*+)?+(?:\s++\d++(?:\.\d*+)?+)++\s*+\]")
MARKS = {
    "0": False,
    "1": True,
    "false": False,
    "true": True,
}  # cells of a column that marks a class
MOST_HINTS: Final = 20
MOST_COMPARED: Final = 200  # classes beyond which there is no hint
LONGEST_COMPARED: Final = 60  # characters of a class or a label
LARGEST: Final = 1e100  # absolute value of a number to learn; sums of squares stay finite
AMOUNT: Final = re.compile(  # a number as people write it
    r"[$€£¥]?\s?[+\-\u2212]?\d{1,3}([.,' \u00a0\u202f]\d{3})*([.,]\d+)?\s?[%€$£¥]?"
)
NO_LIST = (
    'is not a list of classes: write lists such as ["a", "b"], or a column of 0 and 1 for each class and '
    "--label CLASS,CLASS"
)


def as_list(value: object) -> Sequence[object] | None:
    """Return the elements of a cell that holds a list, also one that a program wrote as text; None without a list.

    Programs write `["a", "b"]` (JSON), `['a', 'b']` (Python), `['a' 'b']` (NumPy) or `{"choices": ["a", "b"]}`
    (Label Studio).
    """
    if isinstance(value, list | tuple):
        return value
    if (mapping := as_mapping(value)) is not None:
        choices = mapping.get("choices")
        return choices if isinstance(choices, list) and len(mapping) == 1 else None
    if isinstance(value, str) and value.lstrip().startswith("["):
        text = value.strip()
        for read in (json.loads, _adjacent, _python_list):
            with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                found = read(text)
                if found is not None:
                    return found if isinstance(found, list) else None
    return None


def _adjacent(text: str) -> list[Any] | None:
    """Return the texts or numbers of a list that NumPy writes, without commas; None for another form.

    Raises:
        ValueError, SyntaxError: an element is not a literal.
    """
    if _NUMBERS.fullmatch(text):
        return [ast.literal_eval(number) for number in text[1:-1].split()]
    if not _ADJACENT.fullmatch(text):
        return None
    return [ast.literal_eval(found[0]) for found in re.finditer(_QUOTED, text)]


def _python_list(text: str) -> list[Any] | None:
    """Return the list that Python reads; None for no list, or for adjacent strings, which Python joins.

    Raises:
        ValueError, SyntaxError: an element is not a literal.
    """
    if not _LIST.fullmatch(text):
        return None
    found: list[Any] = ast.literal_eval(text)
    return found


@dataclass(frozen=True, kw_only=True)
class LabelParser:
    """Reads the labels of rows.

    Attributes:
        columns: the label column; for some multilabel tasks a column of 0 and 1 for each class, and for texts
            one or more columns, whose cells hold one reference or a list of them.
        classes: the names of the classes; empty for a regression and for texts.
        multilabel: whether a row may have several classes or none.
        text: whether the labels are references of a text that is to be written.
        decimal_comma: whether labels are numbers such as `1,5`.
    """

    columns: tuple[str, ...]
    classes: tuple[str, ...]
    multilabel: bool = False
    text: bool = False
    decimal_comma: bool = False

    @cached_property
    def _seen(self) -> Mapping[str, str]:
        """The class for each name as `seen` returns it; of classes that look equal, the first."""
        return {seen(name): name for name in reversed(self.classes)}

    @cached_property
    def _written(self) -> Mapping[str, str]:
        """The class for each name as `whole` returns it (`1` for `1.0`); of classes that become equal, the first."""
        return {whole(name): name for name in reversed(self.classes)}

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {name: number for number, name in enumerate(self.classes)}

    def lacks(self, record: Mapping[str, Any]) -> bool:
        """Return whether all label cells of a row are blank.

        An empty list of references is blank. An empty list of classes is not: the row has no class.
        """
        cells = [record.get(name) for name in self.columns]
        if self.text:
            lists = [as_list(cell) for cell in cells]
            cells = [
                part
                for cell, parts in zip(cells, lists, strict=True)
                for part in ([cell] if parts is None else parts)
            ]
        return all(is_blank(as_label(cell)) for cell in cells)

    def parse(
        self, record: Mapping[str, Any], at: tuple[Path, str], problems: Problems
    ) -> Label | None:
        """Return the label of a row. If it cannot be used, add a problem and return None.

        Args:
            record: the row's cells by column.
            at: the file and the row, for messages.
            problems: receives what is wrong.
        """
        if self.text:
            return self._references(record, at, problems)
        if not self.multilabel:
            (column,) = self.columns
            return self._one(record.get(column), at, f", column {column!r}: ", problems)
        if len(self.columns) > 1:
            return self._marked(record, at, problems)
        (column,) = self.columns
        elements = as_list(record.get(column))
        prefix = f", column {column!r}: "
        if elements is None:
            problems.add_row(*at, f"{prefix}{short(as_label(record.get(column)))} {NO_LIST}")
            return None
        numbers = [self._one(element, at, prefix, problems) for element in elements]
        known = {number for number in numbers if isinstance(number, int)}
        return tuple(sorted(known)) if len(numbers) == sum(n is not None for n in numbers) else None

    def _references(
        self, record: Mapping[str, Any], at: tuple[Path, str], problems: Problems
    ) -> tuple[str, ...] | None:
        """Return the references of a row, without blank cells; a cell may hold a list of references."""
        references: list[str] = []
        before = problems.count
        for name in self.columns:
            cell = record.get(name)
            references_of_cell = as_list(cell)
            for value in [cell] if references_of_cell is None else references_of_cell:
                if value is None or (isinstance(value, str) and is_blank(value)):
                    continue
                if not isinstance(value, str):
                    what = f"{short(str(value))} is not a text"
                    problems.add_row(*at, f", column {name!r}: {what}")
                elif problem := text_problem(value):
                    problems.add_row(*at, f", column {name!r}: {problem}")
                else:
                    references.append(value.strip())
        if not references and problems.count == before:  # reached with --strict-data only
            problems.add_row(*at, ": no reference")
        return None if problems.count > before else tuple(dict.fromkeys(references))

    def _marked(
        self, record: Mapping[str, Any], at: tuple[Path, str], problems: Problems
    ) -> Label | None:
        marks = [MARKS.get(whole(as_label(record.get(name))).lower()) for name in self.columns]
        for name, mark in zip(self.columns, marks, strict=True):
            if mark is None:
                cell = as_label(record.get(name))
                what = f"{short(cell)} is neither 0 nor 1" if cell else "blank; write 0 or 1"
                problems.add_row(*at, f", column {name!r}: {what}")
        return None if None in marks else tuple(n for n, mark in enumerate(marks) if mark)

    def _one(
        self, value: object, at: tuple[Path, str], prefix: str, problems: Problems
    ) -> int | float | None:
        if kind := not_a_label(value):
            problems.add_row(*at, f"{prefix}{kind} is not a label")
            return None
        text = as_label(value)
        if problem := text_problem(text):
            problems.add_row(*at, f"{prefix}{'no label' if is_blank(text) else problem}")
            return None
        if not self.classes:
            number = as_number(text, decimal_comma=self.decimal_comma)
            if number is None:
                if re.fullmatch(r"[+-]?\d{1,3}([.,' \u00a0\u202f]\d{3})+", text):
                    hint = ": write numbers without thousands separators"
                elif as_number(text, decimal_comma=True) is not None:
                    hint = ": write numbers with a decimal point, never a comma"
                elif AMOUNT.fullmatch(text):
                    hint = ": write a plain number such as 1234.5"
                elif text.lower() in NO_VALUE:
                    hint = ": leave the cell empty if there is no value"
                else:
                    hint = ""
                problems.add_row(*at, f"{prefix}{short(text)} is not a finite number{hint}")
            elif abs(number) > LARGEST:
                problems.add_row(
                    *at, f"{prefix}{short(text)} is too large to be learned: rescale it"
                )
                return None
            return number
        if text not in self._numbers:
            text = self._written.get(whole(text), text)
        if text not in self._numbers:
            # Finding the most similar class is slow, and only the first problems are shown.
            some = problems.count < MOST_HINTS
            what = self._unknown(text) if some else f"{short(text)} is not one of the classes"
            problems.add_row(*at, f"{prefix}{what}")
        return self._numbers.get(text)

    def _unknown(self, text: str) -> str:
        """Return the problem of a label that is not a class."""
        twin = self._seen.get(seen(text))
        if twin is not None:
            return f"{text!a} only looks like the class {twin!a}: give them one spelling"
        known = listed(map(repr, self.classes), MOST_NAMED)
        short_ones = [name for name in self.classes if len(name) <= LONGEST_COMPARED]
        few = len(self.classes) <= MOST_COMPARED and len(text) <= LONGEST_COMPARED
        hint = did_you_mean(text, short_ones) if few else ""
        return f"{short(text)} is not one of the classes ({known}){hint}"
