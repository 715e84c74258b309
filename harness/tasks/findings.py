"""What is worth knowing about the rows of a user's file before anything is trained on them."""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Final

from harness.jobs import Label
from harness.tasks.base import Example, normalise
from harness.wording import clipped, escaped, listed, plural, short

UNEQUAL: Final = 5  # rows of the largest class for each row of a class that counts as rare
NO_VALUE: Final = (
    "na",
    "n/a",
    "#n/a",
    "#n/d",
    "#nv",
    "#null!",
    "nan",
    "null",
    "none",
    "nil",
    "<na>",
    "\\n",
    "nat",
    "(null)",
    "undefined",
    "#ref!",
    "#value!",
    "#div/0!",
    "#name?",
    "#num!",
    "?",
)  # what programs write for no value
# Small Cyrillic and Greek letters that look like Latin ones, or whose capitals do.
LOOKALIKES: Final = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0445\u0443\u0456\u0455\u0458"
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7",
    "abekmhopctxyisjabezhikmnoptyx",
)
# With more classes than this, `doubts` asks whether they are classes if more than half of them have a single row.
SINGLE: Final = 10
MOST_NAMED: Final = 8  # classes that one sentence names


def description(
    name: str, rows: Sequence[Example], labels: Sequence[str], *, multilabel: bool = False
) -> Iterator[str]:
    """Yield sentences on the classes and the lengths of rows.

    Args:
        name: of the file.
        rows: its examples.
        labels: the names of the classes; none for a regression.
        multilabel: whether a row has any number of the classes.
    """
    if not rows:
        return
    if labels:
        counts = Counter(number for row in rows for number in row.classes)
        ranked = [(labels[number], count) for number, count in counts.most_common()]
        shown = ", ".join(
            f"{escaped(clipped(text))} {count}" for text, count in ranked[:MOST_NAMED]
        )
        more = f" and {len(ranked) - MOST_NAMED} more" if len(ranked) > MOST_NAMED else ""
        of = f"{plural(len(rows), 'row')} of {plural(len(counts), 'class', 'classes')}"
        if multilabel:
            mean = sum(counts.values()) / len(rows)
            none = sum(not row.classes for row in rows)
            of += f" ({mean:.2g} classes per row on average; {plural(none, 'row')} without a class)"
        yield f"{name}: {of}: {shown}{more}"
    elif isinstance(rows[0].label, tuple):
        counts = Counter(len(row.references) for row in rows)
        lengths = [len(text.split()) for row in rows for text in row.references]
        least, most = min(counts), max(counts)
        each = plural(least, "reference") if least == most else f"{least} to {most} references"
        yield (
            f"{name}: {plural(len(rows), 'row')} with {each} of {min(lengths)} to {max(lengths)} words, median "
            f"{median(lengths):g}"
        )
    else:
        values = [row.label for row in rows if isinstance(row.label, int | float)]
        yield f"{name}: {plural(len(rows), 'row')} with labels from {min(values):g} to {max(values):g}"
    words = [sum(len(text.split()) for text in row.texts) for row in rows]
    if min(words) == max(words):
        yield f"{name}: texts of {plural(words[0], 'word')}"
    else:
        yield f"{name}: texts of {min(words)} to {max(words)} words, median {median(words):g}"


def doubts(
    name: str, rows: Sequence[Example], labels: Sequence[str], *, multilabel: bool = False
) -> Iterator[str]:
    """Yield sentences on what may be wrong with classes and texts, such as equal texts with different labels."""
    counts = Counter(number for row in rows for number in row.classes) if labels else Counter()
    if rows and (empty := [text for n, text in enumerate(labels) if n not in counts]):
        yield f"{name}: no row has the label {listed(map(short, empty), MOST_NAMED)}"
    if len(rows) > 1 and len({row.label for row in rows}) == 1:
        yield f"{name}: every row has the same label, so a score on these rows says little"
    if len(counts) > 1 and max(counts.values()) >= UNEQUAL * min(counts.values()):
        rare = [
            labels[number] for number in counts if max(counts.values()) >= UNEQUAL * counts[number]
        ]
        yield (
            f"{name}: few rows of {listed(map(short, rare), MOST_NAMED)}: "
            f"{'micro-F1' if multilabel else 'accuracy'} says little about rare classes; "
            f"see --metrics macro-f1, {'' if multilabel else '--sampling stratified, '}--class-weights balanced"
        )
    single = sum(count == 1 for count in counts.values())
    if len(counts) > SINGLE and 2 * single > len(counts):
        yield f"{name}: {single} of {len(counts)} classes have a single row: are these classes?"
    yield from _odd_texts(name, [text for row in rows for text in row.texts])
    yield from _repeated(name, rows)


def doubts_of_texts(name: str, rows: Sequence[Example]) -> Iterator[str]:
    """Yield sentences on what may be wrong with sources and references, such as marks for no value."""
    yield from _odd_texts(name, [text for row in rows for text in (*row.texts, *row.references)])
    if repeated := len(rows) - len({row.texts for row in rows}):
        yield (
            f"{name}: {plural(repeated, 'row')} with the source of another row: in testing, one text is written for a "
            "source and compared with all its references"
        )


def _odd_texts(name: str, texts: Sequence[str]) -> Iterator[str]:
    empty_words = [text for text in texts if text.strip().lower() in NO_VALUE]
    if empty_words:
        shown = listed(map(short, dict.fromkeys(empty_words)))
        yield f"{name}: {plural(len(empty_words), 'text')} such as {shown}, which programs write for no text"
    if damaged := sum("\ufffd" in text for text in texts):
        yield f"{name}: {plural(damaged, 'text')} with U+FFFD, which programs write for letters they could not read"


def _repeated(name: str, rows: Sequence[Example]) -> Iterator[str]:
    labels: dict[tuple[str, ...], set[Label]] = {}
    for row in rows:
        labels.setdefault(normalise(row.texts), set()).add(row.label)
    if repeated := len(rows) - len(labels):
        verb = "repeats" if repeated == 1 else "repeat"
        yield f"{name}: {plural(repeated, 'row')} {verb} the texts of another row"
    if contradictory := sum(len(found) > 1 for found in labels.values()):
        verb = "occurs" if contradictory == 1 else "occur"
        yield f"{name}: {plural(contradictory, 'text')} {verb} with different labels"


def alike(labels: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each group of classes that look alike: see `seen`."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(seen(label), []).append(label)
    for group in groups.values():
        if len(group) > 1:
            names = " and ".join(map(ascii, group))
            yield f"the classes {names} look alike: if they are one class, give them one spelling"


def seen(label: str) -> str:
    """Return a label without what a reader may overlook.

    These are its case, its script, spaces, invisible characters and the quotes around it.
    """
    text = unicodedata.normalize("NFKC", label).casefold().translate(LOOKALIKES)
    text = text.strip("\"'\u201c\u201d")
    return "".join(
        c for c in text if unicodedata.category(c) not in ("Cf", "Cc") and not c.isspace()
    )


def left_out(name: str, reasons: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield a sentence on the rows that are not used.

    Args:
        name: of the file.
        reasons: the positions of the rows, by reason.
    """
    if reasons:
        parts = [f"{len(found)} {reason} ({_places(found)})" for reason, found in reasons.items()]
        total = sum(map(len, reasons.values()))
        yield f"{name}: {plural(total, 'row')} left out: {'; '.join(parts)}; --strict-data refuses them"


def _places(positions: Sequence[str]) -> str:
    more = f" and {len(positions) - 3} more" if len(positions) > 3 else ""
    return f"{', '.join(positions[:3])}{more}"
