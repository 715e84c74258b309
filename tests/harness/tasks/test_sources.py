"""Rows of a user's task that come from a dataset of the Hub."""

from collections import Counter

import numpy
import pytest

from harness.backbones.hub import datasets, revisions
from harness.backbones.hub.datasets import Split
from harness.errors import UsageError
from harness.study import request
from harness.study.grid_options import GridOptions
from harness.tasks import sources, task_file
from harness.tasks.base import Example
from harness.tasks.files.file_table import READING
from harness.tasks.files.problems import Problems
from harness.tasks.user_files import from_options
from tests.support.user_files import examples

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROWS = {
    "train": {
        "text": ["fine", "bad", "", "so so", "unlabelled"],
        "label": [1, 0, 1, 0, -1],
        "id": [1, 2, 3, 4, 5],
    },
    "test": {"text": ["well"], "label": [1], "id": [6]},
}


@pytest.fixture
def hub(monkeypatch):
    """A Hub with one dataset; returns the names and columns that were asked for."""
    asked = []

    def load_split(name, config, split, commit, columns=None):
        asked.append((name, config, split, commit, tuple(columns or ())))
        if split not in ROWS:
            raise UsageError(f"dataset {name!r} has no split {split!r}; there are: train, test")
        found = {
            key: values for key, values in ROWS[split].items() if key in (columns or ROWS[split])
        }
        return Split(
            found, {"label": ("neg", "pos")} if "label" in found else {}, tuple(ROWS[split])
        )

    monkeypatch.setattr(datasets, "load_split", load_split)
    monkeypatch.setattr(revisions, "resolve_revision", lambda *_: COMMIT)
    return asked


def test_a_dataset_becomes_a_task(hub):
    """Class names come from its features; rows without text or label are left out; only needed columns are read."""
    origin = sources.hub_splits("stanfordnlp/imdb", None, "train", "test")
    task = from_options(origin, ["text"], ["label"])
    assert (task.name, task.labels, task.holdout, task.pair) == (
        "imdb",
        ("neg", "pos"),
        False,
        False,
    )
    assert examples(task) == [
        Example((text,), label) for text, label in (("fine", 1), ("bad", 0), ("so so", 0))
    ]
    assert examples(task, "test") == [Example(("well",), 1)]
    assert "imdb train: 3 rows of 2 classes: neg 2, pos 1" in task.description
    said = next(one for one in task.findings if "left out" in one)
    assert said.startswith(
        "imdb train: 2 rows left out: 1 without text (row 3); 1 without label (row 5)"
    )
    assert {words[4] for words in hub} == {("text", "label")}
    assert task.reader.source == "stanfordnlp/imdb of the Hub (text -> label)"


def test_numbers_of_single_precision_keep_their_digits(monkeypatch):
    """A column of float32 holds 0.1, and not 0.10000000149011612."""
    rows = {"text": ["a", "b"], "label": [numpy.float32(0.1).item(), 2.5]}
    monkeypatch.setattr(
        datasets, "load_split", lambda *_, **__: Split(rows, {}, tuple(rows), frozenset({"label"}))
    )
    table = sources.HubSplits("own/scores", None, "train", None, "0" * 40).table(
        "train", [], Problems(), READING
    )
    assert [row["label"] for row in table.rows] == [0.1, 2.5]


@pytest.mark.parametrize("empty", ["train", "test"])
def test_an_empty_split_is_refused(monkeypatch, empty):
    """Of the training rows or of the test rows."""
    rows = {"text": ["a", "b"], "label": ["x", "y"]}
    none: dict[str, list[str]] = {"text": [], "label": []}
    monkeypatch.setattr(
        datasets,
        "load_split",
        lambda *a, **_: Split(none if a[2] == empty else rows, {}, tuple(rows)),
    )
    monkeypatch.setattr(revisions, "resolve_revision", lambda *_: COMMIT)
    origin = sources.hub_splits("own/data", None, "train", "test")
    with pytest.raises(UsageError, match=f"has no rows in its split '{empty}'"):
        from_options(origin, ["text"], ["label"])


