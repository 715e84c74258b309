"""What the labels of a user's file are, classes or numbers, and what is assumed about them."""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, get_args

from harness.tasks import metrics as scoring
from harness.tasks.files.cells import as_label, as_number, not_a_label, text_problem, whole
from harness.tasks.files.file_table import FileTable
from harness.tasks.files.problems import Problems
from harness.tasks.findings import NO_VALUE
from harness.tasks.label_parser import AMOUNT, MARKS, NO_LIST, as_list
from harness.wording import escaped, plural, short
from methods.core.suggestions import did_you_mean

NamedKind = Literal["classes", "number", "multilabel", "text"]
KINDS: Final[tuple[NamedKind, ...]] = get_args(NamedKind)
MISSING: Final = (*NO_VALUE, "inf", "infinity")  # labels that may be no classes
MAX_CLASSES: Final = 20  # with more distinct numbers the user must name the kind of label
_EXACT: Final = 2**53  # whole numbers below it are different floats
_THOUSANDS: Final = r"[+-]?[1-9]\d{{0,2}}({}\d{{3}})+"


class LabelKind(NamedTuple):
    """What the labels of a file are."""

    regression: bool | None = None  # None: it is ambiguous
    classes: tuple[str, ...] = ()
    decimal_comma: bool = False
    notes: tuple[str, ...] = ()
    multilabel: bool = False
    text: bool = False

    @property
    def known(self) -> bool:
        """Whether the labels can be read: it is not ambiguous what they are, and classes have names."""
        return bool(self.classes or self.regression or self.text)

    @property
    def name(self) -> scoring.LabelKind | None:
        """The kind as a metric names it; None if it is ambiguous."""
        if self.text:
            return "texts"
        if self.multilabel:
            return "sets of classes"
        if self.regression is None:
            return None
        return (
            "numbers" if self.regression else "two classes" if len(self.classes) == 2 else "classes"
        )


def label_kind(
    cells: Sequence[object],
    at: str,
    named: NamedKind | None,
    labels: Sequence[str] | None,
    problems: Problems,
) -> LabelKind:
    """Return what the labels are: of the kind that was named, or else classes unless that is ambiguous.

    Args:
        cells: the label column of the training file.
        at: the file and the column, for messages.
        named: the kind that the user names; None: the user names none.
        labels: the classes that the user names; None: there are no such names.
        problems: receives what is wrong with the column as a whole.
    """
    if named == "text":
        if labels is not None:
            problems.add(f"{at}: texts have no classes: leave out 'labels'")
        return LabelKind(text=True)
    if named == "multilabel":
        return _sets(cells, at, labels, problems)
    regression = None if named is None else named == "number"
    values = {
        text for cell in cells if not not_a_label(cell) and not text_problem(text := as_label(cell))
    }
    if cells and not values:
        kinds = sorted({kind for cell in cells if (kind := not_a_label(cell))})
        hint = "; `--kind multilabel` takes lists of classes" if "a list" in kinds else ""
        what = f"{', '.join(kinds)} is not a label{hint}" if kinds else "no row has a label"
        problems.add(f"{at}: {what}")
        return LabelKind()
    lists = sum(as_list(text) is not None for text in values) if named is None else 0
    if lists and 2 * lists >= len(values):
        are = (
            "the labels are lists"
            if lists == len(values)
            else f"{plural(lists, 'different label')} {'is a list' if lists == 1 else 'are lists'}"
        )
        problems.add(
            f"{at}: {are}; `--kind multilabel` takes their elements as classes, and "
            "`--kind classes` each list as one class"
        )
        return LabelKind()
    comma = _decimal_comma(values)
    numbers = {text: as_number(text, decimal_comma=comma) for text in values}
    numbers_or_alike = {
        text: math.nan if number is None and AMOUNT.fullmatch(text) else number
        for text, number in numbers.items()
    }
    if regression is None and labels is None and (doubt := _doubt(numbers_or_alike)):
        problems.add(f"{at}: {doubt}; pass `--kind number` or `--kind classes`")
        return LabelKind()
    if regression and any("," in text for text in values) and not comma:
        problems.add(
            f"{at}: write numbers without thousands separators; if the commas are decimal, write points"
        )
    merged = _merged(values)
    readable = problems.count == 0  # or else other rows may have other labels
    distinct = set(numbers.values()) if regression and None not in numbers.values() else merged
    if readable and len(distinct) == 1:
        what = "the same number" if regression else "of one class"
        problems.add(f"{at}: every row is {what} ({short(merged[0])}); there is nothing to learn")
    if regression:
        return LabelKind(True, (), comma)
    if labels:
        return LabelKind(False, tuple(labels))
    return LabelKind(False, merged, False, tuple(_assumed(at, numbers, merged, regression)))


