"""Trained models in memory: rows of different models share a forward pass."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from harness.errors import UsageError
from harness.training.predictor import Predictor, check_count
from methods import suitable
from tests.support.stored_models import random_model

TEXTS = [
    (f"the {word} film was {end}",) for word in ("new", "old") for end in ("good", "dull", "so so")
]
SOURCES = [
    (f"name: {name} | food: {food}",)
    for name, food in (("Aro", "soup"), ("Bel", "rice and fish"), ("Cid", ""))
]
SHARED = {"fine-tuning", "bitfit"}  # methods that train tensors of the backbone


def alone(models, texts):
    """What each model answers on its own: {number: predictions}."""
    return [Predictor({"": model}).predict(texts) for model in models]


def named(models):
    """The models by their numbers as names."""
    return {str(number): model for number, model in enumerate(models)}


def names(numbers):
    return [str(number) for number in numbers]


@pytest.mark.parametrize("name", suitable(writes=False))
def test_rows_of_several_models_get_the_answers_of_each_alone(name):
    """Every method with added tensors: classes and probabilities; a method that trains the backbone is refused."""
    models = [random_model(name, number) for number in range(3)]
    if name in SHARED:
        with pytest.raises(UsageError, match="one model at a time"):
            Predictor(named(models))
        return
    found = alone(models, TEXTS)
    numbers = [2, 0, 1, 1, 0, 2]
    together = Predictor(named(models)).predict(TEXTS, names(numbers))
    for row, number in enumerate(numbers):
        np.testing.assert_allclose(
            together.probabilities[row], found[number].probabilities[row], atol=1e-6
        )
        assert together.answers[row] == found[number].answers[row]
    # otherwise rows could have had the tensors of any model
    assert len({one.probabilities.tobytes() for one in found}) == 3


# The gates of unipelt cannot write.
@pytest.mark.parametrize("name", sorted({*suitable(writes=True)} - {"unipelt"}))
def test_texts_of_several_models_are_those_of_each_alone(name):
    """Every method with added tensors writes the same texts in one greedy search."""
    models = [random_model(name, number, task="toy-table-to-text", target_length=8) for number in range(3)]  # fmt: skip
    if name in SHARED:
        with pytest.raises(UsageError, match="one model at a time"):
            Predictor(named(models))
        return
    found = alone(models, SOURCES)
    together = Predictor(named(models))
    for numbers in ([0, 1, 2], [2, 2, 1]):
        texts = together.predict(SOURCES, names(numbers)).answers
        assert texts == [found[number].answers[row] for row, number in enumerate(numbers)]


def test_beams_of_several_models_are_those_of_each_alone():
    """A beam search runs for one model after the other, with the same texts."""
    recipe = {"task": "toy-table-to-text", "target_length": 6, "beams": 3}
    models = [random_model("prefix", number, **recipe) for number in range(2)]
    found = alone(models, SOURCES)
    texts = Predictor(named(models)).predict(SOURCES, names([1, 0, 1])).answers
    assert texts == [found[1].answers[0], found[0].answers[1], found[1].answers[2]]
    assert len({*found[0].answers, *found[1].answers}) > 1


def test_numbers_have_the_scale_of_their_model():
    """A regression adds the mean of its own training labels."""
    models = [random_model("prefix", number, task="toy-similarity") for number in (0, 50)]
    pairs = [("a film", "a play")] * 2
    low, high = Predictor(named(models)).predict(pairs, names([0, 1])).answers
    assert (low, high) == pytest.approx([one.answers[0] for one in alone(models, pairs)], abs=1e-5)
    assert high - low > 40


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"labels": ("no", "yes")}, "classes"),
        ({"options": {"length": "3"}}, "method, shapes of tensors"),
        ({"max_length": 40}, "lengths"),
    ],
)
def test_models_that_differ_in_more_than_their_tensors_are_refused(changes, parts):
    """The message names what differs."""
    models = [random_model("prefix", 0), random_model("prefix", 1, **changes)]
    with pytest.raises(UsageError, match=f"the models 0 and 1 differ in their {parts}:"):
        Predictor(named(models))


def test_one_backbone_serves_many_models(monkeypatch):
    """It is loaded once, and rows of sixteen models pass through it in as many calls as those of one."""
    from harness.backbones import loading

    calls = Counter()
    load, call = loading.load, loading.Backbone.__call__

    def counted_load(*arguments, **named):
        calls["loads"] += 1
        return load(*arguments, **named)

    def counted_call(*arguments):
        calls["calls"] += 1
        return call(*arguments)

    models = [random_model("prefix", number) for number in range(16)]
    monkeypatch.setattr(loading, "load", counted_load)
    monkeypatch.setattr(loading.Backbone, "__call__", counted_call)
    texts = [("a film of the same length",)] * 16
    Predictor(named(models)).predict(texts, names(range(16)))
    assert calls == {"loads": 1, "calls": 1}


def test_calls_of_several_threads_do_not_mix():
    """Each row gets the answer of its own model, although all calls share the slots."""
    models = [random_model("prefix", number) for number in range(2)]
    found = alone(models, TEXTS)
    together = Predictor(named(models))

    def ask(number):
        return together.predict(TEXTS, names([number] * len(TEXTS))).probabilities

    with ThreadPoolExecutor(4) as threads:
        asked = [number % 2 for number in range(16)]
        for number, answer in zip(asked, threads.map(ask, asked), strict=True):
            np.testing.assert_allclose(answer, found[number].probabilities, atol=1e-6)


def test_models_of_a_simplex_answer_at_their_own_point():
    """Models with several vertices share the backbone at the centroid and at a vertex."""
    models = [random_model("simplex", number, options={"vertices": "2"}) for number in range(2)]
    for at in (None, "2"):
        found = [Predictor({"": model}, at).predict(TEXTS).probabilities for model in models]
        together = Predictor(named(models), at).predict(TEXTS, names([0, 1, 0, 1, 0, 1]))
        for row, answer in enumerate(together.probabilities):
            np.testing.assert_allclose(answer, found[row % 2][row], atol=1e-6)


def test_a_row_of_another_number_of_texts_is_refused():
    """A model of one text does not answer a pair."""
    with pytest.raises(UsageError, match="toy-sentiment has one text, got 2"):
        check_count(random_model("prefix", 0), 2)
