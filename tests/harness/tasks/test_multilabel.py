"""Files whose rows have any number of classes."""

import json

import pytest

from harness.errors import UsageError
from harness.jobs import Recipe
from harness.tasks.draws import Infeasible, draw
from harness.tasks.label_parser import as_list
from harness.tasks.user_files import from_options
from tests.support.user_files import examples, problems

ROWS = [("a b", ["x", "z"]), ("c", []), ("d e", ["y"]), ("f", ["z", "x", "x"])]
MARKS = "text,x,y,z\na b,1,0,1\nc,0,0,0\nd e,0,1.0,FALSE\nf,true,0,1\n"
LISTS = "".join(json.dumps({"text": text, "topics": topics}) + "\n" for text, topics in ROWS)


@pytest.fixture
def columns(write):
    """A task of three columns of 0 and 1."""
    return from_options(write("d.csv", MARKS), ["text"], ["x", "y", "z"], kind="multilabel")


@pytest.mark.parametrize("form", ["lists", "lists as text", "columns"])
def test_every_form_gives_the_same_labels(write, form):
    """Lists of JSON lines, lists in the cells of a CSV file, and columns of 0 and 1."""
    if form == "columns":
        task = from_options(write("d.csv", MARKS), ["text"], ["x", "y", "z"], kind="multilabel")
    elif form == "lists":
        task = from_options(write("d.jsonl", LISTS), ["text"], ["topics"], kind="multilabel")
    else:
        cells = ("\"['x', 'z']\"", "[]", '"[""y""]"', "\"['z', 'x', 'x']\"")
        lines = "".join(f"{text},{cell}\n" for (text, _), cell in zip(ROWS, cells, strict=True))
        path = write("d.csv", f"text,topics\n{lines}")
        task = from_options(path, ["text"], ["topics"], kind="multilabel")
    assert task.labels == ("x", "y", "z")
    assert task.multilabel
    assert task.outputs == 3
    assert task.metrics == ("micro-f1",)
    assert [row.label for row in examples(task)] == [(0, 2), (), (1,), (0, 2)]
    assert (
        "4 rows of 3 classes (1.2 classes per row on average; 1 row without a class): x 2, z 2, y 1"
        in (task.description[0])
    )


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ('["a", "b"]', ["a", "b"]),
        (" ['a'] ", ["a"]),
        ("[]", []),
        ("[1, 2.0]", [1, 2.0]),
        ([None], [None]),
        ("[a]", None),
        ("['a'", None),
        ("a, b", None),
        ("", None),
        (None, None),
        ("[" * 10_000, None),
        ("[print(1)]", None),
        ("['a' 'b']", ["a", "b"]),
        ('["it\'s"\n "b"]', ["it's", "b"]),
        ("['a' 'b', 'c']", None),
        ("[1 2]", [1, 2]),
        ("[f'{1}']", None),
    ],
)
def test_lists_that_programs_write_as_text(cell, found):
    """JSON and Python lists are read, and nothing else is."""
    assert as_list(cell) == found


def test_a_row_without_any_mark_has_no_label(write):
    """It is left out and counted; a row with some blank marks is refused, because a blank may mean 0."""
    path = write("e.csv", MARKS + "g,,0,1\n")
    assert "column 'x': blank; write 0 or 1" in problems(
        path, ["text"], ["x", "y", "z"], kind="multilabel"
    )
    task = from_options(
        write("d.csv", MARKS + "g,,,\n"), ["text"], ["x", "y", "z"], kind="multilabel"
    )
    assert task.train_rows == 4
    assert any("1 without label" in finding for finding in task.findings)


