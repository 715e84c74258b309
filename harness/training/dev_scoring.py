"""The scores of a job's dev examples during training, and the selection rules that read them."""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from harness.streams import Streams
from harness.tasks import metrics
from harness.tasks.base import Example
from harness.training.labels import Target
from harness.training.selection import CurvePoint
from methods.core.method import DevScoring
from methods.core.parameters import TrainableParameters

# Rows that stochastic validation scores at least: dev examples are copied until there are as many.
SCORED_ROWS = 300


class EvalRequest(NamedTuple):
    """A request for the logits `[rows, outputs]` of the current parameters, on the CPU.

    Attributes:
        indices: of the rows among the training loop's rows.
        points: points of the simplex, `[rows, layers, vertices]` or one for all rows, `[1, ...]`; None:
            the centroid.
    """

    indices: Sequence[int]
    points: Tensor | None


class DevScores(NamedTuple):
    """Score (higher is better) and mean loss on the dev examples, and the score of each copy by sampled models."""

    score: float
    loss: float
    copies: tuple[float, ...] = ()


class DevSet:
    """Dev examples, scored at the centroid or by sampled models (the stochastic metric of Falissard et al. 2023).

    Args:
        examples: the dev examples.
        indices: of them among the training loop's rows.
        target: their labels for the loss.
        trainable: the parameters, from which models are sampled.
        scoring: whether models are sampled, and how often.
        streams: the job's random numbers.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        indices: Sequence[int],
        target: Target,
        trainable: TrainableParameters,
        scoring: DevScoring,
        streams: Streams,
    ) -> None:
        self._examples, self._indices, self._target = examples, indices, target
        self._trainable, self._streams = trainable, streams
        self._stochastic = scoring.stochastic and trainable.stochastic
        self.copies = (
            (scoring.copies or max(2, math.ceil(SCORED_ROWS / len(examples))))
            if self._stochastic
            else 1
        )

    def score(self, step: int) -> Generator[EvalRequest, Tensor, DevScores]:
        """Score the dev examples after a training step: a generator that requests logits and returns the scores."""
        target, examples = self._target, [*self._examples] * self.copies
        parts = []
        for request in self._requests(step):
            parts.append((yield request))  # noqa: PERF401  # a comprehension cannot yield
        logits = torch.cat(parts)  # [copies * rows, outputs]
        loss = float(target.loss(logits, target.tensor(examples, logits.device)))
        predictions = target.predictions(logits)
        count = len(self._examples)
        copies = [
            self._score_of(predictions[start : start + count])
            for start in range(0, len(examples), count)
        ]
        score = self._score_of(predictions)
        return DevScores(score, loss, tuple(copies) if self._stochastic else ())

    def _score_of(self, predictions: Sequence[float]) -> float:
        names, copies = self._target.task.metrics, len(predictions) // len(self._examples)
        labels = [example.label for example in self._examples] * copies
        return metrics.score(names, metrics.compute(names, predictions, labels))

    def _requests(self, step: int) -> Iterator[EvalRequest]:
        if not self._stochastic:
            yield EvalRequest(self._indices, None)
            return
        # All rows of a copy may share one point of the simplex; different copies never do.
        generator = self._streams.generator("dev", step)
        count = len(self._examples)
        weights = [self._trainable.weights(count, generator) for _ in range(self.copies)]
        points = [point for point in weights if point is not None]
        if len(points[0]) == count:
            yield EvalRequest([*self._indices] * self.copies, torch.cat(points))
        else:
            yield from (EvalRequest(self._indices, point) for point in points)


class SelectionRules:
    """The other rules by which a checkpoint can be selected.

    They are the dev score of sampled models (`stochastic`), the dev score of the centroid, the job's
    own dev loss, and the last step.

    Args:
        dev_sets: by the name of the rule; empty: no other rule is evaluated.
    """

    def __init__(self, dev_sets: Mapping[str, DevSet]) -> None:
        self._dev_sets = dev_sets

    def keys(
        self, point: CurvePoint
    ) -> Generator[EvalRequest, Tensor, dict[str, tuple[float, ...]]]:
        """Compute the key of a checkpoint by each rule, the greater the better: a generator that requests logits."""
        if not self._dev_sets:
            return {}
        keys: dict[str, tuple[float, ...]] = {}
        for rule, dev_set in self._dev_sets.items():
            scores = yield from dev_set.score(point.step)
            keys[rule] = (scores.score, -scores.loss)
        return keys | {"loss": (-point.dev_loss,), "last": (float(point.step),)}
