"""Models in Python, in the conventions of scikit-learn."""

import numpy as np
import pandas as pd
import pytest

from harness import Model, Models, load
from harness.commands import export
from harness.errors import UsageError
from tests.support.stored_models import random_model

TEXTS = ["the film was good", "the film was dull", "a long play"]


@pytest.fixture
def folders(tmp_path):
    """The folders of three models with other tensors."""
    paths = [tmp_path / name for name in ("ann", "bob", "cho")]
    for number, path in enumerate(paths):
        export.write_folder(random_model("lora", number), path, "safetensors", None)
    return paths


def test_classes_answers_and_probabilities_follow_scikit_learn():
    """The columns of probabilities are those of `classes_`, and the answer is the most probable one."""
    model = Model(random_model("prefix", 1))
    answers, probabilities = model.predict(TEXTS), model.predict_proba(TEXTS)
    assert list(model.classes_) == ["negative", "positive"]
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(answers, model.classes_[probabilities.argmax(1)])
    assert model.predict([]).shape == (0,)
    assert model.predict_proba([]).shape == (0, 2)
    assert "prefix on toy-sentiment" in repr(model)


def test_scores_of_scikit_learn_take_the_answers():
    """Its accuracy and log loss read answers and probabilities as they are."""
    from sklearn.metrics import accuracy_score, log_loss

    model = Model(random_model("prefix", 1))
    labels = ["positive", "negative", "negative"]
    probabilities = model.predict_proba(TEXTS)
    right = [name == label for name, label in zip(model.predict(TEXTS), labels, strict=True)]
    assert accuracy_score(labels, model.predict(TEXTS)) == pytest.approx(sum(right) / 3)
    expected = -np.log(probabilities[[0, 1, 2], [1, 0, 0]]).mean()
    assert log_loss(labels, probabilities, labels=model.classes_) == pytest.approx(expected)


def test_pairs_tables_and_arrays_are_texts():
    """Rows are pairs, arrays, columns of pandas, or a table with the columns of the training data."""
    model = Model(random_model("prefix", 1))
    expected = model.predict_proba(TEXTS)
    np.testing.assert_array_equal(model.predict_proba(np.array(TEXTS)), expected)
    np.testing.assert_array_equal(model.predict_proba(pd.Series(TEXTS)), expected)
    np.testing.assert_array_equal(model.predict_proba(pd.DataFrame({"text": TEXTS})), expected)
    pairs = Model(random_model("prefix", 1, task="toy-similarity"))
    values = pairs.predict([("a film", "a play"), ["a film", "a film"]])
    assert values.shape == (2,)
    assert values.dtype == np.float64
    assert list(pairs.classes_) == []
    with pytest.raises(UsageError, match="for classes"):
        pairs.predict_proba([("a film", "a play")])


def test_a_table_is_read_by_the_columns_of_the_training_data():
    """Further columns are ignored, and a missing one is named."""
    stored = random_model("prefix", 1)
    task = stored.entry.setting["task"] | {"task": "own"}
    entry = stored.entry.__class__(
        **{**vars(stored.entry), "task": "own", "setting": {**stored.entry.setting, "task": task}}
    )
    model = Model(stored.__class__(entry, stored.tensors, {**stored.metadata, "columns": ["said"]}))
    table = pd.DataFrame({"id": [1, 2, 3], "said": TEXTS})
    np.testing.assert_array_equal(model.predict_proba(table), model.predict_proba(TEXTS))
    with pytest.raises(UsageError, match="no column 'said'"):
        model.predict(pd.DataFrame({"text": TEXTS}))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a film", "pass a list of texts"),
        (["a film", "  "], "row 1 has no text"),
        (["a film", None], "row 1 has no text, but None"),
        ([float("nan")], "row 0 has no text, but nan"),
        ([("a", "b")], "has one text, got 2"),
        (["a \ud800"], "row 0: "),
        ([{"text": "a film"}], "row 0 has no text, but {'text'"),
        ({"text": ["a film"]}, "pass a list of texts"),
    ],
)
def test_what_is_no_text_is_refused(texts, message):
    """The message names the row."""
    with pytest.raises(UsageError, match=message):
        Model(random_model("prefix", 1)).predict(texts)


def test_sets_of_classes_are_marks():
    """As a multilabel classifier of scikit-learn: zeros and ones by class."""
    stored = random_model("lora", 1)
    task = stored.entry.setting["task"] | {"multilabel": True}
    entry = stored.entry.__class__(
        **{**vars(stored.entry), "setting": {**stored.entry.setting, "task": task}}
    )
    model = Model(
        stored.__class__(
            entry, stored.tensors, {**stored.metadata, "scale": {"mean": 0, "threshold": 0.0}}
        )
    )
    marks = model.predict(TEXTS)
    np.testing.assert_array_equal(marks, (model.predict_proba(TEXTS) > 0.5).astype(int))
    assert marks.shape == (3, 2)


