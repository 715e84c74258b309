"""Tables in files: formats, delimiters, encodings, and the messages for what is refused."""

import gzip
import json
import os

import pytest

from harness.tasks.base import Example
from harness.tasks.files.cells import column_name, column_names, joined_names
from harness.tasks.user_files import from_options
from tests.support.user_files import examples, problems


def test_every_format_gives_the_same_examples(write, tmp_path):
    """CSV, TSV, JSON in lines or as one array, and Parquet with the same contents give equal examples."""
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    records = [{"a": "x", "b": "y", "label": 1}, {"a": "z é", "b": "w", "label": 0}]
    parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "d.parquet")
    paths = [
        write("d.csv", "\ufeffa,b,label\nx,y,1\nz é,w,0\n"),
        write("d.tsv", "a\tb\tlabel\r\nx\ty\t1\r\nz é\tw\t0\r\n"),
        write("d.jsonl", "\n".join(json.dumps(record) for record in records)),
        write("d.ndjson", "\n".join(json.dumps(record) for record in records)),
        write("d.json", "\ufeff" + json.dumps(records, indent=2)),
        tmp_path / "d.parquet",
    ]
    for path in paths:
        task = from_options(path, ["a", "b"], ["label"])
        assert task.pair
        assert task.labels == ("0", "1")
        assert task.reader.examples("train", task.reader.revision()) == [
            Example(("x", "y"), 1),
            Example(("z é", "w"), 0),
        ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("text,label\nfine,pos\n,neg\n", "row 2 (line 3), column 'text': no text"),
        ('text,label\nfine,pos\n"a\nb",neg\nx,\n', "row 3 (line 5), column 'label': no label"),
        ("text,label\nfine,pos\nb,pos\n", "every row is of one class ('pos')"),
        ("text,label\nfine,pos\nx,neg,more\n", "row 2 (line 3): 3 columns, but the header has 2"),
        ('text,label\nfine,pos\n"x"y,neg\n', "a field that starts with a quote must end with one"),
        ('text,label\nfine,pos\n"x,neg\n', "row 2 (line 3): unexpected end of data"),
        (
            "Txt,label\nfine,pos\nb,neg\n",
            "no column 'text' (did you mean 'Txt'?); there are Txt, label",
        ),
        ("text,text,label\na,b,c\n", "more than one column is named 'text'"),
        ("text,label\n", "there are no rows"),
        ("", "is empty"),
        (b"text,label\nfi\x00ne,pos\nx,neg\n", "line 2: a NUL byte"),
        ("text,label\na,text\nlabel,b\nc,b,d\n" * 2, "; the same in 1 more row: row 7 (line 8)"),
    ],
)
def test_a_bad_csv_file_is_refused_by_row_and_column(write, content, expected):
    """Each problem is reported with the row, the line of the file and the column."""
    assert expected in problems(write("d.csv", content), ["text"], ["label"], strict=True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"text": "a", "label": "x"}\n{"text": "b"\n', "row 2 (line 2): not valid JSON"),
        ('{"text": "a", "label": "x"}\n\n[1]\n', "row 2 (line 3): not a JSON object"),
        (
            '{"text": "a", "label": "x"}\n{"text": 7, "label": "y"}\n',
            "column 'text': '7' is not a text",
        ),
        (
            '{"text": "a", "label": "x"}\n{"text": "b", "label": null}\n',
            "row 2 (line 2), column 'label': no label",
        ),
        ('{"text": "a", "label": "x"}\n{"label": "y"}\n', "row 2 (line 2), column 'text': no text"),
        (
            '{"text": "a", "label": "x"}\n{"text": "b\\u0000", "label": "y"}\n',
            "row 2 (line 2), column 'text': a NUL character",
        ),
        (
            '{"text": "a", "label": "x"}\n{"text": "b\\ud800", "label": "y"}\n',
            "row 2 (line 2), column 'text': half of a surrogate pair",
        ),
        ("{}\n", "there are no columns"),
    ],
)
def test_a_bad_jsonl_file_is_refused_by_row(write, content, expected):
    """Each problem is reported with the row and the line."""
    assert expected in problems(write("d.jsonl", content), ["text"], ["label"], strict=True)


