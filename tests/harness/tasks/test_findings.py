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


@pytest.mark.parametrize(
    "content",
    [
        'id,text,label,date\n1,"Hello there,pos,2020\n2,bye",neg,2021\n3,x,pos,2022\n',
        'id,label,text\n1,pos,"Hello, there\n2,neg,bye"\n3,neg,x\n4,pos,y\n',
        'text,label\na,"pos\nb,neg\nc,pos"\nd,neg\ne,pos\n',
    ],
    ids=["a column behind the label", "text last", "inside a label"],
)
def test_quotes_that_hold_other_rows_are_a_finding(write, content):
    """Wherever the texts and labels stand, lines in quotes with as many delimiters as rows are noticed."""
    task = from_options(write("d.csv", content), ["text"], ["label"])
    said = "d.csv: 1 row with lines inside quotes that look like rows (row 1 (line 2))"
    assert any(one.startswith(said) for one in task.findings)


def test_lines_of_prose_in_quotes_are_no_finding(write):
    """Commas before spaces, and line breaks, are those of a text."""
    content = 'id,text,label\n1,"Good, cheap,\nand fast, really.\nBuy it",pos\n2,"bad",neg\n'
    task = from_options(write("d.csv", content), ["text"], ["label"])
    assert not any("look like rows" in one for one in task.findings)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("iso2022_jp", "とても良い映画"), ("iso2022_kr", "좋은 영화"), ("hz", "很好的电影")],
)
def test_seven_bit_encodings_are_recognised_and_stated(write, encoding, text):
    """Mail programs export texts in bytes that are all ASCII."""
    content = f"text,label\n{text},a\nx,b\n".encode(encoding)
    task = from_options(write("d.csv", content), ["text"], ["label"])
    assert task.reader.examples("train", task.reader.revision())[0].texts == (text,)
    assert any(f"is read as {encoding}" in one for one in task.findings)


def test_a_file_mostly_in_utf_8_keeps_that_advice(write):
    """A broken line is named, and a named encoding that would ruin the other lines is doubted."""
    lines = "".join(f"caf\u00e9 {n},{n % 2}\n" for n in range(50))
    path = write("d.csv", f"text,label\n{lines}".encode() + b"caf\xe9,1\n")
    assert "line 52: byte 0xe9 is not UTF-8, but most of the file is: repair that line" in problems(
        path, ["text"], ["label"]
    )
    task = from_options(path, ["text"], ["label"], encoding="cp1252")
    assert any("looks like UTF-8" in one for one in task.findings)


def test_long_runs_of_letters_are_read_at_once(write):
    """Sequences of letters, as of proteins, in a file that is not UTF-8."""
    rows = "".join(f"{'ACGT' * 7500},{n % 2}\n" for n in range(4))
    path = write("d.csv", f"text,label\n{rows}caf\u00e9,1\n".encode("cp1252"))
    assert from_options(path, ["text"], ["label"]).train_rows == 5


def test_unknown_labels_of_two_long_columns_are_refused_at_once(write):
    """Texts named as labels: the message names some of the classes."""
    rows = "".join(f"text {n},{n % 2}\n" for n in range(3000))
    train = write("d.csv", f"text,label\n{rows}")
    test = write("t.csv", "text,label\n" + rows.replace("text", "other"))
    message = problems(train, ["label"], ["text"], test=test)
    assert "is not one of the classes" in message
    assert "more)" in message


def test_a_line_under_the_header_is_left_out(write):
    """Programs for databases and Markdown underline the header."""
    for rule in ("----,-----", "|---,---|", "====,=====", ":--,:-:"):
        path = write("d.csv", f"text,label\n{rule}\nx,a\ny,b\n")
        task = from_options(path, ["text"], ["label"])
        assert (task.labels, task.train_rows) == (("a", "b"), 2)
        assert "d.csv: the line under the header is left out" in task.findings


@pytest.mark.parametrize("missing", ["<NA>", "\\N", "NaT", "(null)", "#REF!", "?"])
def test_what_programs_write_for_no_value_is_named(write, missing):
    """It stays a class, or a text, until the user leaves the cell empty."""
    task = from_options(write("d.csv", labelled("a", missing, "b")), ["text"], ["label"])
    assert missing in task.labels
    assert any("taken as a class" in one for one in task.findings)
    path = write("e.csv", f"text,label\n{missing},a\nx,b\n")
    found = from_options(path, ["text"], ["label"]).findings
    assert any("which programs write for no text" in one for one in found)


def test_groups_without_a_name_are_said_to_be_one(write):
    """All rows whose author is `NA` would be split together."""
    path = write("d.csv", "text,label,who\na,p,NA\nb,n,NA\nc,p,Ann\nd,n,Bob\n")
    task = from_options(path, ["text"], ["label"], group="who")
    assert any("2 rows with 'NA' in 'who' count as 1 group" in one for one in task.findings)


@pytest.mark.parametrize(
    ("cells", "kind", "said"),
    [
        (["[0.2, 0.8]", "[0.7, 0.3]"], "multilabel", "lists of numbers do not name the classes"),
        (["['a', 'b']", "['a']", "a"], None, "2 different labels are lists"),
    ],
)
def test_lists_that_are_no_lists_of_classes_are_refused(write, cells, kind, said):
    """Probabilities, and lists beside other cells."""
    rows = "".join(f'text {n},"{cell}"\n' for n, cell in enumerate(cells))
    assert said in problems(write("d.csv", f"text,label\n{rows}"), ["text"], ["label"], kind=kind)


