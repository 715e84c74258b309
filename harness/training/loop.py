"""The one training loop, for every method, alone or in a pack.

Nothing here knows a method by name: a method's slots say where tensors go, its trainable parameters
what is trained, and its `dev_scoring` how the dev examples are scored during training.
"""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.jobs import Recipe
from harness.streams import Streams, shuffled
from harness.tasks.base import Example
from harness.training.adapted_model import AdaptedModel, forward, predict
from harness.training.batching import Encoded, encode, to_device
from harness.training.dev_scoring import DevSet, EvalRequest, SelectionRules
from harness.training.labels import Target
from harness.training.optimiser import SingleAdamW
from harness.training.selection import BestCheckpoint, CurvePoint
from methods.core.dropout import RandomMasks
from methods.core.method import DevScoring
from methods.core.parameters import DecodedParameters

WARM_UP = 0.1  # fraction of the steps (Mosbach et al. 2021; Zhang et al. 2021)


@dataclass(frozen=True)
class Examples:
    """The training and dev examples of a job, and their labels for the loss."""

    train: Sequence[Example]
    dev: Sequence[Example]
    target: Target


@dataclass
class FitResult:
    """The result of a training, which leaves the parameters at the best checkpoint."""

    curve: list[CurvePoint] = field(default_factory=list)
    best: CurvePoint | None = None
    diverged: int | None = None  # first step whose loss, dev loss or dev score was not finite
    steps: int = 0
    rules: dict[str, BestCheckpoint] = field(default_factory=dict)  # by other selection rules


class StepRequest(NamedTuple):
    """A request for one training step: the loss of these rows, and one update of the parameters.

    Attributes:
        indices: of the rows among the training loop's rows.
        points: points of the simplex, `[rows, layers, vertices]` or `[1, ...]`; None: the method has none.
        pair: indices of the two vertices that the penalty compares, `[2]`.
        rate: learning rate.
    """

    indices: Sequence[int]
    points: Tensor | None
    pair: Tensor | None
    rate: float


# A training loop as a generator: it yields a request for a step and is sent the loss, or a request
# for an evaluation and is sent the logits. The caller runs the model, so that the same loop serves a
# job alone and the jobs of a pack.
Requests = Generator[StepRequest | EvalRequest, Tensor, FitResult]