def test_a_bad_parquet_file_is_refused_by_row(tmp_path):
    """A NUL, a missing text and a number in place of a text are reported by row."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    label = ["x", "y", "x"]
    for text, expected in (
        (["a", "b\0", "c"], "row 2, column 'text': a NUL character"),
        (["a", None, "c"], "row 2, column 'text': no text"),
        ([1, 2, 3], "row 1, column 'text': '1' is not a text"),
    ):
        parquet.write_table(pyarrow.table({"text": text, "label": label}), tmp_path / "d.parquet")
        assert expected in problems(tmp_path / "d.parquet", ["text"], ["label"], strict=True)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_cell_of_ten_megabytes_is_one_text(write, suffix):
    """A cell of ten megabytes is read completely, although the csv module's default limit is 128 kB."""
    long = "word " * (2 << 20)
    lines = {"csv": f"text,label\n{long},pos\nshort,neg\n"}
    lines["jsonl"] = "\n".join(
        json.dumps({"text": text, "label": label})
        for text, label in ((long, "pos"), ("short", "neg"))
    )
    task = from_options(write(f"d.{suffix}", lines[suffix]), ["text"], ["label"])
    rows = task.reader.examples("train", task.reader.revision())
    assert [row.texts for row in rows] == [(long,), ("short",)]


def test_unreadable_files_are_refused(write, tmp_path):
    """A missing file, a folder, an unknown suffix and an invalid Parquet file end in a message."""
    assert "there is no file" in problems(tmp_path / "no.csv", ["text"], ["label"])
    (tmp_path / "f.csv").mkdir()
    assert "cannot read" in problems(tmp_path / "f.csv", ["text"], ["label"])
    assert "must be one of .csv, .tsv, .jsonl, .ndjson, .json, .parquet" in problems(
        write("d.xlsx", "x"), ["text"], ["label"]
    )
    pytest.importorskip("pyarrow")
    assert "not a readable Parquet file" in problems(write("d.parquet", "x"), ["text"], ["label"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text;label\nna ja, gut;pos\nübel;neg\n", "separated by semicolons"),
        ("text\tlabel\nna ja, gut\tpos\nübel\tneg\n", "separated by tabs"),
        ("sep=;\ntext;label\nna ja, gut;pos\nübel;neg\n", ""),
        ('text,label\n"na ja, gut",pos\nübel,neg\n', ""),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_delimiter_and_encoding_are_recognised_and_stated(write, content, said, encoding):
    """Semicolons, tabs, `sep=` lines, UTF-16 and a Western European encoding give the same examples."""
    task = from_options(write("d.csv", content.encode(encoding)), ["text"], ["label"])
    rows = task.reader.examples("train", task.reader.revision())
    assert rows == [Example(("na ja, gut",), 1), Example(("übel",), 0)]
    stated = " ".join(task.findings)
    assert said in stated
    assert ("is read as" in stated) == (not encoding.startswith("utf-8"))


def test_a_named_delimiter_or_encoding_overrules(write):
    """Another delimiter or encoding is another revision; one that does not exist is refused."""
    path = write("d.csv", "text:label\nœuvre:pos\nb:neg\n".encode("cp1252"))
    options = {"delimiter": ":", "encoding": "cp1252"}
    task = from_options(path, ["text"], ["label"], **options)
    assert task.reader.examples("train", task.reader.revision())[0].texts == ("œuvre",)
    other = from_options(path, ["text"], ["label"], **(options | {"encoding": "latin-1"}))
    assert other.reader.revision() != task.reader.revision()
    assert "no encoding 'cp12520'" in problems(path, ["text"], ["label"], encoding="cp12520")
    assert "byte 12 is not utf-8" in problems(path, ["text"], ["label"], encoding="utf-8")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "The café was great, but the naïve waiter – he said “no” – wasn’t. ¿Qué? 5°C"),
        ("cp1250", "To był świetny film, żałuję, że tak późno go zobaczyłem. Łódź i gęś."),
        ("cp1252", "Una col·lecció «molt» bonica: l’any 1990, 1½ h, 50 µm, nº 3, S’ha acabat!"),
        ("iso8859-2", "To był świetny film, żałuję, że tak późno go zobaczyłem. Łódź i gęś."),
        ("iso8859-2", "Příliš žluťoučký kůň úpěl ďábelské ódy, a šašek se těšil na ještě víc."),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy, a šašek se těšil na ještě víc."),
        ("cp1251", "Это очень хороший фильм, я его рекомендую всем друзьям."),
        ("gb18030", "这部电影非常好看，我推荐给所有朋友。"),
    ],
)
def test_other_encodings_are_recognised(write, encoding, text):
    """Western and Central European, Russian and Chinese texts are read as they were written."""
    path = write("d.tsv", f"text\tlabel\n{text}\ta\nx\tb\n".encode(encoding))
    task = from_options(path, ["text"], ["label"])
    rows = task.reader.examples("train", task.reader.revision())
    assert rows[0].texts == (text,)


