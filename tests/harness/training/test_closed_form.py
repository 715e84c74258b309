"""Methods that are fitted in closed form on features of the frozen backbone."""

import numpy as np
import pytest
import torch

from harness.training import closed_form, testing
from harness.training.adapted_model import predict
from harness.training.feature_cache import FeatureStore
from harness.training.labels import Target
from harness.training.loop import Examples
from harness.training.rows import batching, encoding
from methods.core.parameters import DecodedParameters
from tests.support.trainings import CLASSES, NUMBERS, THREE, adapted, rows


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
