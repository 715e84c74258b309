"""The one training loop, for every method, alone or in a pack.

Nothing here knows a method by name: a method's slots say where tensors go, its source what is
trained, and its `dev_scoring` how the dev rows are scored while it trains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.jobs import Recipe
from harness.streams import Shuffle, Streams
from harness.tasks.base import Row
from harness.training.adapted_model import AdaptedModel, forward, predict
from harness.training.batching import Encoded, encode, to_device
from harness.training.dev_scoring import DevSet, EvalRequest, SelectionRules
from harness.training.labels import Target
from harness.training.optimiser import SingleAdamW
from harness.training.selection import BestCheckpoint, CurvePoint
from methods.core.dropout import RandomMasks
from methods.core.method import DevScoring
from methods.core.parameters import DecodedParameters

WARM_UP = 0.1  # share of the steps (Mosbach et al. 2021; Zhang et al. 2021)


@dataclass(frozen=True)
class Examples:
    """The rows that a job may look at while it trains, and what their labels mean."""

    train: Sequence[Row]
    dev: Sequence[Row]
    target: Target


@dataclass
class FitResult:
    """What training gave: the curve, and the source at its best point (its parameters are set to it)."""

    curve: list[CurvePoint] = field(default_factory=list)
    best: CurvePoint | None = None
    diverged: int | None = None  # the first step whose loss, or whose dev loss, was not finite
    steps: int = 0
    rules: dict[str, BestCheckpoint] = field(
        default_factory=dict
    )  # what other rules would have chosen, where that was asked for


class StepRequest(NamedTuple):
    """A wish to be trained a step further: the loss of these rows, and one update of the source."""

    chosen: Sequence[int]  # of the training's rows
    points: (
        Tensor | None
    )  # of the simplex, `[rows, layers, vertices]` or `[1, ...]`; None: there is only one
    pair: Tensor | None  # two vertices that the penalty compares, `[2]`
    rate: float


# A training that leaves the model to whoever runs it: it wishes for steps, of which it is sent the
# loss, and for looks, of which it is sent the logits. So one job alone and several in one forward
# pass are trained by the same lines.
Requests = Generator[StepRequest | EvalRequest, Tensor, FitResult]


@dataclass(frozen=True)
class TrainingLoop:
    """All that a training hangs on.

    Attributes:
        adapted: where tensors go and what produces them.
        options: of the method; `lr`, `weight_decay` and `dropout` are read here.
        scoring: how the dev rows are scored.
        examples: training and dev rows.
        recipe: steps, batch, evaluations.
        streams: the job's random numbers.
        progress: told the number of each finished step.
        rules: keep what each of the other selection rules would choose as well.
    """

    adapted: AdaptedModel
    options: Mapping[str, Any]
    scoring: DevScoring
    examples: Examples
    recipe: Recipe
    streams: Streams
    progress: Callable[[int], None] = lambda _: None
    rules: bool = False

    @cached_property
    def rows(self) -> list[Encoded]:
        """Training rows, then dev rows."""
        return encode(self.adapted.backbone, [*self.examples.train, *self.examples.dev])

    @cached_property
    def labels(self) -> Tensor:
        """Labels of the training rows."""
        return self.examples.target.tensor(self.examples.train, self.adapted.backbone.device)

    def loss(self, logits: Tensor, chosen: Sequence[int] | Tensor) -> Tensor:
        """Mean loss of logits `[rows, outputs]` of training rows; outputs that the task does not have are left out."""
        return self.examples.target.loss(
            logits[:, : self.adapted.backbone.outputs], self.labels[chosen]
        )

    def masks(self) -> tuple[torch.Generator | None, torch.Generator]:
        """Where masks come from: of the backbone's dropout, if it is on, and of the method's own."""
        device = self.adapted.backbone.device.type
        hidden = (
            self.streams.generator("dropout", device=device) if self.options["dropout"] else None
        )
        return hidden, self.streams.generator("method dropout", device=device)

    def requests(self) -> Requests:
        """Train the source on the training rows and leave it at the point that its dev rows chose."""
        recipe, trainable = self.recipe, self.adapted.trainable
        dev_rows, judges = self._dev_rows(self.scoring), self._judges()
        order = _order(self.streams, len(self.examples.train))
        simplex, pairs = self.streams.generator("simplex"), self.streams.generator("diversity")
        result, losses, own, stale = FitResult(), [], BestCheckpoint(), 0
        for step in range(1, recipe.steps + 1):
            chosen = [next(order) for _ in range(recipe.batch_size)]
            rate = self.options["lr"] * _rate(step, recipe.steps)
            losses.append(
                (
                    yield StepRequest(
                        chosen, trainable.weights(len(chosen), simplex), trainable.pair(pairs), rate
                    )
                )
            )
            result.steps = step
            self.progress(step)
            if step % recipe.eval_every and step != recipe.steps:
                continue
            if (bad := _first_bad(losses)) is not None:
                result.diverged = step - len(losses) + 1 + bad
                break
            point = CurvePoint(
                step, float(torch.stack(losses).mean()), *(yield from dev_rows.score(step))
            )
            losses = []
            if not (math.isfinite(point.dev_score) and math.isfinite(point.dev_loss)):
                result.diverged = step  # the last update ruined the tensors
                break
            result.curve.append(point)
            for rule, key in (yield from judges.keys(point)).items():
                result.rules.setdefault(rule, BestCheckpoint()).offer(key, step, trainable)
            if own.offer((point.dev_score, -point.dev_loss), step, trainable):
                result.best, stale = point, 0
            else:
                stale += 1
            if recipe.patience and stale >= recipe.patience:
                break
        if own.state:
            trainable.load_state_dict(own.state)
        return result

    def _dev_rows(self, scoring: DevScoring) -> DevSet:
        first, dev = len(self.examples.train), self.examples.dev
        numbers = range(first, first + len(dev))
        return DevSet(
            dev, numbers, self.examples.target, self.adapted.trainable, scoring, self.streams
        )

    def _judges(self) -> SelectionRules:
        kinds = {"centroid": DevScoring(stochastic=False, copies=1)} if self.rules else {}
        if self.rules and self.adapted.trainable.stochastic:
            kinds["stochastic"] = DevScoring(stochastic=True, copies=self.scoring.copies)
        return SelectionRules({rule: self._dev_rows(kind) for rule, kind in kinds.items()})


def fit(training: TrainingLoop, most: int = 0) -> FitResult:
    """Run one training alone, by plain calls of the model.

    Args:
        training: what to run.
        most: rows of a step that go through the model at a time; 0: all. In parts the update is the
            same but for rounding.
    """
    adapted = training.adapted
    trainable, slots = adapted.trainable, adapted.slots
    hidden, own = training.masks()
    optimiser = SingleAdamW(trainable, training.options["weight_decay"])
    requests = training.requests()

    def brought(told: Tensor | None) -> Tensor | None:
        return None if told is None else to_device(told, adapted.backbone.device)

    try:
        asked = next(requests)
        while True:
            if isinstance(asked, EvalRequest):
                rows = [training.rows[index] for index in asked.chosen]
                asked = requests.send(
                    predict(adapted, DecodedParameters(trainable), rows, asked.points)
                )
                continue
            losses = []
            for part in _parts(asked, most):
                rows = [training.rows[index] for index in part.chosen]
                with (
                    adapted.backbone.dropout(RandomMasks(hidden) if hidden else None),
                    slots.dropout(RandomMasks(own)),
                ):
                    logits = forward(adapted, rows, trainable(brought(part.points)))
                chosen = to_device(torch.tensor(part.chosen), adapted.backbone.device)
                loss = training.loss(logits, chosen) + trainable.penalty(brought(part.pair))
                loss = loss * (len(part.chosen) / len(asked.chosen))
                loss.backward()
                losses.append(loss.detach())
            optimiser.step(asked.rate)
            asked = requests.send(torch.stack(losses).sum())
    except StopIteration as end:
        found: FitResult = end.value
        return found


def _parts(step: StepRequest, most: int) -> Iterator[StepRequest]:
    """A step in parts of so many rows; their losses, weighted by their rows, add up to that of the whole."""
    count = len(step.chosen)
    for start in range(0, count, most or count):
        part = slice(start, start + (most or count))
        points = step.points
        if points is not None and len(points) == count > 1:  # one a row
            points = points[part]
        yield step._replace(chosen=step.chosen[part], points=points)


def _order(streams: Streams, count: int) -> Iterator[int]:
    """Training rows without replacement, epoch after epoch, each epoch from a stream of its own."""
    epoch = 0
    while True:
        yield from Shuffle(streams.seed("order", epoch), count)
        epoch += 1


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate at a step counted from 1: a linear rise over the warm-up, then a linear fall towards 0."""
    warm = max(1, round(WARM_UP * steps))
    return step / warm if step <= warm else (steps - step + 1) / (steps - warm + 1)


def _first_bad(losses: Sequence[Tensor]) -> int | None:
    """The index of the first loss that is not finite."""
    bad = torch.nonzero(~torch.isfinite(torch.stack(list(losses))))
    return int(bad[0]) if len(bad) else None