def test_columns_are_named_as_in_a_csv_row(write):
    """A name with a comma is quoted; columns without a name, from trailing delimiters, do not matter."""
    assert column_names('"text, clean", b') == ["text, clean", "b"]
    for names in (["a", "b"], ["text, clean", "b"], ['"q" text'], ['a "b", c', "d"]):
        assert column_names(joined_names(names)) == names
    path = write("d.csv", '"text, clean",label,,\nfine,pos,,\nbad,neg,,\n')
    assert from_options(path, ["text, clean"], ["label"]).train_rows == 2


def test_one_broken_byte_does_not_change_the_encoding(write):
    """A file that is UTF-8 but for one byte is refused by line, and not read as something else."""
    lines = "".join(f"café très bon n{n},{'négatif' if n % 2 else 'positif'}\n" for n in range(20))
    message = problems(
        write("d.csv", f"text,label\n{lines}".encode() + b"caf\xe9,positif\n"), ["text"], ["label"]
    )
    assert "line 22: byte 0xe9 is not UTF-8" in message


def test_naming_what_is_recognised_makes_no_other_task(write):
    """A delimiter or an encoding that is recognised anyway, in any spelling, leaves the revision as it is."""
    path = write("d.csv", "text;label\nœuvre;pos\nb;neg\n")
    plain = from_options(path, ["text"], ["label"]).reader.revision()
    for options in ({"delimiter": ";"}, {"encoding": "UTF8"}, {"encoding": "utf-8-sig"}):
        assert from_options(path, ["text"], ["label"], **options).reader.revision() == plain


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "d.csv",
            gzip.compress(b"text,label\na,b\n", mtime=0),
            "is compressed by gzip: unpack it first",
        ),
        (
            "d.csv.gz",
            gzip.compress(b"text,label\n", mtime=0),
            "is compressed by gzip: unpack it first",
        ),
        ("d.xlsx", b"PK\x03\x04rest", "is an Excel file or a ZIP archive: save the table as CSV"),
        ("d.json", b'[{"text": "a"}, 7]', "row 2: not a JSON object"),
        ("d.json", b'[{"text": "a"}, {]', "d.json: not valid JSON (Expecting property name"),
        ("d.json", b"{}", "there are no columns"),
        ("d.csv", b"PK\x03\x04rest", "is an Excel file or a ZIP archive: save the table as CSV"),
        ("d.jsonl", b"PAR1rest", "is a Parquet file: give it the suffix .parquet"),
        (
            "d.jsonl",
            b'{\n"text": "a",\n"label": "b"\n}\n',
            "write one object in each line",
        ),
        (
            "d.jsonl",
            b'{"text": "a", "label": "b", "label": "c"}\n',
            "row 1 (line 1): not valid JSON (the key 'label' occurs twice)",
        ),
    ],
    ids=[
        "gzip",
        "gz",
        "xlsx",
        "not-an-object",
        "broken-array",
        "one-object",
        "workbook",
        "parquet",
        "several-lines",
        "repeated-key",
    ],
)
def test_a_file_of_another_kind_is_named(write, name, content, said):
    """Compressed files, workbooks, broken arrays, objects over several lines and keys that occur twice."""
    assert said in problems(write(name, content), ["text"], ["label"])


@pytest.mark.parametrize("encoding", ["utf-32", "utf-16-le", "utf-16-be", "utf-16"])
@pytest.mark.parametrize("text", ["Это хороший фильм", "这部电影非常好看", "a fine film"])
def test_texts_of_two_or_four_bytes_are_recognised(write, encoding, text):
    """UTF-16 is recognised in texts that are not Latin too, and UTF-32 by its mark."""
    content = f"text,label\n{text},a\nx,b\n{text} 2,a\n".encode(encoding)
    assert examples(from_options(write("d.csv", content), ["text"], ["label"]))[0].texts == (text,)


def test_spaces_between_a_delimiter_and_a_quote_do_not_reach_a_class(write):
    """` "pos"` is the class `pos`, and the task says so; a quote inside a quoted text changes nothing."""
    path = write("d.csv", 'text, label\n"a, b", "pos"\nc, "neg"\n')
    task = from_options(path, ["text"], ["label"])
    assert examples(task) == [Example(("a, b",), 1), Example(("c",), 0)]
    assert any("between a delimiter and a quote are skipped" in one for one in task.findings)
    plain = write("e.csv", 'text,label\n"he said, ""no""",pos\nc,neg\n')
    assert examples(from_options(plain, ["text"], ["label"]))[0].texts == ('he said, "no"',)


