"""Scores on the test sets. They are evaluated once, with the model that the dev examples selected."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

import methods
from harness.jobs import Label
from harness.streams import Streams
from harness.tasks import metrics
from harness.tasks.base import Example, Task
from harness.training.adapted_model import AdaptedModel, Tensors, predict
from harness.training.encoding import Encoded
from harness.training.labels import Target
from methods.core.parameters import DecodedParameters

# From tensors of the slots, as a function of points, and encoded rows to logits `[rows, outputs]`.
LogitsOf = Callable[[Tensors, Sequence[Encoded]], Tensor]
# For each test set, its examples and their encoded rows, by the suffix of its metrics.
TestSets = Mapping[str, tuple[Sequence[Example], Sequence[Encoded]]]


@dataclass
class TestScores:
    """Metrics, score and predictions of one model on the test sets of a task."""

    metrics: dict[str, float]
    score: float
    predictions: list[Label]
    # [rows, classes] by test set; empty for a regression and for a multilabel task
    probabilities: dict[str, np.ndarray]


def evaluate(
    tensors: Tensors,
    test_sets: TestSets,
    target: Target,
    logits_of: LogitsOf,
) -> TestScores | None:
    """Evaluate one model on a task's test sets; return None if a logit is not finite.

    Args:
        tensors: returns the tensors of the slots at points of the simplex.
        test_sets: the test sets of the task.
        target: converts logits to predictions.
        logits_of: computes the logits of encoded rows.
    """
    predictions: dict[str, list[Label]] = {}
    probabilities: dict[str, np.ndarray] = {}
    for suffix, (_, encoded) in test_sets.items():
        logits = logits_of(tensors, encoded)
        if not bool(logits.isfinite().all()):
            return None
        predictions[suffix] = target.predictions(logits)
        if not target.task.regression and not target.task.multilabel:
            probabilities[suffix] = logits.double().softmax(1).cpu().numpy()
    values, score = metrics.compute_all(
        target.task.metrics,
        {
            suffix: (predictions[suffix], [example.label for example in examples])
            for suffix, (examples, _) in test_sets.items()
        },
    )
    in_order = [value for part in predictions.values() for value in part]
    return TestScores(values, score, in_order, probabilities)


def score_of(target: Target, logits: Tensor, rows: Sequence[Example]) -> float:
    """Return the score of logits `[rows, outputs]`; 1.0 is perfect."""
    names = target.task.metrics
    return metrics.score(
        names, metrics.compute(names, target.predictions(logits), [row.label for row in rows])
    )


def centroid_logits(adapted: AdaptedModel) -> LogitsOf:
    """Return a function that computes the logits of the centroid."""
    return lambda tensors, rows: predict(adapted, tensors, rows)


def sampled_mean_logits(
    adapted: AdaptedModel, samples: int, streams: Streams, task: Task
) -> LogitsOf:
    """Return a function that computes the mean of sampled models' logits: see `mean_logits`."""
    return lambda tensors, rows: mean_logits(
        sampled_logits(adapted, samples, streams, tensors, rows), task
    )


def sampled_logits(
    adapted: AdaptedModel, samples: int, streams: Streams, tensors: Tensors, rows: Sequence[Encoded]
) -> Iterator[Tensor]:
    """Yield the logits `[rows, outputs]` of each sampled model."""
    for sample in range(samples):
        points = adapted.trainable.sample_points(len(rows), streams.generator("test", sample))
        yield predict(adapted, tensors, rows, points)


def mean_logits(logits_of_models: Iterable[Tensor], task: Task) -> Tensor:
    """Return the logits of an ensemble of models.

    For a classification, they are the logarithms of the models' mean probabilities, for a multilabel task
    the log odds of these; for a regression, the mean of the models' values.
    """
    probabilities: Callable[[Tensor], Tensor] = (
        torch.sigmoid if task.multilabel else partial(torch.softmax, dim=1)
    )
    total: Tensor | None = None
    count = 0
    for logits in logits_of_models:
        values = logits.double() if task.regression else probabilities(logits.double())
        total = values if total is None else total + values
        count += 1
    assert total is not None
    mean = total / count
    if task.regression:
        return mean
    if task.multilabel:
        return mean.logit(torch.finfo(mean.dtype).eps)
    return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()


def prefixed(
    prefix: str, test_scores: TestScores | None, *, keys: Iterable[str]
) -> dict[str, float]:
    """Return the metrics of another model under prefixed names; NaN if its logits are not finite."""
    return {
        f"{prefix} {key}": test_scores.metrics[key] if test_scores else math.nan for key in keys
    }


def evaluate_bare_head(
    adapted: AdaptedModel,
    test_sets: TestSets,
    target: Target,
) -> TestScores | None:
    """Evaluate the trained head on the backbone without the method's other tensors.

    This removes the method's slots from the backbone, so no other evaluation can follow it.
    """
    trained = DecodedParameters(adapted.trainable)(None)
    adapted.slots.remove()
    head = methods.build("head").slots(adapted.backbone)
    tensors = {slot.name: trained[slot.name] for slot in head}
    try:
        return evaluate(
            lambda _: tensors,
            test_sets,
            target,
            centroid_logits(
                AdaptedModel(adapted.backbone, head, adapted.trainable, adapted.call_limit)
            ),
        )
    finally:
        head.remove()
