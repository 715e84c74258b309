"""Scores on the test sets. They are evaluated once, with the model that the dev examples selected."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from torch import Tensor

import methods
from harness.jobs import Label, Recipe
from harness.streams import Streams
from harness.tasks import metrics
from harness.tasks.base import Example, Task
from harness.training import generation
from harness.training.adapted_model import AdaptedModel, Tensors, predict
from harness.training.labels import LabelTarget, Target
from harness.training.rows.truncation import Encoded
from methods.core.parameters import DecodedParameters

# From tensors of the slots, as a function of points, and encoded rows to logits `[rows, outputs]`.
LogitsOf = Callable[[Tensors, Sequence[Encoded]], Tensor]


class Answers(NamedTuple):
    """What a model predicts for the rows of a test set."""

    predictions: list[Label]
    probabilities: np.ndarray | None = None  # [rows, classes]; only for one of several classes


# As `LogitsOf`, but to predictions; None: a logit is not finite.
AnswersOf = Callable[[Tensors, Sequence[Encoded]], Answers | None]
# For each test set, its examples and their encoded rows, by the suffix of its metrics.
TestSets = Mapping[str, tuple[Sequence[Example], Sequence[Encoded]]]


@dataclass
class TestScores:
    """Metrics, score and predictions of one model on the test sets of a task."""

    metrics: dict[str, float]
    score: float
    predictions: list[Label]
    row_scores: dict[str, list[float]]  # of texts, by test set: see `metrics.row_scores`
    # [rows, classes] by test set; empty for a regression and for a multilabel task
    probabilities: dict[str, np.ndarray] = field(default_factory=dict)


def evaluate(
    tensors: Tensors, test_sets: TestSets, task: Task, answers_of: AnswersOf
) -> TestScores | None:
    """Evaluate one model on a task's test sets; return None if a logit is not finite.

    Args:
        tensors: returns the tensors of the slots at points of the simplex.
        test_sets: the test sets of the task.
        task: the task, with its metrics.
        answers_of: predicts encoded rows.
    """
    answers: dict[str, Answers] = {}
    for suffix, (_, encoded) in test_sets.items():
        part = answers_of(tensors, encoded)
        if part is None:
            return None
        answers[suffix] = part
    scores = score(
        task,
        {suffix: answer.predictions for suffix, answer in answers.items()},
        {suffix: examples for suffix, (examples, _) in test_sets.items()},
    )
    scores.probabilities = {
        suffix: part.probabilities
        for suffix, part in answers.items()
        if part.probabilities is not None
    }
    return scores


def score(
    task: Task,
    predictions: Mapping[str, Sequence[Label]],
    examples: Mapping[str, Sequence[Example]],
) -> TestScores:
    """Return the scores of predictions for the examples of each test set, by suffix."""
    scored = {
        suffix: metrics.Scored(
            predictions[suffix],
            [example.label for example in part],
            [" ".join(example.texts) for example in part] if task.text else (),
        )
        for suffix, part in examples.items()
    }
    values, mean = metrics.compute_all(task.metrics, scored)
    for suffix, part in scored.items():
        others = metrics.compute(task.other_metrics, part)
        values |= {f"{name}/{suffix}" if suffix else name: other for name, other in others.items()}
    if task.text and len(scored) > 1:  # BLEU of all texts is not the mean of the test sets
        together = metrics.Scored(
            *([value for part in scored.values() for value in part[at]] for at in range(3))
        )
        of_all = metrics.compute((*task.metrics, *task.other_metrics), together)
        values |= {f"{name}/all": value for name, value in of_all.items()}
    return TestScores(
        values,
        mean,
        [value for part in predictions.values() for value in part],
        metrics.row_scores(task.metrics, scored) if task.text else {},
    )


def from_logits(logits_of: LogitsOf, target: LabelTarget) -> AnswersOf:
    """Return a function that predicts rows by their logits."""

    def answers_of(tensors: Tensors, rows: Sequence[Encoded]) -> Answers | None:
        logits = logits_of(tensors, rows)
        if not bool(logits.isfinite().all()):
            return None
        probabilities = (
            logits.double().softmax(1).cpu().numpy() if target.has_probabilities else None
        )
        return Answers(target.predictions(logits), probabilities)

    return answers_of


def written(adapted: AdaptedModel, recipe: Recipe) -> AnswersOf:
    """Return a function that writes the texts of rows."""

    def answers_of(tensors: Tensors, rows: Sequence[Encoded]) -> Answers:
        return Answers([*generation.generate(adapted, tensors, rows, recipe)])

    return answers_of


def centroid_logits(adapted: AdaptedModel) -> LogitsOf:
    """Return a function that computes the logits of the centroid."""
    return lambda tensors, rows: predict(adapted, tensors, rows)


def sampled_mean_logits(
    adapted: AdaptedModel, samples: int, streams: Streams, target: LabelTarget
) -> LogitsOf:
    """Return a function that computes the mean of sampled models' logits: see `mean_logits`."""
    return lambda tensors, rows: mean_logits(
        sampled_logits(adapted, samples, streams, tensors, rows), target
    )


def sampled_logits(
    adapted: AdaptedModel, samples: int, streams: Streams, tensors: Tensors, rows: Sequence[Encoded]
) -> Iterator[Tensor]:
    """Yield the logits `[rows, outputs]` of each sampled model."""
    for sample in range(samples):
        points = adapted.trainable.sample_points(len(rows), streams.generator("test", sample))
        yield predict(adapted, tensors, rows, points)


def mean_logits(logits_of_models: Iterable[Tensor], target: LabelTarget) -> Tensor:
    """Return the logits of an ensemble of models.

    For a classification, they are the logarithms of the models' mean probabilities, for a multilabel task
    the log odds of these; for a regression, the mean of the models' values.
    """
    total: Tensor | None = None
    count = 0
    for logits in logits_of_models:
        values = target.to_average(logits)
        total = values if total is None else total + values
        count += 1
    assert total is not None
    return target.from_average(total / count)


def prefixed(
    prefix: str, test_scores: TestScores | None, *, keys: Iterable[str]
) -> dict[str, float]:
    """Return the metrics of another model under prefixed names; NaN if its logits are not finite."""
    return {
        f"{prefix} {key}": test_scores.metrics[key] if test_scores else math.nan for key in keys
    }


def evaluate_bare_head(
    adapted: AdaptedModel, test_sets: TestSets, target: Target, recipe: Recipe
) -> TestScores | None:
    """Evaluate the trained head on the backbone without the method's other tensors.

    A model that writes text has no head: it is evaluated as it is. This removes the method's slots from
    the backbone, so no other evaluation can follow it.
    """
    trained = DecodedParameters(adapted.trainable)(None)
    adapted.slots.remove()
    bare = "zero-shot" if adapted.backbone.writes else "head"
    slots = methods.build(bare).slots(adapted.backbone)
    tensors = {slot.name: trained[slot.name] for slot in slots}
    model = AdaptedModel(adapted.backbone, slots, adapted.trainable, adapted.call_limit)
    answers_of = (
        from_logits(centroid_logits(model), target)
        if isinstance(target, LabelTarget)
        else written(model, recipe)
    )
    try:
        return evaluate(lambda _: tensors, test_sets, target.task, answers_of)
    finally:
        slots.remove()