def test_only_the_misspelt_column_is_missing(write):
    """The delimiter is the one that gives most of the columns; a list of columns is short and escaped."""
    message = problems(write("d.csv", "text;label\na;b\nc;d\n"), ["text"], ["labl"])
    assert message.count("no column") == 1
    assert "no column 'labl' (did you mean 'label'?); there are text, label" in message
    message = problems(write("e.csv", "Text;Label\na;b\nc;d\n"), ["review"], ["stars"])
    assert "there are Text, Label" in message
    wide = ",".join(["te\x1bxt", *(f"c{n}" for n in range(100))])
    message = problems(write("f.csv", f"{wide}\n{wide}\n"), ["review"], "c1")
    assert r"there are te\x1bxt, c0" in message
    assert "and 81 more" in message


def test_columns_that_nobody_reads_may_be_odd(write, tmp_path):
    """A repeated name, a missing name or a time zone that is unknown here does not refuse the file."""
    assert examples(
        from_options(
            write("d.csv", "text,x,x,,,label\na,1,2,3,4,p\nb,1,2,3,4,n\n"), ["text"], ["label"]
        )
    ) == [Example(("a",), 1), Example(("b",), 0)]
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    zoned = pyarrow.array([0, 1], pyarrow.timestamp("us", tz="Mars/Olympus"))
    table = pyarrow.table({"text": ["a", "b"], "label": ["p", "n"], "at": zoned})
    parquet.write_table(table, tmp_path / "d.parquet")
    assert len(examples(from_options(tmp_path / "d.parquet", ["text"], ["label"]))) == 2
    twice = pyarrow.Table.from_arrays([pyarrow.array(["a", "b"])] * 2, names=["text", "text"])
    parquet.write_table(twice, tmp_path / "e.parquet")
    assert "more than one column is named 'text'" in problems(
        tmp_path / "e.parquet", ["text"], ["label"]
    )


def test_a_guessed_encoding_is_called_a_guess(write):
    """The note shows a word as it was read, so that a reader sees a wrong guess."""
    path = write("d.csv", "text,label\nçok güzel,başarılı\nx,b\n".encode("cp1254"))
    (note,) = (one for one in from_options(path, ["text"], ["label"]).findings if "guess" in one)
    assert "read as cp1252, a guess (for example 'baþarýlý')" in note
    assert "--encoding names another" in note


def test_quotes_that_join_lines_of_a_tab_file_are_a_finding(write):
    """Unquoted texts that begin and end with a quote swallow the rows between them."""
    path = write("d.tsv", 'text\tlabel\n"Great\tp\nsecond\tn\nthe end"\tp\nlast\tn\n')
    findings = from_options(path, ["text"], ["label"]).findings
    assert any(
        "1 row with lines inside quotes that look like rows (row 1 (line 2))" in one
        for one in findings
    )


def test_lines_of_spaces_and_the_end_mark_of_dos_are_blank(write):
    """They are no rows, and cost nothing."""
    path = write("d.csv", "text,label\na,p\n   \nb,n\n\x1a")
    assert len(examples(from_options(path, ["text"], ["label"]))) == 2


