"""Which columns hold the texts and the labels, if the user does not say."""

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.tasks.files.column_guess import Guess, guess
from harness.tasks.files.file_table import FileTable

TEXTS = [f"the visit number {n} was quite fine" for n in range(40)]
STARS = [str(1 + n % 5) for n in range(40)]
LANGUAGES = ["en", "fr", "de", "it"] * 10
IDS = [str(n) for n in range(40)]


def table(**columns):
    """A table of columns of equal length."""
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return FileTable(Path("reviews.csv"), tuple(columns), rows)


def test_the_longest_text_and_the_only_column_of_few_values():
    """Numbers of rows, and names that are in no list, do not matter."""
    titles = [text[:20] for text in TEXTS]
    found = guess(table(id=IDS, titel=titles, meinung=TEXTS, note=STARS))
    assert found == Guess(("meinung",), "note")


def test_a_usual_name_decides_among_several_columns_of_few_values():
    """Case does not matter; without such a name, the user is asked."""
    assert guess(table(lang=LANGUAGES, Stars=STARS, review=TEXTS)).label == "Stars"
    with pytest.raises(UsageError, match="one of lang, n"):
        guess(table(lang=LANGUAGES, n=STARS, review=TEXTS))
    assert guess(table(lang=LANGUAGES, n=STARS, review=TEXTS), label="n").label == "n"


def test_many_classes_under_a_usual_name_are_labels():
    """77 intents of few rows each are the labels, and not the column that says `train` or `test`."""
    texts = [f"please do the thing number {n}" for n in range(80)]
    intents, splits = [f"intent {n % 40}" for n in range(80)], ["train", "test"] * 40
    assert guess(table(text=texts, label=intents, split=splits)).label == "label"
    with pytest.raises(UsageError, match="one of label, rating"):
        guess(table(text=texts, label=intents, rating=intents))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("sentence1", "sentence2"),
        ("text_a", "text_b"),
        ("Premise", "Hypothesis"),
        ("question 1", "question 2"),
    ],
)
def test_names_can_form_a_pair(first, second):
    """The order is that of the names, whichever text is longer."""
    longer = [f"{text} indeed" for text in TEXTS]
    columns = {"label": STARS, second: longer, first: TEXTS}
    assert guess(table(**columns)).text == (first, second)


def test_other_texts_form_no_pair():
    """A title beside a review, or two columns whose names end alike, are not read as a pair."""
    assert guess(table(title=TEXTS, review=[f"{text} so" for text in TEXTS], label=STARS)).text == (
        "review",
    )
    assert guess(table(a=TEXTS, b=[f"{text} so" for text in TEXTS], label=STARS)).text == ("b",)


def test_a_table_without_labels_or_texts_is_refused():
    """Blank cells do not count; the columns that there are are named."""
    with pytest.raises(UsageError, match="pass --label; there are id, review"):
        guess(table(id=IDS, review=TEXTS))
    with pytest.raises(UsageError, match="pass --text; there are id"):
        guess(table(id=IDS, label=STARS))
    blank = [*STARS[:2], *[" "] * 38]
    with pytest.raises(UsageError, match="pass --label"):
        guess(table(review=TEXTS, note=blank))
