"""Files as people and programs write them at times: each is read as a careful person would, or refused."""

import json

import numpy
import pytest

from harness.tasks.files import decoding
from harness.tasks.label_parser import as_list
from harness.tasks.user_files import from_options
from tests.support.user_files import examples, problems


def test_thousands_with_points_are_refused_with_a_hint(write):
    """A price of several groups is not a number; the message says how to write it."""
    said = problems(write("d.csv", "text,label\na,1.250.000\nb,2.300.000\nc,950.000\n"), ["text"], ["label"],
                    kind="number")  # fmt: skip
    assert "'1.250.000' is not a finite number: write numbers without thousands separators" in said


@pytest.mark.parametrize(
    "cell", [r"['C:\Users']", r"['\x' 'b']", r"['N\N']", "['a\nb']", "['a\0']"]
)
def test_a_quoted_text_that_is_no_literal_is_no_list(cell):
    """An escape that Python refuses, a line break or a NUL: the cell is a text."""
    assert as_list(cell) is None


SWALLOWED = {
    "numbers": (
        'text\tlabel\n"I went home.\t0.31\nThen I slept."\t0.72\nOther\t0.55\nMore\t0.93\n',
        "number",
    ),
    "blank": ('text\tlabel\n"hello\tpos\nmid\t\nbye"\tneg\nOther\tpos\nMore\tneg\n', "classes"),
    "other classes": ('text\tlabel\n"a\tone\nb\ttwo\nc\tthree\nd"\tfour\nOther\tfive\n', "classes"),
}


@pytest.mark.parametrize("name", SWALLOWED)
def test_rows_inside_a_quote_are_noted(write, name):
    """An opening quote that swallows rows is a finding, whatever their labels are."""
    content, kind = SWALLOWED[name]
    task = from_options(write("d.tsv", content), ["text"], ["label"], kind=kind)
    assert any("with lines inside quotes that look like rows" in one for one in task.findings)


def test_rows_that_skipped_spaces_join_are_noted(write):
    """Quotes behind spaces can swallow rows with commas, whose numbers are like those of the column."""
    path = write("d.csv", 'label, text\n1.25, "he said\n2.75, she said"\n3.5, ok\n4.125, no\n')
    task = from_options(path, ["text"], ["label"], kind="number")
    assert any("look like rows" in one for one in task.findings)


def test_texts_of_several_lines_are_not_taken_for_rows(write):
    """Commas in verse, recipes and letters are no columns."""
    texts = [
        "Dear Ann,\nthank you, really,\nyours, Tom",
        "Ingredients:\nflour, eggs, milk\nsalt",
        "one\ntwo",
    ]
    rows = "".join(f'"{text}",{label}\n' for text, label in zip(texts * 3, "xyx" * 3, strict=True))
    task = from_options(write("d.csv", f"text,label\n{rows}"), ["text"], ["label"])
    assert not any("look like rows" in one for one in task.findings)


@pytest.mark.parametrize(
    "content",
    [
        "| text | label |\n|------|:-----:|\n| good | pos |\n| bad | neg |\n",
        "text,label,note\n---,---,\na,x,\nb,y,\n",
    ],
    ids=["outer bars", "empty last column"],
)
def test_a_line_under_the_header_may_have_empty_cells(write, content):
    """It is left out, and said to be."""
    task = from_options(write("d.csv", content), ["text"], ["label"])
    assert len(examples(task)) == 2
    assert any("the line under the header is left out" in one for one in task.findings)


def slow_contents():
    wide = ",".join(f'"k{n}":1' for n in range(30_000))
    yield "d.json", f'{{{wide},"k29999":2}}'
    yield (
        "d.csv",
        "text,label" + "," * 30_000 + "\na,x" + "," * 30_000 + "\nb,y" + "," * 30_000 + "\n",
    )
    yield "d.csv", "text,label\n" + "~{" * 50_000 + ",x\nb,y\n"
    yield "d.csv", "text,label\na,[" + " " * 100_000 + 'x\nb,"[""c""]"\n'
    yield (
        "d.jsonl",
        "\n".join(json.dumps({"text": f"t{n}", "label": f"c{n}" + "xyz" * 65}) for n in range(200)),
    )