@dataclass(frozen=True)
class TrainingLoop:
    """The training loop of one job, with its inputs.

    Attributes:
        adapted: the backbone with slots and trainable parameters.
        options: the method's options, of which `lr`, `weight_decay` and `dropout` are read here.
        scoring: how the dev examples are scored.
        examples: training and dev examples.
        recipe: number of steps, batch size and evaluations.
        streams: the job's random streams.
        progress: called with the number of each finished step.
        rules: also keep the checkpoint that each other selection rule would select.
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
        """The encoded training examples, followed by the dev examples."""
        return encode(self.adapted.backbone, [*self.examples.train, *self.examples.dev])

    @cached_property
    def labels(self) -> Tensor:
        """The labels of the training examples."""
        return self.examples.target.tensor(self.examples.train, self.adapted.backbone.device)

    def loss(self, logits: Tensor, indices: Sequence[int] | Tensor) -> Tensor:
        """Return the mean loss of logits `[rows, outputs]` of training examples.

        Outputs beyond those of the task, which pad the head in a pack, are ignored.
        """
        return self.examples.target.loss(
            logits[:, : self.adapted.backbone.outputs], self.labels[indices]
        )

    def masks(self) -> tuple[torch.Generator | None, torch.Generator]:
        """Return the generators of the backbone's dropout (None: it is off) and of the method's own."""
        device = self.adapted.backbone.device.type
        return (
            self.streams.generator("dropout", device=device) if self.options["dropout"] else None
        ), self.streams.generator("method dropout", device=device)

    def requests(self) -> Requests:
        """Train the parameters and leave them at the best checkpoint: a generator of requests."""
        recipe, trainable = self.recipe, self.adapted.trainable
        dev_set, rules = self._dev_set(self.scoring), self._selection_rules()
        order = _order(self.streams, len(self.examples.train))
        simplex, pairs = self.streams.generator("simplex"), self.streams.generator("diversity")
        result, losses, best, stale = FitResult(), [], BestCheckpoint(), 0
        for step in range(1, recipe.steps + 1):
            batch = [next(order) for _ in range(recipe.batch_size)]
            points, pair = trainable.weights(len(batch), simplex), trainable.pair(pairs)
            rate = self.options["lr"] * _rate(step, recipe.steps)
            losses.append((yield StepRequest(batch, points, pair, rate)))
            result.steps = step
            self.progress(step)
            if step % recipe.eval_every and step != recipe.steps:
                continue
            if (bad := _first_bad(losses)) is not None:
                result.diverged = step - len(losses) + 1 + bad
                break
            point = CurvePoint(
                step, float(torch.stack(losses).mean()), *(yield from dev_set.score(step))
            )
            losses = []
            if not (math.isfinite(point.dev_score) and math.isfinite(point.dev_loss)):
                result.diverged = step  # the last update made parameters non-finite
                break
            result.curve.append(point)
            for rule, key in (yield from rules.keys(point)).items():
                result.rules.setdefault(rule, BestCheckpoint()).offer(key, step, trainable)
            if best.offer((point.dev_score, -point.dev_loss), step, trainable):
                result.best, stale = point, 0
            else:
                stale += 1
            if recipe.patience and stale >= recipe.patience:
                break
        if best.state:
            trainable.load_state_dict(best.state)
        return result

    def _dev_set(self, scoring: DevScoring) -> DevSet:
        first, dev = len(self.examples.train), self.examples.dev
        indices = range(first, first + len(dev))
        return DevSet(
            dev, indices, self.examples.target, self.adapted.trainable, scoring, self.streams
        )

    def _selection_rules(self) -> SelectionRules:
        kinds = {"centroid": DevScoring(stochastic=False, copies=1)} if self.rules else {}
        if self.rules and self.adapted.trainable.stochastic:
            kinds["stochastic"] = DevScoring(stochastic=True, copies=self.scoring.copies)
        return SelectionRules({rule: self._dev_set(kind) for rule, kind in kinds.items()})


def fit(loop: TrainingLoop, micro_batch: int = 0) -> FitResult:
    """Train one job alone.

    Args:
        loop: its training loop.
        micro_batch: rows of a step in one forward call; 0: all. Splitting a step changes the update by
            rounding only.
    """
    adapted = loop.adapted
    trainable, slots = adapted.trainable, adapted.slots
    hidden, added = loop.masks()
    optimiser = SingleAdamW(trainable, loop.options["weight_decay"])
    requests = loop.requests()

    def on_device(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else to_device(tensor, adapted.backbone.device)

    try:
        request = next(requests)
        while True:
            if isinstance(request, EvalRequest):
                rows = [loop.rows[index] for index in request.indices]
                request = requests.send(
                    predict(adapted, DecodedParameters(trainable), rows, request.points)
                )
                continue
            losses = []
            for part in _micro_batches(request, micro_batch):
                rows = [loop.rows[index] for index in part.indices]
                with (
                    adapted.backbone.dropout(RandomMasks(hidden) if hidden else None),
                    slots.dropout(RandomMasks(added)),
                ):
                    logits = forward(adapted, rows, trainable(on_device(part.points)))
                indices = to_device(torch.tensor(part.indices), adapted.backbone.device)
                loss = loop.loss(logits, indices) + trainable.penalty(on_device(part.pair))
                loss = loss * (len(part.indices) / len(request.indices))
                loss.backward()
                losses.append(loss.detach())
            optimiser.step(request.rate)
            request = requests.send(torch.stack(losses).sum())
    except StopIteration as end:
        result: FitResult = end.value
        return result


def _micro_batches(step: StepRequest, size: int) -> Iterator[StepRequest]:
    """Split a step; the losses of the parts, weighted by their rows, add up to that of the step."""
    count = len(step.indices)
    for start in range(0, count, size or count):
        part = slice(start, start + (size or count))
        points = step.points
        if points is not None and len(points) == count > 1:  # one per row
            points = points[part]
        yield step._replace(indices=step.indices[part], points=points)


def _order(streams: Streams, count: int) -> Iterator[int]:
    """Yield indices of training examples without replacement, each epoch in its own random order."""
    epoch = 0
    while True:
        yield from shuffled(streams.seed("order", epoch), count)
        epoch += 1


def _rate(step: int, steps: int) -> float:
    """Return the factor of the learning rate at a step, counted from 1.

    It rises linearly during the warm-up, then falls linearly towards 0.
    """
    warm = max(1, round(WARM_UP * steps))
    return step / warm if step <= warm else (steps - step + 1) / (steps - warm + 1)


def _first_bad(losses: Sequence[Tensor]) -> int | None:
    """Return the index of the first loss that is not finite, if any."""
    bad = torch.nonzero(~torch.isfinite(torch.stack(list(losses))))
    return int(bad[0]) if len(bad) else None
