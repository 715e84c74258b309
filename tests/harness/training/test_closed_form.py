"""Methods that are fitted in closed form on features of the frozen backbone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import methods
from harness.streams import Streams
from harness.tasks.base import Example
from harness.training import closed_form, testing
from harness.training.adapted_model import AdaptedModel, predict
from harness.training.feature_cache import FeatureStore
from harness.training.labels import Target
from harness.training.loop import Examples
from harness.training.rows import batching, encoding
from methods.core.parameters import DecodedParameters
from tests.support.trainings import CLASSES, NUMBERS, THREE, Letters, adapted, rows


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))


def labelled(task, count=60, seed=0):
    """Return examples with as many classes as the task has, or with values that depend on the first letter."""
    if task.regression:
        return [row._replace(label=float(ord(row.texts[0][0]))) for row in rows(count, seed)]
    return [
        row._replace(label=(ord(row.texts[0][0]) - ord("a")) % len(task.labels))
        for row in rows(count, seed)
    ]


def fitted(task, **options):
    method, model = adapted("features", outputs=task.outputs, dtype="float64", **options)
    train, dev = labelled(task), labelled(task, 20, seed=1)
    examples = Examples(train, dev, Target.of(task, train))
    reader = FeatureStore().reader(model, method)
    return model, closed_form.fit(model, reader, examples), examples, reader


def pooled(model, encoded, pooling):
    """Pool the last hidden states by hand: their mean over tokens, or the first."""
    actual = []
    for row in encoded:
        batch = batching.collate(model.backbone, [row])
        states = model.backbone.model.inner.bert(**batch).last_hidden_state[0].detach().double()
        actual.append(states.mean(0) if pooling == "mean" else states[0])
    return torch.stack(actual).numpy()


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("task", [CLASSES, THREE], ids=["two", "three"])
def test_logits_are_those_of_scikit_learn(task, pooling):
    """Logistic regression on features scaled by the training rows gives scikit-learn's probabilities."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model, result, examples, _ = fitted(task, pooling=pooling, c=0.3)
    assert [point.step for point in result.curve] == [1]
    encoded = [encoding.encode(model.backbone, part) for part in (examples.train, examples.dev)]
    x, held = (pooled(model, part, pooling) for part in encoded)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=1000)).fit(
        x, [r.label for r in examples.train]
    )
    ours = predict(model, DecodedParameters(model.trainable), encoded[1]).softmax(1).numpy()
    assert np.allclose(ours, theirs.predict_proba(held), atol=1e-4)


def pairs(count, seed):
    """Two words of different lengths; class 1 if they start with the same half of the alphabet."""
    return [
        one._replace(texts=(one.texts[0], other.texts[0]), label=int(one.label == other.label))
        for one, other in zip(rows(count, seed), rows(count, seed + 100), strict=True)
    ]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_texts_of_a_pair_can_be_read_apart(pooling):
    """The features are the product, the distance and the cosine of the states of each text alone."""
    from tests.support.models import random_bert

    backbone = random_bert("float64", outputs=2)
    apart = replace(backbone, tokenizer=Letters(), apart=True)
    method = methods.build("features", {"pairs": "apart", "pooling": pooling, "c": 0.3})
    model = AdaptedModel(
        apart,
        slots := method.slots(apart),
        method.trainable_parameters(slots, Streams(("made", 50, 0, 0))),
    )
    train, dev = pairs(40, 0), pairs(15, 7)
    reader = FeatureStore().reader(model, method)
    result = closed_form.fit(model, reader, Examples(train, dev, Target.of(CLASSES, train)))
    assert [point.step for point in result.curve] == [1]

    def by_hand(examples):
        alone = replace(model.backbone, apart=False)
        u, v = (
            pooled(
                model,
                encoding.encode(alone, [Example((row.texts[at],), 0) for row in examples]),
                pooling,
            )
            for at in (0, 1)
        )
        cosine = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
        return np.hstack([u * v, abs(u - v), cosine[:, None]])

    encoded = encoding.encode(model.backbone, dev)
    assert np.allclose(reader(encoded), by_hand(dev), atol=1e-6)
    one_by_one = np.concatenate([FeatureStore().reader(model, method)([row]) for row in encoded])
    assert np.array_equal(reader(encoded), one_by_one)  # no mate changes a bit
    solution = {name: tensor.detach().numpy() for name, tensor in model.trainable.shared.items()}
    logits = predict(model, DecodedParameters(model.trainable), encoded).numpy()
    assert np.allclose(logits, method.logits_of(by_hand(dev), solution), atol=1e-5)
    slots.remove()


def test_a_regression_is_ridge_regression():
    """Labels are standardised by the training rows, and predictions are scaled back."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model, _, examples, _ = fitted(NUMBERS, c=2.0)
    encoded = [encoding.encode(model.backbone, part) for part in (examples.train, examples.dev)]
    x, held = (pooled(model, part, "mean") for part in encoded)
    y = np.array([row.label for row in examples.train])
    theirs = make_pipeline(StandardScaler(), Ridge(alpha=0.5)).fit(x, (y - y.mean()) / y.std())
    ours = examples.target.predictions(
        predict(model, DecodedParameters(model.trainable), encoded[1])
    )
    assert np.allclose(ours, theirs.predict(held) * y.std() + y.mean(), atol=1e-3)


def test_the_dev_examples_select_the_strength():
    """With `c=0` five strengths are tried; the best dev score is kept, of equal ones the lower loss."""
    model, result, examples, _ = fitted(CLASSES)
    assert [point.step for point in result.curve] == [1, 2, 3, 4, 5]
    assert result.best_evaluation == max(
        result.curve, key=lambda point: (point.dev_score, -point.dev_loss, point.step)
    )
    scores = testing.evaluate(
        DecodedParameters(model.trainable),
        {"": (examples.dev, encoding.encode(model.backbone, examples.dev))},
        examples.target.task,
        testing.from_logits(testing.centroid_logits(model), examples.target),
    )
    assert scores.score == result.best_evaluation.dev_score
