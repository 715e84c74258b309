"""Labels and losses of training rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight

import methods
from harness.tasks.base import Example
from harness.training.labels import Target
from tests.support.trainings import THREE

LABELS = [0, 0, 0, 0, 0, 1, 1, 2]
ROWS = [Example((f"text {number}",), label) for number, label in enumerate(LABELS)]


def test_balanced_weights_are_those_of_scikit_learn():
    """A class of n of N rows weighs N / (classes n); a class without a training row has no weight."""
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    assert Target.of(THREE, ROWS, balanced=True).weights == pytest.approx(expected)
    assert Target.of(THREE, ROWS).weights == ()
    assert Target.of(THREE, ROWS[:7], balanced=True).weights[2] == 0


def test_parts_of_a_step_add_up_to_the_weighted_loss():
    """The loss is the mean over rows of weight times cross-entropy, in parts and as a whole."""
    target = Target.of(THREE, ROWS, balanced=True)
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = target.tensor(ROWS, torch.device("cpu"))
    rows = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    expected = float((rows * torch.tensor(target.weights, dtype=torch.float64)[labels]).mean())
    assert float(target.loss(logits, labels)) == pytest.approx(expected)
    parts = [
        float(target.loss(logits[part], labels[part])) * len(labels[part]) / len(labels)
        for part in (slice(0, 3), slice(3, 8))
    ]
    assert sum(parts) == pytest.approx(expected)


def test_features_with_weights_are_scikit_learns_balanced_regression():
    """The solution equals that of LogisticRegression(class_weight="balanced") on scaled features."""
    rng = np.random.default_rng(2)
    labels = np.array(LABELS * 6)
    x = rng.normal(size=(len(labels), 5)) + labels[:, None]
    weights = np.array(Target.of(THREE, ROWS, balanced=True).weights)[labels]
    solver = methods.build("features", {"c": "1"}).closed_form
    (found,) = solver.solve(x, labels, classes=3, weights=weights)
    scaled = (x - x.mean(0)) / x.std(0)
    expected = LogisticRegression(C=1.0, max_iter=1000, class_weight="balanced").fit(scaled, labels)
    assert solver.logits_of(x, found) == pytest.approx(expected.decision_function(scaled), abs=1e-6)
    (plain,) = solver.solve(x, labels, classes=3)
    assert np.abs(plain["readout"] - found["readout"]).max() > 0.01


def test_a_regression_has_no_weights():
    """`balanced` says nothing about numbers."""
    numbers = replace(THREE, labels=(), metrics=("pearson",))
    assert Target.of(numbers, ROWS, balanced=True).weights == ()
