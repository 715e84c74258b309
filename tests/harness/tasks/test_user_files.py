"""Tasks from the user's files: what is read, left out and said."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import CorruptData, UsageError
from harness.tasks import task_file
from harness.tasks.base import Example
from harness.tasks.user_files import from_options
from tests.support.user_files import GOOD, problems


def test_a_csv_file_becomes_a_task(write):
    """Classes are the sorted distinct labels, examples keep their order, and quoted fields can span lines."""
    task = from_options(write("reviews.csv", GOOD), ["text"], ["label"])
    assert (task.name, task.labels, task.metrics, task.holdout, task.train_rows) == (
        "reviews",
        ("neg", "pos"),
        ("accuracy",),
        True,
        3,
    )
    rows = task.reader.examples("train", task.reader.revision())
    assert rows == [Example(("fine",), 1), Example(("bad, \nreally",), 0), Example(("nice",), 1)]


def test_labels_are_read_as_numbers_on_request(write):
    """A regression has one output, correlations as metrics and numbers as labels."""
    task = from_options(
        write("d.csv", "text,label\na,0.5\nb,-2e1\n"), ["text"], ["label"], kind="number"
    )
    assert task.regression
    assert task.metrics == ("pearson", "spearman")
    assert [row.label for row in task.reader.examples("train", task.reader.revision())] == [
        0.5,
        -20.0,
    ]


def test_a_test_file_replaces_the_holdout(write):
    """With a test file nothing is held out, and its labels have the class numbers of the training file."""
    task = from_options(
        write("a.csv", GOOD), ["text"], ["label"], test=write("b.csv", "label,text\npos,t\n")
    )
    assert not task.holdout
    assert task.reader.examples(task.tests[""], task.reader.revision()) == [Example(("t",), 1)]


def test_the_revision_depends_on_the_bytes(write):
    """A changed file has another revision, and the old revision can no longer be read."""
    path = write("a.csv", GOOD)
    reader = from_options(path, ["text"], ["label"]).reader
    before = reader.revision()
    assert before == reader.revision()
    write("a.csv", GOOD + "more,neg\n")
    assert reader.revision() != before
    with pytest.raises(CorruptData, match="changed"):
        reader.examples("train", before)


def test_unknown_labels_of_the_test_file_are_refused(write):
    """A label that is not in the training file is reported with row, line and the known classes."""
    train, test = (
        write("a.csv", "text,label\nfine,pos\nbad,neg\n"),
        write("b.csv", "text,label\nfine,pos\nwell,pso\n"),
    )
    message = problems(train, ["text"], ["label"], test=test)
    assert (
        "row 2 (line 3), column 'label': 'pso' is not one of the classes ('neg', 'pos') (did you mean 'pos'?)"
        in message
    )


def test_all_problems_are_reported_together(write):
    """Problems of both files and of the request are in one message, which lists ten and counts the rest."""
    train = write("a.csv", "text,label\nfine,pos\n,neg\n,neg\n")
    test = write("b.csv", "text,label\nfine,poss\n" + ",neg\n" * 10)
    text = problems(
        train, ["text"], ["label"], test=test, metrics=["acuracy"], name="a b", strict=True
    )
    for part in (
        "a task's name",
        "row 2 (line 3), column 'text'",
        "'poss' is not one of the classes",
        "(did you mean 'pos'?)",
    ):
        assert part in text
    assert (
        "no text; the same in 9 more rows: row 3 (line 4), row 4 (line 5), row 5 (line 6), ..."
        in text
    )


def test_metrics_must_match_the_labels(write):
    """A metric for numbers is refused for classes, and F1 is refused for three classes."""
    three = write("d.csv", "text,label\na,x\nb,y\nc,z\n")
    assert "metric pearson scores numbers" in problems(
        three, ["text"], ["label"], metrics=["pearson"]
    )
    assert "use accuracy, macro-f1, matthews" in problems(
        three, ["text"], ["label"], metrics=["f1"]
    )


def test_reading_a_file_imports_nothing_heavy(write):
    """A CSV file is read without torch, pandas, datasets or pyarrow."""
    path = write("d.csv", GOOD)
    code = (
        "import sys; from pathlib import Path; from harness.tasks.user_files import from_options; "
        f"from_options(Path({str(path)!r}), ['text'], ['label']); "
        "sys.exit(bool({'torch', 'pandas', 'datasets', 'pyarrow'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_other_columns_or_classes_have_another_revision(tmp_path):
    """The revision depends on the columns and classes that are read, not only on the bytes."""
    path = tmp_path / "two.csv"
    path.write_text("a,b,y\nx,u,1\nz,v,0\n")
    revisions = {
        from_options(path, ["a"], ["y"]).reader.revision(),
        from_options(path, ["b"], ["y"]).reader.revision(),
        from_options(path, ["a", "b"], ["y"]).reader.revision(),
        from_options(path, ["a"], ["y"], labels=["1", "0"]).reader.revision(),
        from_options(path, ["a"], ["y"], labels=["0", "1", "2"]).reader.revision(),
    }
    assert len(revisions) == 5


def test_a_group_column_names_what_rows_share(write):
    """Its values are the groups; another group column is another revision; a missing one is refused."""
    path = write("g.csv", "text,label,author\na,1,x\nb,0,x\nc,1,y\n")
    task = from_options(path, ["text"], ["label"], group="author")
    rows = task.reader.examples("train", task.reader.revision())
    assert [row.group for row in rows] == ["x", "x", "y"]
    plain = from_options(path, ["text"], ["label"])
    assert task.reader.revision() != plain.reader.revision()
    assert (
        task.version,
        from_options(
            path,
            ["text"],
            ["label"],
            test=write("t.csv", GOOD.replace("neg", "0").replace("pos", "1")),
        ).version,
    ) == (2, 1)
    assert "no column 'writer'" in problems(path, ["text"], ["label"], group="writer")


MESSY = 'text,label\nfine,pos\n ,neg\nbad,\ntext,label\n"\u200b\u2060",pos\nworse,neg\nbetter,pos\n'


def test_rows_without_text_or_label_are_left_out_and_counted(write):
    """Blank cells, invisible characters and a repeated header cost their rows only; --strict-data refuses them."""
    path = write("d.csv", MESSY)
    task = from_options(path, ["text"], ["label"])
    rows = task.reader.examples("train", task.reader.revision())
    assert [row.texts[0] for row in rows] == ["fine", "worse", "better"]
    assert (task.labels, task.train_rows) == (("neg", "pos"), 3)
    said = next(finding for finding in task.findings if "left out" in finding)
    assert said == (
        "d.csv: 4 rows left out: 2 without text (row 2 (line 3), row 5 (line 6)); 1 without label "
        "(row 3 (line 4)); 1 repeating the header (row 4 (line 5)); --strict-data refuses them"
    )
    refused = problems(path, ["text"], ["label"], strict=True)
    assert "column 'text': no text; the same in 1 more row: row 5 (line 6)" in refused
    assert "column 'label': no label" in refused


def test_a_class_may_have_the_name_of_its_column(write):
    """Only a row that repeats every column's name repeats the header."""
    task = from_options(write("d.csv", "text,spam\nbuy,spam\nhello,ham\n"), ["text"], ["spam"])
    assert task.labels == ("ham", "spam")
    assert task.train_rows == 2


