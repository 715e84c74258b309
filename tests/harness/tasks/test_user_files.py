"""Tasks from the user's files: what is read, and the messages for what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sklearn.metrics import f1_score

from harness.errors import CorruptData, UsageError
from harness.tasks.base import Example
from harness.tasks.metrics import compute
from harness.tasks.table_files import column_names
from harness.tasks.user_files import from_options, from_toml

GOOD = 'text,label\nfine,pos\n"bad, \nreally",neg\nnice,pos\n'


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def to(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to


def problems(*args, **kwargs) -> str:
    with pytest.raises(UsageError) as caught:
        from_options(*args, **kwargs)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_csv_file_becomes_a_task(write):
    """Classes are the sorted distinct labels, examples keep their order, and quoted fields can span lines."""
    task = from_options(write("reviews.csv", GOOD), ["text"], "label")
    assert (task.name, task.labels, task.metrics, task.holdout, task.train_rows) == (
        "reviews",
        ("neg", "pos"),
        ("accuracy",),
        True,
        3,
    )
    rows = task.reader.examples("train", task.reader.revision())
    assert rows == [Example(("fine",), 1), Example(("bad, \nreally",), 0), Example(("nice",), 1)]


def test_every_format_gives_the_same_examples(write, tmp_path):
    """CSV, TSV, JSONL and Parquet with the same contents give equal examples, with or without a byte order mark."""
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    records = [{"a": "x", "b": "y", "label": 1}, {"a": "z é", "b": "w", "label": 0}]
    parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "d.parquet")
    paths = [
        write("d.csv", "\ufeffa,b,label\nx,y,1\nz é,w,0\n"),
        write("d.tsv", "a\tb\tlabel\r\nx\ty\t1\r\nz é\tw\t0\r\n"),
        write("d.jsonl", "\n".join(json.dumps(record) for record in records)),
        tmp_path / "d.parquet",
    ]
    for path in paths:
        task = from_options(path, ["a", "b"], "label")
        assert task.pair
        assert task.labels == ("0", "1")
        assert task.reader.examples("train", task.reader.revision()) == [
            Example(("x", "y"), 1),
            Example(("z é", "w"), 0),
        ]


def test_labels_are_read_as_numbers_on_request(write):
    """A regression has one output, correlations as metrics and numbers as labels."""
    task = from_options(
        write("d.csv", "text,label\na,0.5\nb,-2e1\n"), ["text"], "label", regression=True
    )
    assert task.regression
    assert task.metrics == ("pearson", "spearman")
    assert [row.label for row in task.reader.examples("train", task.reader.revision())] == [
        0.5,
        -20.0,
    ]


def test_many_distinct_numbers_are_ambiguous(write):
    """More than 20 distinct numbers are refused until the user names the kind of label."""
    path = write("d.csv", "text,label\n" + "".join(f"t{number},{number}\n" for number in range(21)))
    assert "pass `--kind number` or `--kind classes`" in problems(path, ["text"], "label")
    assert from_options(path, ["text"], "label", regression=True).outputs == 1
    assert from_options(path, ["text"], "label", regression=False).outputs == 21


def test_a_test_file_replaces_the_holdout(write):
    """With a test file nothing is held out, and its labels have the class numbers of the training file."""
    task = from_options(
        write("a.csv", GOOD), ["text"], "label", test=write("b.csv", "label,text\npos,t\n")
    )
    assert not task.holdout
    assert task.reader.examples(task.tests[""], task.reader.revision()) == [Example(("t",), 1)]


def test_the_revision_depends_on_the_bytes(write):
    """A changed file has another revision, and the old revision can no longer be read."""
    path = write("a.csv", GOOD)
    reader = from_options(path, ["text"], "label").reader
    before = reader.revision()
    assert before == reader.revision()
    write("a.csv", GOOD + "more,neg\n")
    assert reader.revision() != before
    with pytest.raises(CorruptData, match="changed"):
        reader.examples("train", before)


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
    assert expected in problems(write("d.csv", content), ["text"], "label", strict=True)


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
    assert expected in problems(write("d.jsonl", content), ["text"], "label", strict=True)


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
        assert expected in problems(tmp_path / "d.parquet", ["text"], "label", strict=True)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_cell_of_ten_megabytes_is_one_text(write, suffix):
    """A cell of ten megabytes is read completely, although the csv module's default limit is 128 kB."""
    long = "word " * (2 << 20)
    lines = {"csv": f"text,label\n{long},pos\nshort,neg\n"}
    lines["jsonl"] = "\n".join(
        json.dumps({"text": text, "label": label})
        for text, label in ((long, "pos"), ("short", "neg"))
    )
    task = from_options(write(f"d.{suffix}", lines[suffix]), ["text"], "label")
    rows = task.reader.examples("train", task.reader.revision())
    assert [row.texts for row in rows] == [(long,), ("short",)]


