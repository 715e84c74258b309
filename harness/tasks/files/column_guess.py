"""Which columns of a table hold the texts and the labels, if the user does not say."""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from harness.errors import UsageError
from harness.tasks.files.cells import is_blank
from harness.tasks.files.file_table import FileTable
from harness.wording import listed

# Names that people give to a column of labels, without case.
_LABELS: Final = (
    "label", "labels", "class", "category", "target", "sentiment", "stars", "rating", "topic", "intent", "gold",
    "answer",
)  # fmt: skip
_PAIRS: Final = (("premise", "hypothesis"), ("query", "passage"), ("question", "answer"))
_MOST_CLASSES: Final = 50
_ROWS_PER_CLASS: Final = 5  # a column with fewer rows for each value names rows, not classes
_WORDS: Final = 1.5  # a text has more words than this on average


class Guess(NamedTuple):
    """The columns of a task."""

    text: tuple[str, ...]
    label: str


def guess(table: FileTable, text: Sequence[str] = (), label: str = "") -> Guess:
    """Return the columns that the user named, and the likely ones in place of those that are missing.

    The label is the only column with a usual name and at least two values; if no name is usual, the only column with
    few values. The text is the column with the longest texts, or two if their names form a pair, such as `sentence1,
    sentence2`.

    Raises:
        UsageError: no column is likely, or several are equally.
    """
    cells = {
        name: [row[name] for row in table.rows if not _is_empty(row.get(name))]
        for name in table.columns
    }
    if not label:
        label = _label({name: values for name, values in cells.items() if name not in text})
    if not text:
        text = _text({name: values for name, values in cells.items() if name != label})
    return Guess(tuple(text), label)


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and is_blank(cell))


def _label(cells: dict[str, list[Any]]) -> str:
    few = [
        name
        for name, values in cells.items()
        if 1 < len(set(map(str, values))) <= min(_MOST_CLASSES, len(values) / _ROWS_PER_CLASS)
    ]
    usual = [
        name
        for name, values in cells.items()
        if name.strip().lower() in _LABELS and len(set(map(str, values))) > 1
    ]
    if len(usual) == 1 or (len(few) == 1 and not usual):
        return (usual or few)[0]
    if usual or few:
        raise UsageError(
            f"which column has the labels? Pass --label with one of {listed(usual or few)}"
        )
    raise UsageError(
        f"no column looks like labels of few classes: pass --label; there are {listed(list(cells))}"
    )


def _text(cells: dict[str, list[Any]]) -> tuple[str, ...]:
    lengths = {
        name: sum(map(len, map(str, values))) / len(values)
        for name, values in cells.items()
        if values and _words(values) > _WORDS
    }
    if not lengths:
        raise UsageError(f"no column looks like text: pass --text; there are {listed(list(cells))}")
    longest = max(lengths, key=lengths.__getitem__)
    for other in lengths:
        for pair in ((longest, other), (other, longest)):
            if _is_pair(*pair):
                return pair
    return (longest,)


def _words(values: Sequence[Any]) -> float:
    """Return the mean number of words that have a letter."""
    return sum(len(re.findall(r"[^\W\d_]\S*", str(value))) for value in values) / len(values)


def _is_pair(first: str, second: str) -> bool:
    one, two = first.strip().lower(), second.strip().lower()
    numbered = re.fullmatch(r"(.*?)[ _-]?(?:1|a)", one), re.fullmatch(r"(.*?)[ _-]?(?:2|b)", two)
    named = numbered[0] is not None and numbered[1] is not None
    return (one, two) in _PAIRS or (
        named and numbered[0][1] == numbered[1][1] != "" and one[-1] + two[-1] in ("12", "ab")  # type: ignore[index]  # both are named
    )