def test_columns_that_a_dataset_lacks_are_named(hub):
    """If it has neither the text nor the label, the message does not say that there are no rows."""
    origin = sources.hub_splits("stanfordnlp/imdb", None, "train", None)
    with pytest.raises(UsageError) as refused:
        from_options(origin, ["Text"], ["Label"])
    assert "no column 'Text'" in str(refused.value)
    assert "has no rows" not in str(refused.value)
    assert hub


def test_lists_of_class_numbers_become_names(hub, monkeypatch):
    """Of a multilabel dataset, whose column holds lists of numbers."""
    rows = {"text": ["a", "b", "c"], "label": [[0, 1], [], [1]]}
    monkeypatch.setattr(
        datasets, "load_split", lambda *_, **__: Split(rows, {"label": ("neg", "pos")}, tuple(rows))
    )
    origin = sources.hub_splits("google/go_emotions", None, "train", None)
    task = from_options(origin, ["text"], ["label"], kind="multilabel")
    assert task.labels == ("neg", "pos")
    assert [row.label for row in examples(task)] == [(0, 1), (), (1,)]
    assert not hub


@pytest.mark.usefixtures("hub")
def test_the_commit_and_the_splits_are_part_of_the_revision(monkeypatch):
    """Another commit, configuration, split or column is other data."""

    def revision(**changed):
        words = {"dataset": "a/b", "config": None, "train": "train", "test": "test"} | changed
        return from_options(sources.hub_splits(**words), ["text"], ["label"]).reader.revision()

    found = [
        revision(),
        revision(),
        revision(config="c"),
        revision(test=None),
        revision(dataset="a/c"),
    ]
    monkeypatch.setattr(revisions, "resolve_revision", lambda *_: COMMIT[::-1])
    found.append(revision())
    assert sorted(Counter(found).values()) == [1, 1, 1, 1, 2]


@pytest.mark.usefixtures("hub")
def test_wrong_names_are_refused_in_words():
    """A missing column or split lists those that there are; a path is not a name."""
    origin = sources.hub_splits("stanfordnlp/imdb", None, "train", "tset")
    with pytest.raises(UsageError, match="no split 'tset'; there are: train, test"):
        from_options(origin, ["text"], ["label"])
    origin = sources.hub_splits("stanfordnlp/imdb", None, "train", None)
    with pytest.raises(UsageError, match=r"no column 'txt'.*there are text, label, id"):
        from_options(origin, ["txt"], ["label"])
    with pytest.raises(UsageError, match="both the training and the test split"):
        sources.hub_splits("a/b", None, "train", "train")
    with pytest.raises(UsageError, match="must look like owner/name"):
        sources.hub_splits("https://x/y", None, "train", None)


@pytest.mark.usefixtures("hub")
def test_the_options_of_a_dataset_make_a_request():
    """--dataset takes the place of --data, and brings no default task; options of files are refused beside it."""
    grid = {
        "dataset": "stanfordnlp/imdb",
        "text": "text",
        "label": "label",
        "model": "tiny",
        "sizes": "2",
    }
    checked, notices = request.read(GridOptions(**grid, test_split="test", dev="1"))
    assert [task.name for task in checked.tasks] == ["imdb"]
    assert any("left out" in notice for notice in notices)
    for wrong, said in (
        ({"delimiter": ";"}, "--delimiter needs --data FILE"),
        ({"dataset": None, "split": "train", "tasks": "toy"}, "--split needs --dataset NAME"),
        ({"label": None}, "--dataset needs --text COLUMN and --label COLUMN"),
        ({"data": "f.csv"}, "not both"),
    ):
        with pytest.raises(UsageError, match=said):
            request.read(GridOptions(**(grid | wrong)))


@pytest.mark.usefixtures("hub")
def test_a_task_file_may_name_a_dataset(tmp_path):
    """It is the task of `--dataset` with the same words; files beside it are refused."""
    path = tmp_path / "t.toml"
    path.write_text('dataset = "a/b"\ntest_split = "test"\ntext = "text"\nlabel = "label"\n')
    origin = sources.hub_splits("a/b", None, "train", "test")
    same = from_options(origin, ["text"], ["label"])
    assert task_file.read(path).reader.revision() == same.reader.revision()
    path.write_text('dataset = "a/b"\ndata = "d.csv"\ntext = "text"\nlabel = "label"\n')
    with pytest.raises(UsageError, match="data: name 'data' and 'test', or 'dataset'"):
        task_file.read(path)