def test_a_file_is_described_and_doubts_are_findings(write):
    """Counts of classes and lengths; repetitions, contradictions and listed classes without rows."""
    path = write("d.csv", "text,label\na b c,x\nA  b c,x\nd,y\nd,x\ne,y\n")
    task = from_options(path, ["text"], ["label"], labels=["x", "y", "z"])
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
    assert from_options(numbers, ["text"], ["label"], kind="number").description == (
        "n.csv: 2 rows with labels from 1 to 2.5",
        "n.csv: texts of 1 word",
    )


def test_files_without_a_usable_row_are_refused(write):
    """A test file without labels and a file of blank texts get one message, with the name of the file."""
    train = write("a.csv", GOOD)
    assert "b.csv: no row has a text and a label" in problems(
        train, ["text"], ["label"], test=write("b.csv", "text,label\nx,\ny,\n")
    )
    assert "c.csv: no row has a text and a label" in problems(
        write("c.csv", "text,label\n ,a\n ,b\n"), ["text"], ["label"]
    )


def test_odd_labels_and_paths_are_refused_in_words(write):
    """Half a surrogate pair in a label, a URL, an unknown user's folder and a repeated header with --strict-data."""
    path = write(
        "d.jsonl",
        '{"text": "a", "label": "x"}\n{"text": "b", "label": "y\\ud83d"}\n{"text": "c", "label": "z"}\n',
    )
    assert "column 'label': half of a surrogate pair" in problems(path, ["text"], ["label"])
    url = problems(Path("https://ann:secret@host/f.csv?token=hf_abc"), ["text"], ["label"])
    assert "download it" in url
    assert "secret" not in url
    toml = write("t.toml", 'data = "~nosuchuser/f.csv"\ntext = "text"\nlabel = "label"\n')
    with pytest.raises(UsageError, match="there is no file"):
        task_file.read(toml)
    again = write("h.csv", "text,label\na,x\n\ufeffText, label\nb,y\n")
    assert from_options(again, ["text"], ["label"]).labels == ("x", "y")
    assert "row 2 (line 3): repeats the header" in problems(again, ["text"], ["label"], strict=True)


def test_rows_without_a_group_are_counted(write):
    """They are grouped by their texts, which is a finding."""
    path = write("g.csv", "text,label,author\na,1,x\nb,0,\nc,1,\n")
    findings = from_options(path, ["text"], ["label"], group="author").findings
    assert "g.csv: 2 rows without a value of 'author'; they are grouped by their texts" in findings


def test_names_with_control_characters_are_escaped(write, tmp_path):
    """Neither the name of a file nor that of a class can write to the terminal."""
    path = write("e\x1b[31m.csv", "text,label\na,p\x1b[0m\nb,q\u202e\n")
    task = from_options(path, ["text"], ["label"])
    assert all(one.isprintable() for one in (*task.description, *task.findings))
    assert any(r"p\x1b[0m 1, q\u202e 1" in one for one in task.description)
    assert problems(tmp_path / "no\x1b.csv", ["text"], ["label"]).isprintable()


def test_a_test_file_of_one_label_is_a_finding(write):
    """It can be tested on, but the score says little."""
    test = write("t.csv", "text,label\nx,pos\ny,pos\n")
    findings = from_options(write("a.csv", GOOD), ["text"], ["label"], test=test).findings
    assert "t.csv: every row has the same label, so a score on these rows says little" in findings


def test_rare_classes_are_named(write):
    """Where a class has a fifth of the rows of the largest or fewer, the task says what helps."""
    labels = ["a"] * 50 + ["b"] * 20 + ["c"] * 10
    path = write("d.csv", "text,label\n" + "".join(f"t{n},{one}\n" for n, one in enumerate(labels)))
    (said,) = (one for one in from_options(path, ["text"], ["label"]).findings if "few rows" in one)
    assert "few rows of 'c': accuracy says little about rare classes" in said
    assert "--metrics macro-f1" in said