def test_a_folder_loads_alone_and_several_on_one_backbone(folders):
    """Each row gets the answer of the model of its name."""
    one = load(folders[1])
    several = load(folders)
    assert isinstance(one, Model)
    assert isinstance(several, Models)
    assert several.names == ("ann", "bob", "cho")
    names = ["bob", "ann", "bob"]
    found = several.predict_proba(TEXTS, names)
    np.testing.assert_allclose(found[[0, 2]], one.predict_proba([TEXTS[0], TEXTS[2]]), atol=1e-6)
    np.testing.assert_array_equal(several.predict(TEXTS, names), several.classes_[found.argmax(1)])
    with pytest.raises(UsageError, match="no model 'dan' is loaded: there are ann, bob, cho"):
        several.predict(TEXTS, ["bob", "ann", "dan"])
    with pytest.raises(UsageError, match="one model for each of 3 rows, got 1"):
        several.predict(TEXTS, ["bob"])
    with pytest.raises(UsageError, match="got 'bob'"):
        several.predict(TEXTS, "bob")
    with pytest.raises(UsageError, match="each model once"):
        load([folders[0], folders[0]])
    with pytest.raises(UsageError, match="holds one point"):
        load(folders[0], at=1)
    with pytest.raises(UsageError, match="the list is empty"):
        load([])


@pytest.mark.usefixtures("folders")
def test_a_column_names_the_model_of_each_row(bench, tmp_path):
    """`bench predict PARENT --model-column` writes what each model alone would; rows without a name stay empty."""
    file = tmp_path / "rows.csv"
    users = ["bob", "ann", "", "cho"]
    pd.DataFrame({"text": [*TEXTS, "a play"], "user": users}).to_csv(file, index=False)
    words = ("--csv", file, "--text", "text", "--model-column", "user")
    ended = bench(tmp_path, "predict", tmp_path, *words, "-o", "out.csv")
    assert ended.code == 0, ended.err
    assert "without text, without user" in ended.err
    out = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    for row, user in enumerate(users):
        if user:
            (expected,) = load(tmp_path / user).predict_proba([out["text"][row]])
            assert float(out["p(positive)"][row]) == pytest.approx(expected[1], abs=1e-5)
        else:
            assert out["answer"][row] == ""


def test_folders_of_one_name_are_called_by_their_paths(folders, tmp_path):
    """And one of a list is still a model of a list."""
    (tmp_path / "more").mkdir()
    other = folders[0].rename(tmp_path / "more" / "bob")
    assert load([folders[1], other]).names == (str(folders[1]), str(other))
    assert load([other]).names == ("bob",)


def test_a_folder_that_is_not_there_is_named():
    """And not a database, which nobody asked for."""
    with pytest.raises(UsageError, match="there is no folder modle"):
        load("modle")


@pytest.mark.usefixtures("folders")
def test_models_that_no_row_names_do_not_count(bench, tmp_path):
    """A folder with other classes, in front of the others, changes nothing in the answers."""
    other = random_model("lora", 5, labels=("no", "perhaps", "yes"))
    export.write_folder(other, tmp_path / "aaa", "safetensors", None)
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a film", "user": "bob"}\n{"text": "a film", "user": "ann"}\n')
    words = ("--csv", file, "--text", "text", "--model-column", "user")
    ended = bench(tmp_path, "predict", tmp_path, *words)
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0] == "text,user,answer,p(negative),p(positive)"
    file.write_text('{"text": "a film", "user": "bob"}\n{"text": "a film", "user": "aaa"}\n')
    ended = bench(tmp_path, "predict", tmp_path, *words)
    assert ended.code == 2
    assert "the models bob and aaa differ in their classes" in ended.err


@pytest.mark.usefixtures("folders")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model-column", "who"), "no column 'who'; there are text, user"),
        (("--model-column", "text"), "no model 'a film'; there are ann, bob, cho"),
        ((), "no model.safetensors and job.json"),
    ],
)
def test_a_model_column_that_names_no_models_is_refused(bench, tmp_path, words, message):
    """The message names the column or the model, and nothing is written."""
    file = tmp_path / "rows.csv"
    pd.DataFrame({"text": ["a film"], "user": ["bob"]}).to_csv(file, index=False)
    ended = bench(tmp_path, "predict", tmp_path, "--csv", file, "--text", "text", *words)
    assert ended.code == 2
    assert message in ended.err
    assert ended.out == ""
