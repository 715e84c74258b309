"""Trainings in which a row has any number of classes."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

import methods
from harness.outcome import pack_sets, unpack_predictions
from harness.tasks.base import Example
from harness.training import testing
from harness.training.jobs import worker
from harness.training.labels import THRESHOLDS, LabelTarget, Target
from tests.support.trainings import THREE, tickets_of

SETS = replace(THREE, multilabel=True, metrics=("micro-f1",))
ROWS = [
    Example((f"text {number}",), label)
    for number, label in enumerate([(0,), (0, 1), (), (0, 2), (1,), (0,), (), (0,)])
]
MARKS = np.array([[number in row.label for number in range(3)] for row in ROWS], dtype=float)


def marks(labels, classes=4):
    """Zeros and ones [rows, classes]."""
    return np.array([[number in label for number in range(classes)] for label in labels])


@pytest.fixture
def topics(tmp_path):
    """A file of 160 rows of four classes, each marked by its own word."""
    rng = random.Random(5)  # noqa: S311
    lines = []
    for _ in range(160):
        chosen = [name for name in ("red", "blue", "soup", "cake") if rng.random() < 0.4]
        words = [*chosen, *rng.choices(["the", "was", "and", "there"], k=4)]
        rng.shuffle(words)
        lines.append(json.dumps({"text": " ".join(words), "topics": chosen}))
    path = tmp_path / "topics.jsonl"
    path.write_text("\n".join(lines))
    return {"tasks": None, "data": path, "text": "text", "label": "topics", "kind": "multilabel"}


def test_the_loss_is_the_mean_binary_cross_entropy():
    """Over rows and classes, in parts and as a whole; balanced, a class weighs its rows without over those with."""
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chances = 1 / (1 + np.exp(-logits.numpy()))
    for balanced, weights in ((False, 1.0), (True, np.array([3 / 5, 6 / 2, 7 / 1]))):
        target = Target.of(SETS, ROWS, balanced=balanced)
        labels = target.tensor(ROWS, torch.device("cpu"))
        expected = -np.mean(weights * MARKS * np.log(chances) + (1 - MARKS) * np.log(1 - chances))
        assert float(target.loss(logits, labels)) == pytest.approx(expected)
        parts = (slice(0, 3), slice(3, 8))
        sums = [float(target.loss(logits[p], labels[p])) * len(labels[p]) for p in parts]
        assert sum(sums) / 8 == pytest.approx(expected)


def test_a_class_of_all_or_of_no_rows_keeps_its_weight():
    """Balanced, it would weigh 0 or have no finite weight."""
    rows = [Example((text,), label) for text, label in (("a", (0,)), ("b", (0, 1)))]
    assert Target.of(SETS, rows, balanced=True).weights == (1.0, 1.0, 1.0)


def test_dev_rows_choose_the_threshold_with_the_best_score():
    """Among all thresholds the score is best at the chosen one; ties go to probability .5; others keep theirs."""
    logits = torch.from_numpy(MARKS * 2 - 3.2 + np.linspace(-0.3, 0.3, 24).reshape(8, 3))
    target = Target.of(SETS, ROWS)
    chosen = target.fitted_to(logits, ROWS)
    scores = {
        threshold: f1_score(MARKS, (logits > threshold).numpy(), average="micro")
        for threshold in THRESHOLDS
    }
    assert scores[chosen.threshold] == max(scores.values())
    assert scores[0.0] == 0
    assert target.fitted_to(torch.zeros(8, 3) - 9, ROWS).threshold == 0.0
    single = Target.of(THREE, [Example(("a",), 1)])
    assert single.fitted_to(logits, ROWS) is single


def test_sets_are_stored_in_whole_bytes():
    """Rows of up to 17 classes come back as they were, also empty ones."""
    rng = np.random.default_rng(0)
    for classes in (1, 7, 8, 9, 17):
        sets = [tuple(np.flatnonzero(row).tolist()) for row in rng.random((30, classes)) < 0.3]
        assert unpack_predictions(pack_sets(sets, classes)) == sets


def test_the_mean_of_models_is_that_of_their_probabilities():
    """An ensemble averages the probability of each class."""
    models = [torch.tensor([[-4.0, 0.0, 9.0]]), torch.tensor([[1.0, 2.0, 40.0]])]
    mean = testing.mean_logits(models, LabelTarget.stored(SETS, {})).sigmoid()
    expected = sum(model.double().sigmoid() for model in models) / 2
    assert mean.numpy() == pytest.approx(expected.numpy())


def test_features_fit_each_class_by_itself():
    """The solution is scikit-learn's for each class; a class of no or of all rows keeps its log odds."""
    rng = np.random.default_rng(2)
    y = np.repeat(np.concatenate([MARKS, np.zeros((8, 1)), np.ones((8, 1))], axis=1), 4, axis=0)
    x = rng.normal(size=(32, 5)) + y[:, :1]
    solver = methods.build("features", {"c": "1"}).closed_form
    weights = np.where(y > 0, [0.6, 3.0, 7.0, 1.0, 1.0], 1.0)
    for given in (None, weights):
        (found,) = solver.solve(x, y, classes=5, weights=given)
        logits = solver.logits_of(x, found)
        scaled = (x - x.mean(0)) / x.std(0)
        for number in range(3):
            of_rows = None if given is None else given[:, number]
            model = LogisticRegression(C=1.0, max_iter=1000).fit(scaled, y[:, number], of_rows)
            assert logits[:, number] == pytest.approx(model.decision_function(scaled), abs=1e-6)
        assert logits[:, 3] == pytest.approx(np.log(0.5 / 32.5))
        assert logits[:, 4] == pytest.approx(np.log(32.5 / 0.5))


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 4], ids=["alone", "packed"])
def test_every_method_trains_on_sets_of_classes(tmp_path, topics, size):
    """Stored predictions and labels give the stored score by scikit-learn; no probabilities or temperature."""
    more = topics | {"methods": "all", "steps": "6", "eval_every": "3", "sizes": "30"}
    more |= {"set_": ["simplex.test=mean-of-samples"]}
    tickets = [replace(ticket, rules=True, zeroed=size == 1) for ticket in
               tickets_of(tmp_path, 1, size, **more)]  # fmt: skip
    outcomes = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert len(outcomes) == len(methods.suitable(writes=False))
    for outcome in outcomes:
        assert outcome.status == "done"
        predictions = marks(unpack_predictions(outcome.predictions))
        labels = marks(unpack_predictions(outcome.labels[""]))
        expected = f1_score(labels, predictions, average="micro", zero_division=0)
        assert outcome.score == pytest.approx(expected)
        assert not outcome.probabilities
        assert not outcome.temperature


def test_a_trained_model_finds_the_classes(tmp_path, topics):
    """Features of the embedded model beat the best constant by far."""
    (ticket,) = tickets_of(tmp_path, 1, 1, **(topics | {"methods": "features", "sizes": "80"}))
    (outcome,) = worker.run_pack([ticket], "cpu", lambda *_: None)
    labels = marks(unpack_predictions(outcome.labels[""]))
    constant = f1_score(labels, np.ones_like(labels), average="micro")
    assert outcome.score > constant + 0.1
