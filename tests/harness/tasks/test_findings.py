"""What is said about the rows of unusual files."""

import pytest

from harness.tasks.user_files import from_options
from tests.support.user_files import problems


def labelled(*labels):
    """Return a CSV file with a row for each label."""
    return "text,label\n" + "".join(f"word{n},{label}\n" for n, label in enumerate(labels))


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (["A", "\uff21", "b"], r"'A' and '\uff21'"),
        (["ham", "spam", "sp\u0430m"], r"'spam' and 'sp\u0430m'"),
        (["no", "ok", "o\u00adk"], r"'ok' and 'o\xadk'"),
        (["STRASSE", "no", "stra\u00dfe"], r"'STRASSE' and 'stra\xdfe'"),
        (["bad", "very good", "very\u00a0good"], r"'very good' and 'very\xa0good'"),
    ],
    ids=["width", "script", "soft hyphen", "sharp s", "space"],
)
def test_classes_that_a_reader_takes_for_one_are_named(write, labels, named):
    """They stay two classes, and both spellings are shown escaped."""
    task = from_options(write("d.csv", labelled(*labels)), ["text"], ["label"])
    assert len(task.labels) == 3
    assert [one for one in task.findings if "look alike" in one] == [
        f"the classes {named} look alike: if they are one class, give them one spelling"
    ]


@pytest.mark.parametrize("twin", ["1e0", "+1", "01", "\u0661"])
def test_numbers_in_two_forms_are_named(write, twin):
    """A number written in another way is another class, which is said."""
    task = from_options(write("d.csv", labelled("1", twin, "2")), ["text"], ["label"])
    assert len(task.labels) == 3
    assert any("are one number and 2 classes" in one for one in task.findings)


@pytest.mark.parametrize(
    "content",
    [
        "text,label\nx,a\ny,b\nText,LABEL\nz,a\n",
        "\ufefftext,label\nx,a\ny,b\n\ufefftext,label\nz,a\n",
        "text\tlabel\nx\ta\ny\tb\n text \t label\nz\ta\n",
    ],
    ids=["case", "byte order mark", "spaces"],
)
def test_a_header_within_the_file_is_left_out_and_counted(write, content):
    """Files that were joined have the header again, in the spelling of each."""
    task = from_options(write("d.csv", content), ["text"], ["label"])
    assert (task.labels, task.train_rows) == (("a", "b"), 3)
    assert any("1 repeating the header" in one for one in task.findings)


@pytest.mark.parametrize("text", ["\u200d\u200d", "\u2060", "\u00a0\u3000", "\ufeff", "\u00ad"])
def test_texts_that_show_nothing_are_left_out(write, text):
    """Joiners, unusual spaces, byte order marks and soft hyphens are no text."""
    path = write("d.csv", f"text,label\n{text},a\nx,a\ny,b\n")
    task = from_options(path, ["text"], ["label"])
    assert task.train_rows == 2
    assert any("1 without text (row 1 (line 2))" in one for one in task.findings)


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_only_line_breaks_end_a_row(write, mark):
    """Other characters that Python takes for the end of a line stay in the text."""
    path = write("d.csv", f"text,label\nx{mark}y,a\nz,b\n")
    task = from_options(path, ["text"], ["label"])
    rows = task.reader.examples("train", task.reader.revision())
    assert [row.label for row in rows] == [0, 1]


@pytest.mark.parametrize(
    ("rows", "texts"),
    [
        ("Good  film,a\ngood film,b\nother,b\n", 1),
        ("\uff27ood film,a\ngood film,b\nother,b\n", 1),
        ("caf\u00e9,a\ncafe\u0301,b\nother,b\nx,a\nX,b\n", 2),
    ],
    ids=["spaces", "width", "two texts"],
)
def test_texts_with_two_labels_are_counted(write, rows, texts):
    """Texts that differ in case, width or spaces only are one text."""
    task = from_options(write("d.csv", f"text,label\n{rows}"), ["text"], ["label"])
    verb = "text occurs" if texts == 1 else "texts occur"
    assert f"d.csv: {texts} {verb} with different labels" in task.findings


def test_a_column_of_names_is_doubted_as_classes(write):
    """Where most classes have one row, the finding asks whether they are classes."""
    task = from_options(
        write("d.csv", labelled(*[f"id{n}" for n in range(30)], "id0")), ["text"], ["label"]
    )
    assert "d.csv: 29 of 30 classes have a single row: are these classes?" in task.findings
    few = from_options(
        write("e.csv", labelled(*[f"id{n % 15}" for n in range(30)])), ["text"], ["label"]
    )
    assert not any("single row" in one for one in few.findings)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text,label\nx,a\ny,b,c\nz\n", "row 2 (line 3): 3 columns, but the header has 2"),
        ("text label\nx a\ny b\n", "no column 'text'"),
        ("text,label,label\nx,a,b\ny,b,a\n", "more than one column is named 'label'"),
        ('text,label\n"she said \\"hi\\" ok",a\ny,b\n', "quotes inside it are doubled"),
        (
            '"text, clean",label\nx,a\ny,b\n',
            'there are "text, clean", label; quote a name with a comma: --text \'"text, clean"\'',
        ),
        ("Text,Label\nx,a\ny,b\n", "no column 'text' (did you mean 'Text'?)"),
    ],
    ids=["ragged", "spaces", "two of one name", "backslashes", "comma", "case"],
)
def test_what_cannot_be_read_for_sure_is_refused(write, content, said):
    """The message names the row or the column."""
    assert said in problems(write("d.csv", content), ["text"], ["label"])