def test_unknown_labels_of_the_test_file_are_refused(write):
    """A label that is not in the training file is reported with row, line and the known classes."""
    train, test = (
        write("a.csv", "text,label\nfine,pos\nbad,neg\n"),
        write("b.csv", "text,label\nfine,pos\nwell,pso\n"),
    )
    message = problems(train, ["text"], "label", test=test)
    assert (
        "row 2 (line 3), column 'label': 'pso' is not a label of the training file ('neg', 'pos') (did you mean 'pos'?)"
        in message
    )


def test_all_problems_are_reported_together(write):
    """Problems of both files and of the request are in one message, which lists ten and counts the rest."""
    train = write("a.csv", "text,label\nfine,pos\n,neg\n,neg\n")
    test = write("b.csv", "text,label\nfine,poss\n" + ",neg\n" * 10)
    text = problems(
        train, ["text"], "label", test=test, metrics=["acuracy"], name="a b", strict=True
    )
    for part in (
        "a task's name",
        "row 2 (line 3), column 'text'",
        "'poss' is not a label of the training file",
        "(did you mean 'pos'?)",
    ):
        assert part in text
    assert (
        "no text; the same in 9 more rows: row 3 (line 4), row 4 (line 5), row 5 (line 6), ..."
        in text
    )


def test_labels_that_are_not_numbers_are_refused(write):
    """Texts, NaN and infinities are refused as labels of a regression."""
    text = problems(
        write("d.csv", "text,label\na,1\nb,x\nc,nan\nd,inf\n"), ["text"], "label", regression=True
    )
    assert [line.count("is not a finite number") for line in text.splitlines()] == [1, 1, 1]


def test_metrics_must_match_the_labels(write):
    """A metric for numbers is refused for classes, and F1 is refused for three classes."""
    three = write("d.csv", "text,label\na,x\nb,y\nc,z\n")
    assert "metric pearson scores numbers" in problems(
        three, ["text"], "label", metrics=["pearson"]
    )
    assert "use macro-f1" in problems(three, ["text"], "label", metrics=["f1"])


def test_unreadable_files_are_refused(write, tmp_path):
    """A missing file, a folder, an unknown suffix and an invalid Parquet file end in a message."""
    assert "there is no file" in problems(tmp_path / "no.csv", ["text"], "label")
    (tmp_path / "f.csv").mkdir()
    assert "cannot read" in problems(tmp_path / "f.csv", ["text"], "label")
    assert "must be one of .csv, .tsv, .jsonl, .parquet" in problems(
        write("d.xlsx", "x"), ["text"], "label"
    )
    pytest.importorskip("pyarrow")
    assert "not a readable Parquet file" in problems(write("d.parquet", "x"), ["text"], "label")


def test_paths_in_a_task_file_are_relative_to_it(write):
    """A TOML file names its data relative to its folder, and can set the order of the classes."""
    write("a.csv", GOOD)
    task = from_toml(
        write(
            "t.toml",
            'name = "mine"\ndata = "a.csv"\ntext = "text"\nlabel = "label"\nlabels = ["pos", "neg"]\n',
        )
    )
    assert (task.name, task.labels) == ("mine", ("pos", "neg"))
    assert task.reader.examples("train", task.reader.revision())[0].label == 0


def test_all_problems_of_a_task_file_are_reported(write):
    """Unknown keys, with suggestions, missing keys and wrong types are in one message."""
    with pytest.raises(UsageError) as caught:
        from_toml(write("t.toml", 'dat = "a.csv"\ntext = ["text"]\nkind = "many"\n'))
    text = str(caught.value)
    for part in (
        "unknown key 'dat' (did you mean 'data'?)",
        "the key 'data' is missing",
        "the key 'label' is missing",
        "'kind' must be",
    ):
        assert part in text
    with pytest.raises(UsageError, match="not valid TOML"):
        from_toml(write("u.toml", "data = \n"))


