"""The exam: test rows, looked at once, by the model that the dev rows chose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

import methods
from harness.streams import Streams
from harness.tasks import metrics
from harness.tasks.base import Row, Task
from harness.training.adapted_model import AdaptedModel, Tensors, predict
from harness.training.batching import Encoded
from harness.training.labels import Target
from methods.core.parameters import DecodedParameters

LogitsOf = Callable[
    [Tensors, Sequence[Encoded]], Tensor
]  # what fills the slots, rows -> logits [rows, outputs]


@dataclass
class TestScores:
    """What came of it."""

    metrics: dict[str, float] = field(default_factory=dict)
    score: float = math.nan
    predictions: list[float] = field(default_factory=list)


def evaluate(
    tensors: Tensors,
    tests: Mapping[str, tuple[Sequence[Row], Sequence[Encoded]]],
    target: Target,
    answers: LogitsOf,
) -> TestScores | None:
    """Metrics of one model on a task's test splits; None if a logit is not finite.

    Args:
        tensors: what fills the slots.
        tests: for each suffix of a metric its rows, as they are and encoded.
        target: what labels mean.
        answers: how logits come about.
    """
    marks, scores = TestScores(), []
    for suffix, (rows, encoded) in tests.items():
        logits = answers(tensors, encoded)
        if not bool(logits.isfinite().all()):
            return None
        found = target.predictions(logits)
        marks.predictions += found
        scored = metrics.compute(target.task.metrics, found, [row.label for row in rows])
        scores.append(metrics.score(target.task.metrics, scored))
        marks.metrics |= {
            f"{name}/{suffix}" if suffix else name: value for name, value in scored.items()
        }
    marks.score = math.fsum(scores) / len(scores)
    return marks


def score_of(target: Target, logits: Tensor, rows: Sequence[Row]) -> float:
    """The score of logits `[rows, outputs]`; 1.0 is perfect."""
    names = target.task.metrics
    return metrics.score(
        names, metrics.compute(names, target.predictions(logits), [row.label for row in rows])
    )


def centroid_logits(adapted: AdaptedModel) -> LogitsOf:
    """The centroid's own logits."""
    return lambda tensors, rows: predict(adapted, tensors, rows)


def sampled_mean_logits(
    adapted: AdaptedModel, samples: int, streams: Streams, task: Task
) -> LogitsOf:
    """The mean answer of sampled models: of their probabilities for classes, of their values for a regression."""

    def answer(tensors: Tensors, rows: Sequence[Encoded]) -> Tensor:
        return mean_logits(
            sampled_logits(adapted, samples, streams, tensors, rows), regression=task.regression
        )

    return answer


def sampled_logits(
    adapted: AdaptedModel, samples: int, streams: Streams, tensors: Tensors, rows: Sequence[Encoded]
) -> Iterator[Tensor]:
    """The logits `[rows, outputs]` of sampled models, one after the other."""
    for sample in range(samples):
        points = adapted.trainable.weights(len(rows), streams.generator("test", sample))
        yield predict(adapted, tensors, rows, points)


def mean_logits(answers: Iterable[Tensor], *, regression: bool) -> Tensor:
    """The mean of several models' logits: of their probabilities for classes, of their values for a regression."""
    total: Tensor | None = None
    count = 0
    for logits in answers:
        each = logits.double() if regression else logits.double().softmax(1)
        total = each if total is None else total + each
        count += 1
    assert total is not None
    middle = total / count
    return middle if regression else middle.clamp_min(torch.finfo(middle.dtype).tiny).log()


def prefixed(prefix: str, marks: TestScores | None, *, keys: Iterable[str]) -> dict[str, float]:
    """The metrics of a further look, under names that tell it; NaN where that model gives no finite numbers."""
    return {f"{prefix} {key}": marks.metrics[key] if marks else math.nan for key in keys}


def evaluate_bare_head(
    adapted: AdaptedModel,
    tests: Mapping[str, tuple[Sequence[Row], Sequence[Encoded]]],
    target: Target,
) -> TestScores | None:
    """Metrics of the trained head on the backbone alone: what the method's own tensors carry is missing here.

    Takes the method's slots out of the backbone for good, so it comes last.
    """
    trained = DecodedParameters(adapted.trainable)(None)
    adapted.slots.remove()
    head = methods.build("head").slots(adapted.backbone)
    tensors = {slot.name: trained[slot.name] for slot in head}
    try:
        return evaluate(
            lambda _: tensors,
            tests,
            target,
            centroid_logits(
                AdaptedModel(adapted.backbone, head, adapted.trainable, adapted.call_limit)
            ),
        )
    finally:
        head.remove()
