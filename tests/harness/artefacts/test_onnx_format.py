"""Graphs in ONNX answer as the model does, by the code of their card."""

import re
from dataclasses import replace

import numpy as np
import pytest

from harness.artefacts import onnx_format
from harness.commands import export
from harness.errors import Unavailable, UsageError
from harness.training.predictor import Predictor
from methods import suitable
from tests.support.stored_models import random_model

TEXTS = ["the film was good", "a long and dull play, which nobody liked, was bad"]


def exported(model, folder, at=None):
    """The folder of a graph, and the code on its card."""
    export.write_folder(model, folder, "onnx", at)
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.S)
    return code


def answered(code, folder, text, second=None):
    """The logits and the last value of the code of a card."""
    *lines, last = code.strip().splitlines()
    names = {"FOLDER": str(folder), "TEXT": text, "SECOND": second}
    exec("\n".join(lines), names)  # noqa: S102  # the code that users copy
    return names["logits"], eval(last, names)  # noqa: S307


def softmax(logits):
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", suitable(writes=False))
def test_a_graph_answers_as_the_model_does(name, tmp_path):
    """Every method: equal probabilities and class names, for texts of any length, one or several at once."""
    from onnxruntime import InferenceSession
    from transformers import AutoTokenizer

    model = random_model(name, 1)
    code = exported(model, tmp_path / "graph")
    expected = Predictor({"": model}).predict([(text,) for text in TEXTS])
    for row, text in enumerate(TEXTS):
        logits, answer = answered(code, tmp_path / "graph", text)
        np.testing.assert_allclose(softmax(logits)[0], expected.probabilities[row], atol=1e-5)
        assert answer == expected.answers[row]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "graph")
    batch = tokenizer(TEXTS * 3, padding=True, return_tensors="np")
    session = InferenceSession(tmp_path / "graph" / "model.onnx")
    inputs = {one.name: batch[one.name] for one in session.get_inputs()}
    (logits,) = session.run(None, inputs)
    np.testing.assert_allclose(softmax(logits)[:2], expected.probabilities, atol=1e-5)


@pytest.mark.slow
def test_pairs_numbers_sets_and_other_pooling(tmp_path):
    """Numbers in the units of labels, also of pairs read apart; sets above their threshold, with mean pooling."""
    numbers = random_model("prefix", 3, task="toy-similarity")
    code = exported(numbers, tmp_path / "numbers")
    _, value = answered(code, tmp_path / "numbers", "a film", "a long play")
    (expected,) = Predictor({"": numbers}).predict([("a film", "a long play")]).answers
    assert value == pytest.approx(expected, abs=1e-4)

    apart = random_model("features", 4, task="toy-similarity", options={"pairs": "apart"})
    assert apart.method.reads_apart
    code = exported(apart, tmp_path / "apart")
    _, value = answered(code, tmp_path / "apart", "a film", "a long play")
    (expected,) = Predictor({"": apart}).predict([("a film", "a long play")]).answers
    assert value == pytest.approx(expected, abs=1e-4)

    one = random_model("lora", 1)
    setting = one.entry.setting
    backbone = setting["backbone"] | {"pooling": "mean"}
    task = setting["task"] | {"multilabel": True}
    entry = replace(one.entry, setting=setting | {"backbone": backbone, "task": task})
    scale = {"mean": 0.0, "spread": 1.0, "threshold": 0.25}
    sets = with_pooled_head(replace(one, entry=entry, metadata={**one.metadata, "scale": scale}))
    code = exported(sets, tmp_path / "sets")
    for text in TEXTS:
        logits, answer = answered(code, tmp_path / "sets", text)
        found = Predictor({"": sets}).predict([(text,)])
        assert answer == list(found.answers[0])
        shifted = np.log(found.probabilities / (1 - found.probabilities)) - 0.25
        np.testing.assert_allclose(logits, shifted, atol=1e-4)


def with_pooled_head(model):
    """The same model with the names of the head of mean pooling."""
    tensors = {
        name.replace("inner.classifier", "classifier").replace("inner.bert.", "inner."): tensor
        for name, tensor in model.tensors.items()
    }
    head = [name for name in tensors if name.startswith("classifier")]
    return replace(
        model,
        tensors=tensors,
        metadata={**model.metadata, "head": head, "output_layer": "classifier"},
    )


@pytest.mark.slow
def test_a_vertex_of_a_simplex_has_a_graph_of_its_own(tmp_path):
    """`--at 2` writes the second vertex and not the centroid."""
    model = random_model("simplex", 1, options={"vertices": "2"})
    code = exported(model, tmp_path / "graph", "2")
    logits, _ = answered(code, tmp_path / "graph", TEXTS[0])
    (vertex,) = Predictor({"": model}, "2").predict([(TEXTS[0],)]).probabilities
    (centroid,) = Predictor({"": model}).predict([(TEXTS[0],)]).probabilities
    np.testing.assert_allclose(softmax(logits)[0], vertex, atol=1e-5)
    assert abs(vertex - centroid).max() > 1e-4


def test_a_model_that_writes_has_no_graph(tmp_path):
    """The message names the formats that can hold it."""
    model = random_model("lora", 1, task="toy-table-to-text")
    with pytest.raises(UsageError, match="writes text: use --format transformers or"):
        export._check_format(model, "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path):
    """Before anything is written."""
    monkeypatch.setattr(onnx_format, "find_spec", lambda _: None)
    with pytest.raises(Unavailable, match=r"pip install 'simplexbench\[onnx\]'"):
        export.write_folder(random_model("lora", 1), tmp_path / "graph", "onnx", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_graph_that_answers_differently_is_refused(monkeypatch, tmp_path):
    """As of a model whose layers attend to near tokens only, which the graph's mask does not know."""
    full_mask = onnx_format.full_mask
    monkeypatch.setattr(onnx_format, "full_mask", lambda mask, causal: full_mask(mask, causal=not causal))  # fmt: skip
    with pytest.raises(Unavailable, match="the graph's logits differ from the model's by"):
        export.write_folder(random_model("lora", 1), tmp_path / "graph", "onnx", None)
    assert list(tmp_path.iterdir()) == []