@pytest.mark.parametrize(
    ("name", "content"), slow_contents(), ids=["keys", "columns", "hz", "spaces", "names"]
)
def test_files_with_long_repetitions_are_refused(write, name, content):
    """Patterns and comparisons that took squares of a file's size took a minute, or an hour, for these."""
    said = problems(write(name, content), ["text"], ["label"], kind="multilabel")
    assert "is not a list of classes" in said or "the key 'k29999' occurs twice" in said


def test_a_long_field_is_read_at_the_first_call_as_at_the_second(write):
    """Quotes behind spaces are recognised in files with a field of more than 131,072 characters."""
    path = write("d.csv", 'text, label\n"a, b", "x"\n"c, d", "y"\n"' + "w " * 70_000 + '", "x"\n')
    assert [row.label for row in examples(from_options(path, ["text"], ["label"]))] == [0, 1, 0]


def test_nan_is_no_text(write):
    """Pandas writes NaN for a missing text: the row is left out and counted."""
    path = write(
        "d.json", '[{"text":"a","label":"x"},{"text":NaN,"label":"y"},{"text":"c","label":"y"}]'
    )
    task = from_options(path, ["text"], ["label"])
    assert len(examples(task)) == 2
    assert any("1 without text (row 2)" in one for one in task.findings)


def test_names_have_no_outer_spaces_in_any_format(write):
    """In JSON as in CSV, `text ` is the column text."""
    path = write("d.jsonl", '{"text ":"a"," label":"x"}\n{"text ":"b"," label":"y"}\n')
    assert len(examples(from_options(path, ["text"], ["label"]))) == 2


@pytest.mark.parametrize(
    "content",
    [
        '"text"\t"label"\n"1"\t"good"\t"pos"\n"2"\t"bad"\t"neg"\n',
        "id,text,label\n1,Smith, John,en\n2,Dupont, Marie,fr\n3,Brown, Ann,en\n",
        "id,text,label\n1,0,5,p\n2,0,7,n\n3,0,9,p\n",
        "id,text,label,notes\n1,good,p,ok,\n2,bad,n,ok,\n3,fine,p,no,\n",
    ],
    ids=["R", "names", "decimals", "trailing"],
)
def test_rows_with_a_column_too_many_are_refused(write, content):
    """Nobody knows which column is too many; the message names the usual causes."""
    said = problems(write("d.csv", content), ["text"], ["label"])
    assert "a delimiter inside a cell without quotes, or row names that R writes" in said


def test_a_header_in_another_order_is_refused(write):
    """Joined files with other columns would swap texts and labels."""
    said = problems(write("d.csv", "text,label\na,x\nb,y\nlabel,text\nx,c\n"), ["text"], ["label"])
    assert (
        "row 3 (line 4): names the columns in another order: put the columns of joined files into one order"
        in said
    )


def test_marks_for_no_value_among_numbers_have_a_hint(write):
    """R writes NA: the message says to leave the cell empty."""
    said = problems(
        write("d.csv", "text,label\na,1.5\nb,NA\nc,2\n"), ["text"], ["label"], kind="number"
    )
    assert "'NA' is not a finite number: leave the cell empty if there is no value" in said


def test_seven_bit_chinese_is_still_recognised():
    """The faster pattern finds the pairs of HZ."""
    assert decoding._seven_bit("label,text\n1,~{<:Ky2;PTPW~}\n".encode("ascii")) == "hz"


NOTED = "with lines inside quotes that look like rows"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", 'text;label\n"Schöne Ware\nGerne wieder";gut\n"Nie\nwieder";schlecht\nok;gut\n'),
        ("d.csv", 'label;text\np;"Hello\nthere"\nn;"bye\nnow"\np;ok\n'),
        ("d.tsv", 'label\ttext\np\t"two\nlines"\nn\tone\n'),
        ("d.csv", 'text,label\n"Dear Ann,\nyours, Tom",p\n"a, b\nc, d",n\nx,p\n'),
    ],
    ids=["semicolons", "text last", "tabs", "commas"],
)
def test_texts_of_two_lines_raise_no_alarm(write, name, content):
    """Spreadsheets write such cells; the advice to double quotes would destroy the file."""
    task = from_options(write(name, content), ["text"], ["label"])
    assert not any(NOTED in one for one in task.findings)