def test_reading_a_file_imports_nothing_heavy(write):
    """A CSV file is read without torch, pandas, datasets or pyarrow."""
    path = write("d.csv", GOOD)
    code = (
        "import sys; from pathlib import Path; from harness.tasks.user_files import from_options; "
        f"from_options(Path({str(path)!r}), ['text'], 'label'); "
        "sys.exit(bool({'torch', 'pandas', 'datasets', 'pyarrow'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_other_columns_or_classes_have_another_revision(tmp_path):
    """The revision depends on the columns and classes that are read, not only on the bytes."""
    path = tmp_path / "two.csv"
    path.write_text("a,b,y\nx,u,1\nz,v,0\n")
    revisions = {
        from_options(path, ["a"], "y").reader.revision(),
        from_options(path, ["b"], "y").reader.revision(),
        from_options(path, ["a", "b"], "y").reader.revision(),
        from_options(path, ["a"], "y", labels=["1", "0"]).reader.revision(),
        from_options(path, ["a"], "y", labels=["0", "1", "2"]).reader.revision(),
    }
    assert len(revisions) == 5


def test_a_group_column_names_what_rows_share(write):
    """Its values are the groups; another group column is another revision; a missing one is refused."""
    path = write("g.csv", "text,label,author\na,1,x\nb,0,x\nc,1,y\n")
    task = from_options(path, ["text"], "label", group="author")
    rows = task.reader.examples("train", task.reader.revision())
    assert [row.group for row in rows] == ["x", "x", "y"]
    plain = from_options(path, ["text"], "label")
    assert task.reader.revision() != plain.reader.revision()
    assert (
        task.version,
        from_options(
            path,
            ["text"],
            "label",
            test=write("t.csv", GOOD.replace("neg", "0").replace("pos", "1")),
        ).version,
    ) == (2, 1)
    assert "no column 'writer'" in problems(path, ["text"], "label", group="writer")


def test_a_task_file_can_name_the_group_column(write):
    """The key `group` is the option --group."""
    write("g.csv", "text,label,author\na,1,x\nb,0,y\n")
    path = write("g.toml", 'data = "g.csv"\ntext = "text"\nlabel = "label"\ngroup = "author"\n')
    reader = from_toml(path).reader
    assert [row.group for row in reader.examples("train", reader.revision())] == ["x", "y"]


MAIL = "text,label\na,spam\nb,ham\nc,spam\nd,ham\n"


def test_the_positive_class_is_the_second(write):
    """`positive` puts a class second, where F1 looks for it; naming the class that is second changes nothing."""
    path = write("mail.csv", MAIL)
    plain, same, other = (
        from_options(path, ["text"], "label", metrics=["f1"], positive=positive)
        for positive in (None, "spam", "ham")
    )
    assert (plain.labels, same, other.labels) == (("ham", "spam"), plain, ("spam", "ham"))
    assert same.reader.revision() == plain.reader.revision() != other.reader.revision()
    predicted = ["spam", "spam", "spam", "ham"]
    for task, positive in ((plain, "spam"), (other, "ham")):
        rows = task.reader.examples("train", task.reader.revision())
        expected = f1_score(["spam", "ham", "spam", "ham"], predicted, pos_label=positive)
        found = compute(
            task.metrics, [task.labels.index(one) for one in predicted], [one.label for one in rows]
        )
        assert found == {"f1": pytest.approx(expected)}


def test_a_task_file_can_name_the_positive_class(write):
    """The key `positive` is the option --positive; it changes the order of `labels`."""
    write("mail.csv", MAIL.replace("spam", "1").replace("ham", "0"))
    lines = 'data = "mail.csv"\ntext = "text"\nlabel = "label"\nlabels = [0, 1]\npositive = 0\n'
    assert from_toml(write("m.toml", lines)).labels == ("1", "0")
    with pytest.raises(UsageError, match="'positive' must be one label, got 0, 1"):
        from_toml(write("n.toml", lines.replace("positive = 0", "positive = [0, 1]")))


def test_a_positive_class_that_is_not_one_of_two_is_refused(write):
    """A misspelt label is answered with the nearest; three classes and numbers have no positive class."""
    path = write("mail.csv", MAIL)
    assert "positive: 'spma' is not a label (did you mean 'spam'?); there are 'ham', 'spam'" in (
        problems(path, ["text"], "label", positive="spma")
    )
    three = write("three.csv", "text,label\na,x\nb,y\nc,z\n")
    assert "there are 3 classes" in problems(three, ["text"], "label", positive="x")
    numbers = write("numbers.csv", "text,label\na,1\nb,2.5\n")
    assert "the label is not a class" in problems(
        numbers, ["text"], "label", regression=True, positive="1"
    )


MESSY = 'text,label\nfine,pos\n ,neg\nbad,\ntext,label\n"\u200b\u2060",pos\nworse,neg\nbetter,pos\n'


def test_rows_without_text_or_label_are_left_out_and_counted(write):
    """Blank cells, invisible characters and a repeated header cost their rows only; --strict-data refuses them."""
    path = write("d.csv", MESSY)
    task = from_options(path, ["text"], "label")
    rows = task.reader.examples("train", task.reader.revision())
    assert [row.texts[0] for row in rows] == ["fine", "worse", "better"]
    assert (task.labels, task.train_rows) == (("neg", "pos"), 3)
    said = next(finding for finding in task.findings if "left out" in finding)
    assert said == (
        "d.csv: 4 rows left out: 2 without text (row 2 (line 3), row 5 (line 6)); 1 without label "
        "(row 3 (line 4)); 1 repeating the header (row 4 (line 5)); --strict-data refuses them"
    )
    refused = problems(path, ["text"], "label", strict=True)
    assert "column 'text': no text; the same in 1 more row: row 5 (line 6)" in refused
    assert "column 'label': no label" in refused


def test_a_class_may_have_the_name_of_its_column(write):
    """Only a row that repeats every column's name repeats the header."""
    task = from_options(write("d.csv", "text,spam\nbuy,spam\nhello,ham\n"), ["text"], "spam")
    assert task.labels == ("ham", "spam")
    assert task.train_rows == 2


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
    task = from_options(write("d.csv", content.encode(encoding)), ["text"], "label")
    rows = task.reader.examples("train", task.reader.revision())
    assert rows == [Example(("na ja, gut",), 1), Example(("übel",), 0)]
    stated = " ".join(task.description)
    assert said in stated
    assert ("is read as" in stated) == (not encoding.startswith("utf-8"))


def test_a_named_delimiter_or_encoding_overrules(write):
    """Another delimiter or encoding is another revision; one that does not exist is refused."""
    path = write("d.csv", "text:label\nœuvre:pos\nb:neg\n".encode("cp1252"))
    options = {"delimiter": ":", "encoding": "cp1252"}
    task = from_options(path, ["text"], "label", **options)
    assert task.reader.examples("train", task.reader.revision())[0].texts == ("œuvre",)
    other = from_options(path, ["text"], "label", **(options | {"encoding": "latin-1"}))
    assert other.reader.revision() != task.reader.revision()
    assert "no encoding 'cp12520'" in problems(path, ["text"], "label", encoding="cp12520")
    assert "byte 12 is not utf-8" in problems(path, ["text"], "label", encoding="utf-8")


def test_classes_that_look_alike_are_named(write):
    """Case, width, spaces and invisible characters make classes that a reader takes for one."""
    lines = ["Spam", "spam", "yes", "yes\u200b", "caf\u00e9", "cafe\u0301", "other"]
    path = write("d.csv", "text,label\n" + "".join(f"t{label},{label}\n" for label in lines))
    alike = [one for one in from_options(path, ["text"], "label").findings if "look alike" in one]
    assert len(alike) == 3
    assert "'Spam' and 'spam'" in alike[0]
    assert any(r"'yes' and 'yes\u200b'" in one for one in alike)


def test_one_number_is_one_class(write):
    """`1` and `1.0` are one class; decimal numbers need --kind; whole numbers are said to be classes."""
    path = write("d.csv", "text,label\na,1\nb,1.0\nc,2\nd,3.0\n")
    task = from_options(path, ["text"], "label")
    assert task.labels == ("1", "2", "3.0")
    rows = task.reader.examples("train", task.reader.revision())
    assert [row.label for row in rows] == [0, 0, 1, 2]
    assert any("the numbers are taken as classes" in finding for finding in task.findings)
    stars = write("s.csv", "text,label\na,1.5\nb,2.5\nc,3.5\n")
    assert "pass `--kind number` or `--kind classes`" in problems(stars, ["text"], "label")
    assert from_options(stars, ["text"], "label", regression=False).labels == ("1.5", "2.5", "3.5")


def test_numbers_may_have_a_decimal_comma(write):
    """In a file of semicolons, `1,5` is one and a half, and the task says so."""
    path = write("d.csv", "text;label\na;1,5\nb;2\nc;-0,25\n")
    task = from_options(path, ["text"], "label", regression=True)
    rows = task.reader.examples("train", task.reader.revision())
    assert [row.label for row in rows] == [1.5, 2.0, -0.25]
    assert any("decimal comma" in finding for finding in task.findings)


@pytest.mark.parametrize(
    ("label", "kind"), [(["a", "b"], "a list"), ({"a": 1}, "an object")], ids=["list", "object"]
)
def test_a_list_or_an_object_is_not_a_label(write, label, kind):
    """It is refused by row, and does not become a class."""
    lines = [
        json.dumps({"text": str(n), "label": value}) for n, value in enumerate(["a", "b", label])
    ]
    message = problems(write("d.jsonl", "\n".join(lines)), ["text"], "label")
    assert f"row 3 (line 3), column 'label': {kind} is not a label" in message


def test_a_file_is_described_and_doubts_are_findings(write):
    """Counts of classes and lengths; repetitions, contradictions and listed classes without rows."""
    path = write("d.csv", "text,label\na b c,x\nA  b c,x\nd,y\nd,x\ne,y\n")
    task = from_options(path, ["text"], "label", labels=["x", "y", "z"])
    assert task.description == (
        "d.csv: 5 rows of 2 classes: x 3, y 2",
        "d.csv: texts of 1 to 3 words, median 1",
    )
    assert task.findings == (
        "d.csv: no row has the label 'z'",
        "d.csv: 2 rows repeat the texts of another row",
        "d.csv: 1 text occurs with different labels",
    )
    numbers = write("n.csv", "text,label\na,1\nb,2.5\n")
    assert from_options(numbers, ["text"], "label", regression=True).description == (
        "n.csv: 2 rows with labels from 1 to 2.5",
        "n.csv: texts of 1 word",
    )


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "The café was great, but the naïve waiter – he said “no” – wasn’t. ¿Qué? 5°C"),
        ("cp1250", "To był świetny film, żałuję, że tak późno go zobaczyłem. Łódź i gęś."),
        ("cp1251", "Это очень хороший фильм, я его рекомендую всем друзьям."),
        ("gb18030", "这部电影非常好看，我推荐给所有朋友。"),
    ],
)
def test_other_encodings_are_recognised(write, encoding, text):
    """Western and Central European, Russian and Chinese texts are read as they were written."""
    path = write("d.tsv", f"text\tlabel\n{text}\ta\nx\tb\n".encode(encoding))
    task = from_options(path, ["text"], "label")
    rows = task.reader.examples("train", task.reader.revision())
    assert rows[0].texts == (text,)