@pytest.mark.parametrize("first", ['"sep=;"', "sep=;;", "SEP=;"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_line_of_excel_names_the_delimiter(write, first, end):
    """With quotes, with trailing delimiters and with every kind of line end."""
    path = write("d.csv", end.join([first, "text;label", "a, b;p", "c;n", ""]))
    assert examples(from_options(path, ["text"], ["label"]))[0].texts == ("a, b",)


def test_one_column_may_be_named_with_quotes_and_commas():
    """`--label` and `--group` take one name; only quotes around the whole name are removed."""
    assert [column_name(text) for text in ('"label, x"', "label, x", " label ", 'a"b')] == [
        "label, x",
        "label, x",
        "label",
        'a"b',
    ]


def test_a_pipe_is_not_a_file(tmp_path):
    """It is refused at once: reading it would wait for ever."""
    os.mkfifo(tmp_path / "d.csv")
    assert "is not a file but a pipe" in problems(tmp_path / "d.csv", ["text"], ["label"])


def test_parquet_cells_are_read_as_they_are_meant(tmp_path):
    """Renamed columns, numbers of single precision and dates beyond the year 9999 are read."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    late = pyarrow.array([253402300800000, 0, 1], pyarrow.timestamp("ms"))
    columns = [pyarrow.array(["a", "b", "c"]), pyarrow.array(["p", "q", "r"]), late,
               pyarrow.array([0.1, 0.2, 0.1], pyarrow.float32())]  # fmt: skip
    table = pyarrow.Table.from_arrays(columns, names=["a", "a", "", "y"])
    path = tmp_path / "d.parquet"
    parquet.write_table(table, path)
    task = from_options(path, ["a 2"], ["y"], kind="classes", group="column 3")
    assert task.labels == ("0.1", "0.2")
    assert [row.texts for row in examples(task)] == [("p",), ("q",), ("r",)]
    assert examples(task)[0].group == "253402300800000"


def test_objects_without_a_key_are_rows(write):
    """They are counted among the rows without text."""
    path = write("d.jsonl", '{"text": "a", "label": "x"}\n{}\n{"text": "b", "label": "y"}\n')
    (finding,) = from_options(path, ["text"], ["label"]).findings
    assert "1 row left out: 1 without text (row 2 (line 2))" in finding


def test_rows_that_quotes_have_joined_are_noticed(write):
    """A text that begins with a quote can hold the next rows; one message has the note and what is wrong."""
    rows = "".join(f"fine {n},{'pos' if n % 2 else 'neg'}\n" for n in range(6))
    path = write("d.csv", f'text,label\n"tis good,pos\nmonitor 15",neg\n{rows}')
    (finding,) = from_options(path, ["text"], ["label"]).findings
    assert "1 row with lines inside quotes that look like rows (row 1 (line 2))" in finding
    plain = write("e.csv", f'text,label\n"a, b\nc, d",neg\n{rows}')
    assert not from_options(plain, ["text"], ["label"]).findings
    tabs = write("d.tsv", 'text\tlabel\n"tis good\tpos\nmonitor 15"\tpos\nfine\tpos\n')
    message = problems(tabs, ["text"], ["label"])
    assert "every row is of one class" in message
    assert "note: d.tsv: 1 row with lines inside quotes that look like rows" in message


def test_a_named_encoding_that_the_bytes_contradict_is_doubted(write):
    """A test file in UTF-8 is read as named, and the note shows how."""
    train = write("d.csv", "text,label\na,x\nb,y\n")
    test = write("t.csv", "text,label\nnaïve,x\nb,y\n".encode())
    task = from_options(train, ["text"], ["label"], test=test, encoding="cp1252")
    assert any("is read as cp1252" in one and "looks like UTF-8" in one for one in task.findings)


def test_the_test_file_is_described_like_the_training_file(write):
    """Numbers that look like thousands, and texts with letters that were lost, are named in either file."""
    train = write("d.csv", "text,label\na,0.5\nb,1.5\n")
    test = write("t.csv", "text,label\na\ufffdb,1.234\nb,2.000\n")
    findings = " ".join(from_options(train, ["text"], ["label"], test=test, kind="number").findings)
    assert "t.csv, column 'label': '1.234' is read as 1.234, with a decimal point" in findings
    assert "t.csv: 1 text with U+FFFD" in findings


def test_texts_that_programs_write_for_no_text_are_named(write):
    """They are kept, and one sentence counts them."""
    path = write("d.csv", "text,label\nnan,x\nNone,y\nfine,x\n")
    (finding,) = from_options(path, ["text"], ["label"]).findings
    assert "2 texts such as 'nan', 'None', which programs write for no text" in finding


def test_a_group_of_all_rows_is_refused(write):
    """All rows would be held out together."""
    path = write("d.csv", "text,label,author\na,x,me\nb,y,me\n")
    assert "every row has the same value of 'author'" in problems(
        path, ["text"], ["label"], group="author"
    )


def test_numbers_beyond_all_measure_are_refused(write):
    """Their squares have no sum."""
    path = write("d.csv", "text,label\na,1e308\nb,1\n")
    assert "'1e308' is too large to be learned" in problems(
        path, ["text"], ["label"], kind="number"
    )


def test_a_file_of_one_column_asks_for_the_delimiter(write):
    """The message names the option and not a similar name."""
    assert "see --delimiter" in problems(
        write("d.csv", "text:label\na:x\nb:y\n"), ["text"], ["label"]
    )