def _sets(
    cells: Sequence[object], at: str, labels: Sequence[str] | None, problems: Problems
) -> LabelKind:
    """Return the classes that lists name; cells that are not lists are reported with their rows."""
    found = [as_list(cell) for cell in cells]
    lists = [[as_label(one) for one in cell] for cell in found if cell is not None]
    sets = {frozenset(cell) for cell in lists}
    names = [name for name in frozenset().union(*sets) if not text_problem(name)]
    merged = _merged(names)
    others = [
        text
        for cell, read in zip(cells, found, strict=True)
        if read is None and (text := as_label(cell))
    ]
    if others:
        problems.add(f"{at}: {short(others[0])} {NO_LIST}")
    elif not sets:
        problems.add(f"{at}: no row has a label")
    elif _are_values(lists, names):
        problems.add(
            f"{at}: lists of numbers do not name the classes: write their names, or one column of 0 and 1 "
            "for each class and --label CLASS,CLASS"
        )
    elif len(sets) == 1 or not names:
        problems.add(f"{at}: every row has the same classes; there is nothing to learn")
    else:
        notes = [*_assumed(at, {name: as_number(name) for name in names}, merged, False)]
        if twice := sum(len(set(cell)) < len(cell) for cell in lists):
            notes.append(f"{at}: {plural(twice, 'row')} with a class twice, which counts once")
        return LabelKind(False, tuple(labels or merged), notes=tuple(notes), multilabel=True)
    return LabelKind()


def _are_values(lists: Sequence[Sequence[str]], names: Collection[str]) -> bool:
    """Return whether lists hold a mark or a probability for each class, and not the names of classes."""
    lengths = {len(cell) for cell in lists}
    if len(lengths) != 1 or max(lengths) < 2:
        return False
    numbers = [as_number(name) for name in names]
    odd = [
        number
        for number in numbers
        if number is not None and not (number >= 0 and number.is_integer())
    ]
    repeated = any(len(set(cell)) < len(cell) for cell in lists)
    return {*names} <= MARKS.keys() or (None not in numbers and bool(odd or repeated))


def marked(
    train: FileTable, columns: Sequence[str], labels: Sequence[str] | None, problems: Problems
) -> LabelKind:
    """Return the classes that columns of 0 and 1 name."""
    at = escaped(str(train.path))
    if labels is not None:
        problems.add(f"{at}: the label columns name the classes: leave out 'labels'")
    rows = {tuple(whole(as_label(row.get(name))).lower() for name in columns) for row in train.rows}
    if len(rows) == 1:
        problems.add(f"{at}: every row has the same classes; there is nothing to learn")
    return LabelKind(False, tuple(columns), multilabel=True)


def read_as(at: str, cells: Iterable[object], *, comma: bool) -> Iterator[str]:
    """Yield sentences on how labels that are numbers are read, where they may mean something else.

    Args:
        at: the file and the column.
        cells: of the column.
        comma: whether numbers have a decimal comma.
    """
    values = {as_label(cell) for cell in cells} - {""}
    if comma and any("," in text for text in values):
        yield f"{at}: numbers with a decimal comma"
    dots = sorted(text for text in values if "." in text)
    groups = all(re.fullmatch(_THOUSANDS.format(r"\."), text) for text in dots)
    if dots and groups and as_number(dots[0]) is not None:
        yield f"{at}: {short(dots[0])} is read as {float(dots[0]):g}, with a decimal point"