def test_columns_are_named_as_in_a_csv_row(write):
    """A name with a comma is quoted; columns without a name, from trailing delimiters, do not matter."""
    assert column_names('"text, clean", b') == ["text, clean", "b"]
    path = write("d.csv", '"text, clean",label,,\nfine,pos,,\nbad,neg,,\n')
    assert from_options(path, ["text, clean"], "label").train_rows == 2


def test_a_file_without_a_usable_label_is_refused(write):
    """A column of lists, or without a single label, gets one message."""
    lists = write("l.jsonl", '{"text": "a", "label": ["x"]}\n{"text": "b", "label": []}\n')
    assert "column 'label': a list is not a label" in problems(lists, ["text"], "label")
    assert "no row has a label" in problems(
        write("d.csv", "text,label\na,\nb,\n"), ["text"], "label"
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (r"data\\reviews.csv", "no file"),
        (r"data\reviews.csv", "write the path in single quotes"),
        (r"data\xreviews.csv", "write a path in single quotes"),
    ],
)
def test_a_path_of_windows_in_a_task_file_is_explained(write, data, said):
    """A backslash in double quotes begins an escape; no control character reaches the message."""
    path = write("t.toml", f'data = "{data}"\ntext = "text"\nlabel = "label"\n'.encode("utf-16"))
    with pytest.raises(UsageError) as caught:
        from_toml(path)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_only_a_whole_number_and_its_decimal_form_are_one_class(write):
    """Leading zeros, signs, versions and long numbers keep their digits; what is merged is said."""
    labels = [
        "007",
        "7",
        "+7",
        "12345678901234567890",
        "12345678901234567891",
        "1.10",
        "1.1",
        "2",
        "2.0",
    ]
    path = write(
        "d.csv", "text,label\n" + "".join(f"t{n},{label}\n" for n, label in enumerate(labels))
    )
    task = from_options(path, ["text"], "label", regression=False)
    assert set(task.labels) == set(labels) - {"2.0"}
    assert any("'2.0' and the whole number are taken as one class" in one for one in task.findings)
    one = write("one.csv", "text,label\na,1\nb,1.0\n")
    assert "every row is of one class ('1')" in problems(one, ["text"], "label")
    same = "every row is the same number"
    assert same in problems(one, ["text"], "label", regression=True)