@pytest.mark.parametrize(
    ("content", "label", "words", "expected"),
    [
        ("text,x,y\na,1,2\nb,0,1\n", ["x", "y"], {}, "column 'y': '2' is neither 0 nor 1"),
        ("text,x\na,p|q\nb,q\n", ["x"], {}, "'p|q' is not a list of classes"),
        ("text,x\na,\"['p']\"\nb,q\n", ["x"], {}, "column 'x': 'q' is not a list of classes"),
        ("text,x\na,\"['p']\"\nb,['p']\n", ["x"], {}, "every row has the same classes"),
        ("text,x\na,\"['p']\"\nb,[['q']]\n", ["x"], {}, "a list is not a label"),
        ("text,x\na,\"['p']\"\nb,['']\n", ["x"], {}, "column 'x': no label"),
        ("text,x,y\na,1,0\nb,0,1\n", ["x", "y"], {"kind": None}, "need the kind multilabel"),
        ("text,x,y\na,1,0\nb,0,1\n", ["x,y"], {"kind": None}, "need the kind multilabel"),
        ("text,x,y\na,1,0\nb,0,1\n", ["x", "x"], {}, "name one or two text columns"),
        ("text,x,y\na,1,0\nb,0,1\n", ["x", "z"], {}, "no column 'z'"),
        (
            "text,x,y\na,1,0\nb,0,1\n",
            ["x", "y"],
            {"metrics": ["accuracy"]},
            "the labels are sets of classes; use macro-f1, micro-f1",
        ),
        ("text,x,y\na,0,0\nb,0,0\n", ["x", "y"], {}, "every row has the same classes"),
        ("text,x,y\na,1,0\nb,0,1\n", ["x", "y"], {"labels": ["p", "q"]}, "leave out 'labels'"),
        ('text,x\na,"[0, 1]"\nb,"[1, 1]"\n', ["x"], {}, "lists of numbers do not name"),
        ('text,x\na,"[0.0, 1.0]"\nb,"[1.0, 0.0]"\n', ["x"], {}, "lists of numbers do not name"),
        ("text,x,y\na,1,0\nb,0,1\n", ["x", "y"], {"group": "x"}, "the label and the group"),
        ("text,x,y\na,1,0\nb,0,1\n", ["x", "y"], {"positive": "x"}, "all classes count alike"),
    ],
)
def test_what_is_no_set_of_classes_is_refused(write, content, label, words, expected):
    """The message names the row, the column and what to do."""
    words = {"kind": "multilabel", **words}
    assert expected in problems(write("d.csv", content), ["text"], label, **words)


def test_what_is_assumed_about_lists_is_said(write):
    """`1` and `1.0` are one class; a class twice counts once; `none` and two spellings of a number are named."""
    rows = (["1"], ["1.0", "none"], ["2", "2"], ["2.5", "2.50"])
    content = "".join(json.dumps({"text": "a", "x": row}) + "\n" for row in rows)
    task = from_options(write("d.jsonl", content), ["text"], ["x"], kind="multilabel")
    assert task.labels == ("1", "2", "2.5", "2.50", "none")
    assert [row.label for row in examples(task)] == [(0,), (0, 4), (1,), (2, 3)]
    said = " ".join(task.findings)
    assert "'1.0' and the whole number are taken as one class" in said
    assert "1 row with a class twice, which counts once" in said
    assert "'none' is taken as a class" in said
    assert "'2.5', '2.50' are one number and 2 classes" in said


def test_lists_without_the_kind_name_it(write):
    """A list is not one class; the message names the option."""
    assert "`--kind multilabel` takes lists" in problems(
        write("d.jsonl", LISTS), ["text"], ["topics"]
    )


def test_an_unknown_class_of_the_test_file_is_refused(write):
    """The classes are those of the training file."""
    test = write("t.jsonl", '{"text": "a", "topics": ["x", "q"]}\n')
    with pytest.raises(UsageError, match="'q' is not one of the classes"):
        from_options(write("d.jsonl", LISTS), ["text"], ["topics"], test=test, kind="multilabel")


def test_a_draw_may_lack_a_class_but_is_not_stratified(columns):
    """Few rows of many classes seldom hold all; sampling by class is refused with a reason."""
    rows = examples(columns) * 3
    found = draw(columns, lambda _: rows, 2, 0, Recipe(dev="1"))
    assert len(found.train) == 2
    for recipe in (Recipe(sampling="stratified"), Recipe(per_class=True)):
        with pytest.raises(Infeasible, match="drawn at random"):
            draw(columns, lambda _: rows, 2, 0, recipe)


def test_other_columns_are_another_task(write):
    """The revision depends on the columns of the label."""
    path = write("d.csv", MARKS)

    def revision(*label):
        return from_options(path, ["text"], label, kind="multilabel").reader.revision()

    assert len({revision("x", "y"), revision("y", "x"), revision("x", "y", "z")}) == 3


def test_lists_as_text_without_the_kind_ask_for_it(write):
    """Every combination would become a class."""
    path = write("d.csv", "text,x\na,\"['p']\"\nb,\"['q', 'p']\"\n")
    assert "`--kind multilabel` takes their elements" in problems(path, ["text"], ["x"])
    assert from_options(path, ["text"], ["x"], kind="classes").labels == ("['p']", "['q', 'p']")


def test_a_column_whose_name_has_a_comma_is_one_label(write):
    """Its parts are columns too."""
    path = write("d.csv", 'text,a,b,"a,b"\nu,1,0,p\nv,0,1,q\n')
    assert from_options(path, ["text"], ["a,b"]).labels == ("p", "q")