def test_a_file_full_of_addresses_is_read_at_once_and_without_alarm(write):
    """Where many cells have lines with numbers, texts of several lines are normal."""
    rows = "".join(
        f'"{n} Main Street Springfield, {10_000 + n}\nUSA",{100_000 + 37 * n}\n'
        for n in range(4_000)
    )
    task = from_options(write("d.csv", f"text,label\n{rows}"), ["text"], ["label"], kind="number")
    assert len(examples(task)) == 4_000
    assert not any(NOTED in one for one in task.findings)


def test_rows_in_a_quote_are_told_by_columns_that_no_task_needs(write):
    """A column of numbers in front of source and reference shows that a quote swallowed rows."""
    content = 'id,src,ref\n1,"Hello,Bonjour\n2,How are you,Comment\n3,Thanks",Merci\n4,Bye,Adieu\n5,Yes,Oui\n'
    task = from_options(write("d.csv", content), ["src"], ["ref"], kind="text")
    assert any(NOTED in one for one in task.findings)


@pytest.mark.parametrize(
    "cells", [("['a b', 'c']", "['d']"), ('["a b", "c"]', '["d"]')], ids=["Python", "JSON"]
)
def test_a_cell_with_a_list_has_several_references(write, cells):
    """Pandas writes lists of texts so, and `--kind multilabel` reads them so."""
    first, second = (cell.replace('"', '""') for cell in cells)
    path = write("d.csv", f'src,refs\nx,"{first}"\ny,"{second}"\nz,[]\n')
    task = from_options(path, ["src"], ["refs"], kind="text")
    assert [row.references for row in examples(task)] == [("a b", "c"), ("d",)]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (r'["and\/or"]', ["and/or"]),
        (r'["\ud83d\ude00 joy"]', ["😀 joy"]),
        ("[0 1 0]", [0, 1, 0]),
        ("[1. 2.5]", [1.0, 2.5]),
        ("['a' 'b']", ["a", "b"]),
        ('{"choices":["p","n"]}', ["p", "n"]),
        ("[sic] fine", None),
        ("{not json}", None),
    ],
)
def test_lists_are_read_as_their_program_meant_them(cell, expected):
    """JSON before Python, NumPy's numbers, and the choices of Label Studio."""
    assert as_list(cell) == expected


def test_an_object_in_a_cell_is_no_class(write):
    """A cell of CSV that holds a JSON object is refused by row, as in JSON."""
    content = 'text,label\ngood,p\nbad,"{""choices"":[""p"",""n""]}"\nok,n\n'
    said = problems(write("d.csv", content), ["text"], ["label"], kind="classes")
    assert "row 2 (line 3), column 'label': an object is not a label" in said


def test_odd_sources_and_references_are_findings(write):
    """Marks for no value, letters that were lost, and sources that occur twice."""
    path = write("d.csv", "src,ref\nHello,#N/A\nBye,NULL\nSame,caf\ufffd\nSame,other\n")
    findings = " ".join(from_options(path, ["src"], ["ref"], kind="text").findings)
    assert "2 texts such as '#N/A', 'NULL', which programs write for no text" in findings
    assert "1 text with U+FFFD" in findings
    assert "1 row with the source of another row" in findings


@pytest.mark.parametrize(
    ("label", "hint"),
    [
        ("1,234", "without thousands separators"),
        ("1\u00a0234", "without thousands separators"),
        ("$5.00", "write a plain number such as 1234.5"),
        ("50%", "write a plain number such as 1234.5"),
    ],
)
def test_an_amount_among_numbers_has_a_hint_that_keeps_its_value(write, label, hint):
    """Whoever follows the hint does not write 1.234 for 1,234."""
    path = write("d.csv", f'text,label\na,1\nb,2\nc,"{label}"\nd,2.5\n')
    assert hint in problems(path, ["text"], ["label"], kind="number").partition("row 3")[2]


DIALOGUE = [
    ('"I am tired.', "sad"), ('I will sleep."', "neutral"), ('"Go away!', "angry"), ('I hate you."', "angry"),
    ('"Nice day.', "happy"), ('Let us walk."', "happy"), ("He smiled.", "happy"), ("She wept.", "sad"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "delimiter"), [("d.tsv", "\t"), ("d.csv", ","), ("e.csv", ";")])