@pytest.mark.parametrize("others", [[], ["foo", "NA"]])
def test_measurements_with_a_few_other_cells_need_the_kind(write, others):
    """A bad cell does not turn a column of measurements into classes."""
    labels = [f"{n / 7:.2f}" for n in range(30)] + others
    path = write(
        "d.csv", "text,label\n" + "".join(f"t{n},{label}\n" for n, label in enumerate(labels))
    )
    message = problems(path, ["text"], "label")
    assert "may be classes or measurements; pass `--kind number`" in message
    assert all(repr(text) in message for text in others)
    words = write("w.csv", "text,label\na,yes\nb,no\nc,nan\n")
    assert any(
        "'nan' is taken as a class" in one
        for one in from_options(words, ["text"], "label").findings
    )


def test_thousands_separators_are_not_decimal_commas(write):
    """`1,200` is refused; `1,5` beside `1,250` is a decimal comma."""
    path = write("d.tsv", "text\tlabel\na\t1,200\nb\t950\nc\t12,500\n")
    assert "write numbers without thousands separators" in problems(
        path, ["text"], "label", regression=True
    )
    mixed = write("m.tsv", "text\tlabel\na\t1,250\nb\t1,5\n")
    assert from_options(mixed, ["text"], "label", regression=True).findings


def test_one_broken_byte_does_not_change_the_encoding(write):
    """A file that is UTF-8 but for one byte is refused by line, and not read as something else."""
    lines = "".join(f"café très bon n{n},{'négatif' if n % 2 else 'positif'}\n" for n in range(20))
    message = problems(
        write("d.csv", f"text,label\n{lines}".encode() + b"caf\xe9,positif\n"), ["text"], "label"
    )
    assert "line 22: byte 0xe9 is not UTF-8" in message