def _doubt(numbers: Mapping[str, float | None]) -> str:
    """Return why labels may be classes or measurements; empty if they are classes.

    Args:
        numbers: the distinct labels, and the number that each is, or None.
    """
    known = [text for text, number in numbers.items() if number is not None]
    others = [text for text, number in numbers.items() if number is None]
    decimals = any(
        not (numbers[text] or 0.0).is_integer() and re.search(r"[.,]\d|\de-", text.lower())
        for text in known
    )
    different = len(
        {numbers[text] if not math.isnan(numbers[text] or 0.0) else text for text in known}
    )
    if len(others) > 0.2 * len(numbers) or not (decimals or different > MAX_CLASSES):
        return ""
    shown = ", ".join(sorted(numbers.keys() - set(others))[:3])
    what = "decimal numbers" if decimals else "different numbers"
    beside = f", and beside them {', '.join(map(short, sorted(others)[:3]))}" if others else ""
    return f"{different} {what} ({shown}, ...){beside} may be classes or measurements"


def _assumed(
    at: str, numbers: Mapping[str, float | None], merged: Collection[str], regression: bool | None
) -> Iterator[str]:
    """Yield sentences on what was assumed about labels that are classes."""
    if regression is None and None not in numbers.values() and len(merged) > 2:
        yield f"{at}: the numbers are taken as classes; `--kind number` takes them as measurements"
    if both := sorted(numbers.keys() - set(merged)):
        yield f"{at}: {', '.join(map(short, both[:3]))} and the whole number are taken as one class"
    same: dict[float, list[str]] = {}
    for text in sorted(merged):
        number = numbers.get(text)
        if number is not None and abs(number) < _EXACT:
            same.setdefault(number, []).append(text)
    for texts in same.values():
        if len(texts) > 1:
            yield f"{at}: {', '.join(map(short, texts))} are one number and {len(texts)} classes: write it in one way"
    if missing := sorted(text for text in merged if text.lower().lstrip("+-") in MISSING):
        yield f"{at}: {', '.join(map(short, missing))} is taken as a class; leave the cell empty if it is not one"


def _decimal_comma(values: Collection[str]) -> bool:
    """Return whether most labels are numbers if a comma is a decimal point, and some are not without."""
    commas = [text for text in values if "," in text]
    thousands = all(re.fullmatch(_THOUSANDS.format(","), text) for text in commas)
    return (
        bool(commas)
        and not thousands
        and 5
        * sum(
            as_number(text) is not None or bool(re.fullmatch(r"[+-]?\d+,\d+", text))
            for text in values
        )
        >= 4 * len(values)
    )


def _merged(values: Collection[str]) -> tuple[str, ...]:
    """Return the classes, sorted; of `1` and `1.0`, which are one number, the shorter one."""
    shortest: dict[str, str] = {}
    for text in sorted(values, key=lambda text: (len(text), text)):
        shortest.setdefault(whole(text), text)
    return tuple(sorted(shortest.values()))


def with_positive(classes: tuple[str, ...], positive: str, problems: Problems) -> tuple[str, ...]:
    """Return the classes with the positive one last; add a problem if it cannot be chosen."""
    if len(classes) != 2:
        what = f"there are {len(classes)} classes" if classes else "the label is not a class"
        problems.add(f"positive: {short(positive)} can only be one of two classes, but {what}")
        return classes
    chosen = next((name for name in classes if whole(name) == whole(positive)), None)
    if chosen is None:
        problems.add(
            f"positive: {short(positive)} is not a label{did_you_mean(positive, classes)}; "
            f"there are {', '.join(map(short, classes))}"
        )
        return classes
    return (*(name for name in classes if name != chosen), chosen)