def test_many_swallowed_rows_are_noted_as_few_are(write, name, delimiter):
    """Quotes of a dialogue join half of the rows; however many there are, a note names the first."""
    lines = [delimiter.join(("text", "label")), *(delimiter.join(row) for row in DIALOGUE * 3)]
    task = from_options(write(name, "\n".join(lines)), ["text"], ["label"])
    assert any(f"9 rows {NOTED}" in finding for finding in task.findings)


@pytest.mark.parametrize(
    ("content", "label", "kind"),
    [
        ('text;score\n"Good.;4,5\nBuy again.";4,0\nBroken;1,25\nOkay;3,1\n', "score", "number"),
        ('id,text,tgt\nde-001,"He said: I go.,Er\nde-002,Then he left.",Dann\nde-003,Good,Gut\n', "tgt", "text"),
        ('text;tgt\n"He said: I go.;Er sagt.\nThen he left.";Dann.\nGood;Gut\n', "tgt", "text"),
        ('text|tgt\n"He said: I go.|Er sagt.\nThen he left."|Dann.\nGood|Gut\n', "tgt", "text"),
        ('text,tgt,user\n"Hello,Bonjour,bob\nHow are you,Comment,ann\nThanks",Merci,eve\nBye,Adieu,k\n', "tgt", "text"),
    ],
)  # fmt: skip
def test_swallowed_rows_are_noted_by_the_shape_of_their_cells(write, content, label, kind):
    """Decimal commas, ids of letters and digits, texts between semicolons or bars, and lines with all columns."""
    task = from_options(write("d.csv", content), ["text"], [label], kind=kind)
    assert any(NOTED in finding for finding in task.findings)


@pytest.mark.parametrize("quote", ['"', ""])
def test_files_joined_with_their_marks_have_one_header(write, quote):
    """The byte order mark and the header of a second file are left out, with quotes or without."""
    lines = [("text", "label"), ("good", "pos"), ("bad", "neg")]
    part = "\ufeff" + "".join(
        ",".join(f"{quote}{cell}{quote}" for cell in row) + "\r\n" for row in lines
    )
    task = from_options(write("d.csv", part * 2), ["text"], ["label"])
    assert task.labels == ("neg", "pos")
    assert [row.texts[0] for row in examples(task)] == ["good", "bad", "good", "bad"]
    assert any("repeating the header" in finding for finding in task.findings)


@pytest.mark.parametrize("indent", [None, 1])
def test_an_object_with_one_array_is_a_table(write, indent):
    """`{"data": [...]}` is read, on one line and on several, and the key is named."""
    rows = [{"text": "good", "label": "p"}, {"text": "bad", "label": "n"}]
    path = write("d.json", json.dumps({"data": rows}, indent=indent))
    task = from_options(path, ["text"], ["label"])
    assert [row.texts[0] for row in examples(task)] == ["good", "bad"]
    assert any("the rows are those of the array 'data'" in finding for finding in task.findings)


def test_numbers_of_half_precision_keep_their_digits(tmp_path):
    """A column of float16 holds 0.1, and not 0.0999755859375."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    numbers = pa.array(numpy.array([0.1, 2.5, 3.3], dtype="float16"))
    pq.write_table(pa.table({"text": ["a", "b", "c"], "label": numbers}), tmp_path / "d.parquet")
    task = from_options(tmp_path / "d.parquet", ["text"], ["label"], kind="number")
    assert [row.label for row in examples(task)] == [0.1, 2.5, 3.3]


@pytest.mark.parametrize("end", ["\x1a", "\n\x1a", "\r\n\x1a"])
def test_a_control_z_at_the_end_is_no_text(write, end):
    """Also directly after a closing quote."""
    task = from_options(write("d.csv", f'text,label\na,x\n"b, c","y"{end}'), ["text"], ["label"])
    assert [(row.texts[0], row.label) for row in examples(task)] == [("a", 0), ("b, c", 1)]


def test_an_empty_cell_of_parquet_stays_empty(tmp_path):
    """Also in a column of dates with one beyond the year 9999, whose stored integers are texts."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    days = pa.array([2**30, 2, None, 2], pa.date32())
    columns = {"text": ["a b", "c d", "e f", "g h"], "label": ["x", "y", "x", "y"], "g": days}
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    task = from_options(tmp_path / "d.parquet", ["text"], ["label"], group="g")
    assert [row.group for row in examples(task)] == [str(2**30), "2", "", "2"]