def test_files_without_a_usable_row_are_refused(write):
    """A test file without labels and a file of blank texts get one message, with the name of the file."""
    train = write("a.csv", GOOD)
    assert "b.csv: no row has a text and a label" in problems(
        train, ["text"], "label", test=write("b.csv", "text,label\nx,\ny,\n")
    )
    assert "c.csv: no row has a text and a label" in problems(
        write("c.csv", "text,label\n ,a\n ,b\n"), ["text"], "label"
    )


def test_odd_labels_and_paths_are_refused_in_words(write):
    """Half a surrogate pair in a label, a URL, an unknown user's folder and a repeated header with --strict-data."""
    path = write(
        "d.jsonl",
        '{"text": "a", "label": "x"}\n{"text": "b", "label": "y\\ud83d"}\n{"text": "c", "label": "z"}\n',
    )
    assert "column 'label': half of a surrogate pair" in problems(path, ["text"], "label")
    url = problems(Path("https://ann:secret@host/f.csv?token=hf_abc"), ["text"], "label")
    assert "download it" in url
    assert "secret" not in url
    toml = write("t.toml", 'data = "~nosuchuser/f.csv"\ntext = "text"\nlabel = "label"\n')
    with pytest.raises(UsageError, match="there is no file"):
        from_toml(toml)
    again = write("h.csv", "text,label\na,x\n\ufeffText, label\nb,y\n")
    assert from_options(again, ["text"], "label").labels == ("x", "y")
    assert "row 2 (line 3): repeats the header" in problems(again, ["text"], "label", strict=True)


def test_rows_without_a_group_are_counted(write):
    """They are grouped by their texts, which is a finding."""
    path = write("g.csv", "text,label,author\na,1,x\nb,0,\nc,1,\n")
    findings = from_options(path, ["text"], "label", group="author").findings
    assert "g.csv: 2 rows without a value of 'author'; they are grouped by their texts" in findings