def test_long_numbers_are_different_classes(write):
    """Identifiers of 19 digits are no two forms of one number."""
    labels = ["1234567890123456788", "1234567890123456789", "7"]
    task = from_options(write("d.csv", labelled(*labels)), ["text"], ["label"], kind="classes")
    assert not any("one number" in one for one in task.findings)


@pytest.mark.parametrize(
    "labels",
    [
        [f"{n // 10},{n % 10}" for n in range(40)] + ["n.v."],
        [f"{n},250" for n in range(1, 9)],
        [f"{n},99 \u20ac" for n in range(1, 9)],
    ],
    ids=["an odd cell", "thousands", "prices"],
)
def test_numbers_as_people_write_them_ask_for_the_kind(write, labels):
    """One cell that is no number, separators and units do not make classes of measurements."""
    rows = "".join(f"word{n};{label}\n" for n, label in enumerate(labels))
    message = problems(write("d.csv", f"text;label\n{rows}"), ["text"], ["label"])
    assert "may be classes or measurements; pass `--kind number`" in message


@pytest.mark.parametrize(
    "cells",
    [["[true, false]", "[false, false]"], ["[3, 0, 3]", "[5, 0, 0]"], ["[-1, 2]", "[1, 0]"]],
)
def test_lists_of_marks_votes_and_logits_are_refused(write, cells):
    """They hold a value for each class, and not the names of classes."""
    rows = "".join(f'word{n},"{cell}"\n' for n, cell in enumerate(cells))
    path = write("d.csv", f"text,label\n{rows}")
    assert "do not name the classes" in problems(path, ["text"], ["label"], kind="multilabel")


def test_a_column_keeps_its_name_beside_renamed_ones(write):
    """A second `Comment` is not called `Comment 2` if there is such a column."""
    path = write("d.csv", "Comment,Comment,Comment 2,label\nfirst,second,third,x\na,b,c,y\n")
    task = from_options(path, ["Comment 2"], ["label"])
    assert task.reader.examples("train", task.reader.revision())[0].texts == ("third",)


def test_quotes_that_hold_rows_with_spaces_are_a_finding(write):
    """Also where a space follows each delimiter, and a text has one more of them."""
    path = write(
        "d.csv",
        'text,label\n"Great movie, pos\nwell,really, neg\nawful", neg\nfine, pos\nbad, neg\n',
    )
    task = from_options(path, ["text"], ["label"])
    assert any("lines inside quotes that look like rows" in one for one in task.findings)


@pytest.mark.parametrize(
    "text",
    ["Hi,\nmy order did not arrive", "f(a,b)\nreturn c", "Kostet 1,50 Euro\nGut", "a,b\nc,d\n"],
)
def test_lines_of_letters_and_code_are_no_finding(write, text):
    """Their parts are no labels of other rows."""
    path = write("d.csv", f'text,label\n"{text}",pos\nx,neg\ny,pos\n')
    assert not any(
        "look like rows" in one for one in from_options(path, ["text"], ["label"]).findings
    )


def test_a_test_file_may_be_of_one_group(write):
    """With a test file, no group is held out."""
    train = write("d.csv", "text,label,who\na,p,Ann\nb,n,Bob\n")
    test = write("t.csv", "text,label,who\nc,p,Cid\nd,n,Cid\n")
    assert from_options(train, ["text"], ["label"], group="who", test=test).test_rows == 2


@pytest.mark.parametrize(
    "pair",
    [("\u041d\u0435\u0442", "\u043d\u0435\u0442"), ("\u039d\u03b1\u03b9", "\u03bd\u03b1\u03b9")],
)
def test_classes_that_differ_in_case_are_named_in_other_scripts(write, pair):
    """Cyrillic and Greek."""
    task = from_options(write("d.csv", labelled(*pair, "other")), ["text"], ["label"])
    assert any("look alike" in one for one in task.findings)


@pytest.mark.parametrize("text", ["\U0001fa77", "\ue000", "\U000e0fff"])
def test_characters_that_are_newer_than_python_are_texts(write, text):
    """New emoji, and those for private use."""
    task = from_options(write("d.csv", f"text,label\n{text},a\nx,b\n"), ["text"], ["label"])
    assert task.train_rows == 2


def test_lines_of_json_have_no_header(write):
    """A text of dashes, or with the name of its column, is a text."""
    lines = [
        '{"text": "---", "label": 0}',
        '{"text": "text", "label": 0}',
        '{"text": "x", "label": 1}',
    ]
    task = from_options(write("d.jsonl", "\n".join(lines)), ["text"], ["label"])
    assert task.train_rows == 3


def test_rows_that_are_left_out_define_no_class(write):
    """A class of rows without a text is none, so that the rest are two classes."""
    path = write("d.csv", "text,label\na,x\nb,y\n,z\n")
    assert from_options(path, ["text"], ["label"], positive="x").labels == ("y", "x")


def test_an_encoding_that_gives_control_characters_is_doubted(write):
    """Windows files are often called Latin-1."""
    path = write("d.csv", "text,label\nIt\u2019s \u20ac5,a\nx,b\n".encode("cp1252"))
    task = from_options(path, ["text"], ["label"], encoding="latin-1")
    assert any("gives control characters: cp1252 may be meant" in one for one in task.findings)