def test_cells_that_are_read_as_lists_of_references_are_counted(write):
    """An answer that is a list itself is taken apart, and a finding says so."""
    path = write("d.csv", 's,r\na,"[""x"", ""y""]"\nb,z\n')
    task = from_options(path, ["s"], ["r"], kind="text")
    assert [row.references for row in examples(task)] == [("x", "y"), ("z",)]
    assert any('1 cell such as \'["x", "y"]\' is read as a list' in one for one in task.findings)


def test_a_swallowed_class_that_is_new_does_not_hide_a_known_one(write):
    """Of two swallowed rows, one has a class that no other row has; the other shows what happened."""
    rows = [
        "lovely,joy",
        "slammed,anger",
        "smiled,joy",
        "hate,anger",
        '"I miss her,grief',
        "gone,joy",
        'cares.",anger',
    ]
    task = from_options(write("d.csv", "\n".join(["text,label", *rows])), ["text"], ["label"])
    assert any(NOTED in finding for finding in task.findings)


@pytest.mark.parametrize(
    "lines",
    [
        ['"line one\nline two",pos', '"good" movie,neg', "fine,pos"],
        ['"two\nlines",pos', '"She said \\"no\\", he left",neg', "ok,pos"],
        ['"a\nb",x', '"c,y'],
    ],
    ids=["text after a quote", "backslashes", "cut off"],
)
def test_a_malformed_quote_after_a_line_break_in_quotes_is_refused(write, lines):
    """The message is that of the same file without the line break, also for a test file."""
    bad = "\n".join(["text,label", *lines])
    assert "a field that starts with a quote must end with one" in problems(
        write("d.csv", bad), ["text"], ["label"]
    )
    good = write("good.csv", "text,label\na,pos\nb,neg\nc,x\nd,y\n")
    assert "a field that starts" in problems(good, ["text"], ["label"], test=write("t.csv", bad))


@pytest.mark.parametrize("kind", ["text", "classes", "number", "multilabel"])
def test_a_mistyped_text_column_is_named(write, kind):
    """Whatever the labels are, the message names the column and a likely one."""
    path = write("d.csv", "source,target\nhello there,1\ngood bye,2\nthanks,3\n")
    said = problems(path, ["sourse"], ["target"], kind=kind)
    assert "no column 'sourse' (did you mean 'source'?)" in said
    test = write("t.csv", "src,target\nhello,1\n")
    assert "no column 'source'" in problems(path, ["source"], ["target"], kind=kind, test=test)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("id,text,label", "text,id,label"),
        ("text,label,source", "text,source,label"),
        ("text,title,label", "title,text,label"),
        ("text,label,n", "label,text,m"),
    ],
)
def test_joined_files_with_their_columns_in_another_order_are_refused(write, first, second):
    """Also where a column that is not needed changes places, or has another name in the second file."""
    rows = [f"{n} one,{n} two,{n} three" for n in range(3)]
    path = write("d.csv", "\n".join([first, *rows, second, *rows]))
    assert "row 4 (line 5): names the columns in another order" in problems(
        path, ["text"], ["label"]
    )


def test_a_repeated_header_is_left_out_whatever_it_calls_the_other_columns(write):
    """Other columns, that of the groups too, may have another name or place in the second file."""
    text = "text,label,g,x\na,p,1,2\nb,n,2,2\ntext,label,user,y\nc,p,3,1\nd,n,4,1\n"
    task = from_options(write("d.csv", text), ["text"], ["label"], group="g")
    assert [row.texts[0] for row in examples(task)] == ["a", "b", "c", "d"]
    assert any("header" in finding for finding in task.findings)


@pytest.mark.parametrize("count", [1, 2, 17, 50, 51, 400])
def test_nul_bytes_at_the_end_are_named_at_their_line(write, count):
    """They are what a crash leaves, and no sign of UTF-16."""
    text = "text,label\ngood one,pos\nbad one,neg\nnice thing,pos\n" + "\0" * count
    said = problems(write("d.csv", text), ["text"], ["label"])
    assert "line 5" in said
    assert "NUL" in said
