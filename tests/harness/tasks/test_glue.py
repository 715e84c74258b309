"""The GLUE tasks and the reader of Hub datasets, with a table in place of the Hub."""

from dataclasses import replace

import pytest

from harness.backbones.hub.datasets import Split
from harness.errors import CorruptData
from harness.jobs import Recipe
from harness.tasks import REGISTRY, draws, glue, metrics
from harness.tasks.base import Example
from harness.tasks.glue import TASKS, HubReader

READER = HubReader(dataset="a/b", config="c", fields=("s",), labels=("no", "yes"))


@pytest.fixture
def serve(monkeypatch):
    def table(columns, **classes):
        monkeypatch.setattr(glue, "load_split", lambda *_: Split(columns, classes))

    return table


def test_the_nine_tasks_have_known_metrics():
    """Each of the nine tasks has metrics that exist and can score its labels."""
    assert sorted(TASKS) == sorted(
        ["sst2", "cola", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"]
    )
    for task in TASKS.values():
        for name in task.metrics:
            kind = "two classes" if len(task.labels) == 2 else "classes"
            assert ("numbers" if task.regression else kind) in metrics.METRICS[name].suits


def test_mnli_has_two_test_sets():
    """MNLI is tested on the matched and on the mismatched examples."""
    assert TASKS["mnli"].tests == {"": "validation_matched", "mismatched": "validation_mismatched"}


def test_examples_keep_order_texts_and_labels(serve):
    """Examples are in the dataset's order, texts in the order of the fields; an empty text is kept."""
    serve({"s": ["x", ""], "label": [1, 0]}, label=("no", "yes"))
    assert READER.examples("train", "r") == [Example(("x",), 1), Example(("",), 0)]


def test_unusual_texts_are_kept(serve):
    """NUL characters and ten megabytes in a cell of a published dataset are passed to the tokenizer."""
    texts = ["a\0b", "word " * (2 << 20)]
    serve({"s": texts, "label": [1, 0]}, label=("no", "yes"))
    assert [row.texts[0] for row in READER.examples("train", "r")] == texts


@pytest.mark.parametrize("text", [None, 7, b"x", ["x"]])
def test_a_cell_that_is_not_a_text_is_refused(serve, text):
    """Missing texts and other types are reported by row and column."""
    serve({"s": ["x", "y", text], "label": [0, 1, 1]})
    with pytest.raises(CorruptData, match="row 3, column s: not a text"):
        READER.examples("test", "r")


def test_training_examples_in_the_test_split_are_counted(monkeypatch):
    """They are kept, and every draw counts them."""
    train = {
        "s": [f"text {number % 90}" for number in range(120)],
        "label": [number % 2 for number in range(120)],
    }
    test = {"s": [f"text {number}" for number in range(30)], "label": [0, 1] * 15}
    monkeypatch.setattr(
        glue, "load_split", lambda *words: Split(test if "validation" in words else train, {})
    )
    task = replace(TASKS["sst2"], reader=READER, train_rows=120)
    drawn = draws.draw(task, lambda split: READER.examples(split, "r"), 50, 0, Recipe())
    tested = {row.texts for row in drawn.tests[""]}
    assert drawn.shared == sum(row.texts in tested for row in (*drawn.train, *drawn.dev)) > 0


def test_other_class_names_are_refused(serve):
    """Class names in another order, which would swap the labels, are refused."""
    serve({"s": ["x"], "label": [1]}, label=("yes", "no"))
    with pytest.raises(CorruptData, match="has the classes yes, no; the task expects no, yes"):
        READER.examples("train", "r")


@pytest.mark.parametrize("label", [-1, 2, None, 0.5, True])
def test_a_row_without_a_valid_label_is_refused(serve, label):
    """Missing labels and labels out of range are reported by row and column."""
    serve({"s": ["x", "y"], "label": [0, label]})
    with pytest.raises(
        CorruptData,
        match=r"a/b/c/test has rows that cannot be used: row 2, column label: .* is not a class",
    ):
        READER.examples("test", "r")


@pytest.mark.parametrize("label", [None, float("nan"), float("inf"), "3"])
def test_a_regression_needs_finite_numbers(serve, label):
    """The label of a regression must be a finite number."""
    serve({"s": ["x"], "label": [label]})
    with pytest.raises(CorruptData, match="not a finite number"):
        HubReader(dataset="a/b", config="c", fields=("s",), labels=()).examples("train", "r")


def test_many_bad_rows_are_counted(serve):
    """The message lists five bad rows and counts the others."""
    serve({"s": [None] * 8, "label": [0] * 8})
    with pytest.raises(CorruptData, match=r"row 5, column s: not a text; and 3 more$"):
        READER.examples("train", "r")


def test_a_missing_column_is_refused(serve):
    """The message lists the columns of the dataset."""
    serve({"sentence": ["x"], "label": [0]})
    with pytest.raises(CorruptData, match="no column s; there are: sentence, label"):
        READER.examples("train", "r")


def test_test_sets_are_in_the_order_of_their_names():
    """Predictions of several test sets are stored one after the other; reports split them in the order of names."""
    assert all(list(task.tests) == sorted(task.tests) for task in REGISTRY.values())
