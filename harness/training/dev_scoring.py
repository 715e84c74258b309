"""A job's dev rows, and what they say at a moment of its training."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from harness.streams import Streams
from harness.tasks import metrics
from harness.tasks.base import Row
from harness.training.labels import Target
from harness.training.selection import CurvePoint
from methods.core.method import DevScoring
from methods.core.parameters import TrainableParameters

SCORED = 300  # rows that stochastic validation aims to score: a dev row's copies


class EvalRequest(NamedTuple):
    """A wish to know the model's answers, by the source as it is: logits `[rows, outputs]` on the CPU."""

    chosen: Sequence[int]  # of a training's rows
    points: (
        Tensor | None
    )  # of the simplex: one a row, `[rows, layers, vertices]`, or one for all; None: the centroid


class DevScores(NamedTuple):
    """What the dev rows say: score (higher is better), mean loss, and the score of each copy seen by sampled models."""

    score: float
    loss: float
    copies: tuple[float, ...] = ()


class DevSet:
    """Dev rows, scored at the centroid or by sampled models (Falissard et al. 2023: the stochastic dev metric).

    Args:
        rows: as they are.
        numbers: which of a training's rows they are.
        target: what their labels mean.
        source: what is sampled.
        scoring: how.
        streams: the job's random numbers.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        numbers: Sequence[int],
        target: Target,
        trainable: TrainableParameters,
        scoring: DevScoring,
        streams: Streams,
    ) -> None:
        self._rows, self._numbers, self._target, self._trainable, self._streams = (
            rows,
            numbers,
            target,
            trainable,
            streams,
        )
        self._stochastic = scoring.stochastic and trainable.stochastic
        self.copies = (
            (scoring.copies or max(2, math.ceil(SCORED / len(rows)))) if self._stochastic else 1
        )

    def score(self, step: int) -> Generator[EvalRequest, Tensor, DevScores]:
        """Score them at a moment of the training: asks for logits, gives the scores."""
        target, rows = self._target, [row for _ in range(self.copies) for row in self._rows]
        parts = []
        for look in self._looks(step):
            parts.append((yield look))  # noqa: PERF401  # a comprehension cannot yield
        logits = torch.cat(parts)  # [copies * rows, outputs]
        loss = float(target.loss(logits, target.tensor(rows, logits.device)))
        found = target.predictions(logits)
        each = [
            self._judged(found[start : start + len(self._rows)])
            for start in range(0, len(rows), len(self._rows))
        ]
        return DevScores(self._judged(found), loss, tuple(each) if self._stochastic else ())

    def _judged(self, found: Sequence[float]) -> float:
        target, times = self._target, len(found) // len(self._rows)
        values = metrics.compute(
            target.task.metrics, found, [row.label for row in self._rows] * times
        )
        return metrics.score(target.task.metrics, values)

    def _looks(self, step: int) -> Iterator[EvalRequest]:
        if not self._stochastic:
            yield EvalRequest(self._numbers, None)
            return
        generator = self._streams.generator(
            "dev", step
        )  # a batch may share a point, the copies never do
        points = [self._trainable.weights(len(self._rows), generator) for _ in range(self.copies)]
        given = [point for point in points if point is not None]
        if len(given[0]) == len(self._rows):
            yield EvalRequest([*self._numbers] * self.copies, torch.cat(given))
        else:
            yield from (EvalRequest(self._numbers, point) for point in given)


Judging = Generator[EvalRequest, Tensor, dict[str, tuple[float, ...]]]


class SelectionRules:
    """What each of the selection rules says of a moment; nothing where that was not asked for.

    Rules are the dev score of sampled models (stochastic), that of the centroid, the job's own dev
    loss, and the last step.
    """

    def __init__(self, judges: Mapping[str, DevSet]) -> None:
        self._judges = judges

    def keys(self, point: CurvePoint) -> Judging:
        """How good the moment is to each rule: asks for logits, gives the keys."""
        if not self._judges:
            return {}
        keys: dict[str, tuple[float, ...]] = {}
        for rule, judge in self._judges.items():
            found = yield from judge.score(point.step)
            keys[rule] = (found.score, -found.loss)
        return keys | {"loss": (-point.dev_loss,), "last": (float(point.step),)}
