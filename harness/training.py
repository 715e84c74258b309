"""The one training loop and the one evaluation, for every method.

Nothing here knows a method by name: a method's slots say where tensors go, its source what is trained, and its
`dev_scoring` how the dev rows are scored while it trains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.backbones import Backbone
from harness.batches import Encoded, by_groups, collate, encode
from harness.jobs import Recipe
from harness.selection import Point, Selection
from harness.streams import Shuffle, stream
from harness.tasks import metrics
from harness.tasks.base import Row, Task
from methods.base import DevScoring
from methods.sites import Slots
from methods.source import Folded, Source

WARM_UP = 0.1  # share of the steps (Mosbach et al. 2021; Zhang et al. 2021)
CLIP = 1.0  # greatest norm of a job's gradient
SCORED = 300  # rows that stochastic validation aims to score: a dev row's copies

Tensors = Callable[[Tensor | None], dict[str, Tensor]]  # points of a simplex (None: its centroid) to slots


@dataclass(frozen=True)
class Streams:
    """The random streams of one job, at its place (task, size, draw, seed)."""

    place: tuple[str, int, int, int]

    def seed(self, purpose: str, *more: str | int) -> int:
        """The seed of one purpose."""
        return stream(purpose, *self.place, *more)

    def generator(self, purpose: str, *more: str | int, device: str = "cpu") -> torch.Generator:
        """A generator for one purpose."""
        return torch.Generator(device).manual_seed(self.seed(purpose, *more))

    def init(self, tensor: str, vertex: int) -> torch.Generator:
        """The generator for one new tensor of one vertex."""
        return self.generator("init", tensor, vertex)


@dataclass(frozen=True)
class Target:
    """The labels of a job as the model sees them: class numbers, or values scaled by the training rows' mean and spread."""

    task: Task
    mean: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, task: Task, train: Sequence[Row]) -> Target:
        """A regression's head starts at 0 and moves slowly, so its values are brought to mean 0 and spread 1."""
        if not task.regression:
            return cls(task)
        values = torch.tensor([float(row.label) for row in train], dtype=torch.float64)
        spread = float(values.std(correction=0))
        return cls(task, float(values.mean()), spread if spread > 0 else 1.0)

    def tensor(self, rows: Sequence[Row], device: torch.device) -> Tensor:
        """Labels `[rows]`."""
        if not self.task.regression:
            return torch.tensor([row.label for row in rows], dtype=torch.long, device=device)
        values = torch.tensor([row.label for row in rows], dtype=torch.float64)
        return ((values - self.mean) / self.spread).float().to(device)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss over the rows."""
        return F.mse_loss(logits[:, 0], labels.to(logits)) if self.task.regression else F.cross_entropy(logits, labels)

    def predictions(self, logits: Tensor) -> list[float] | list[int]:
        """A class number or a value a row."""
        if not self.task.regression:
            return logits.argmax(1).tolist()
        return (logits[:, 0].double() * self.spread + self.mean).tolist()


@dataclass(frozen=True)
class Adapted:
    """A backbone with a method's slots in it, and the source that fills them."""

    backbone: Backbone
    slots: Slots
    source: Source


@dataclass(frozen=True)
class Examples:
    """The rows that a job may look at while it trains, and what their labels mean."""

    train: Sequence[Row]
    dev: Sequence[Row]
    target: Target


@dataclass
class Fit:
    """What training gave: the curve, and the source at its best point (its parameters are set to it)."""

    curve: list[Point] = field(default_factory=list)
    best: Point | None = None
    diverged: int | None = None  # the first step whose loss, or whose dev loss, was not finite
    steps: int = 0
    rules: dict[str, Selection] = field(default_factory=dict)  # what other rules would have chosen, where that was asked for


class Asked(NamedTuple):
    """What a job wants the model to see next: rows, and what is in its slots meanwhile."""

    tensors: dict[str, Tensor]
    rows: Sequence[Encoded]
    masks: torch.Generator | None  # of the backbone's dropout
    own_masks: torch.Generator  # of the method's


# A training that leaves the model to whoever runs it: it asks, is sent logits, gives its loss and, when that has been followed
# back to its tensors, goes on. So one job alone and several in one pass are trained by the same lines.
Lesson = Generator[Asked | Tensor, Tensor | None, Fit]


def fit(adapted: Adapted, lesson: Lesson) -> Fit:
    """Run one training alone, by plain calls of the model."""
    try:
        while True:
            asked = next(lesson)
            assert isinstance(asked, Asked)
            with adapted.backbone.dropout(asked.masks), adapted.slots.dropout(asked.own_masks):
                logits = see(adapted, asked.rows, asked.tensors)
            loss = lesson.send(logits)
            assert isinstance(loss, Tensor)
            loss.backward()
    except StopIteration as end:
        found: Fit = end.value
        return found


def lesson(
    adapted: Adapted,
    options: Mapping[str, Any],
    scoring: DevScoring,
    examples: Examples,
    recipe: Recipe,
    streams: Streams,
    progress: Callable[[int], None],
    *,
    rules: bool = False,
) -> Lesson:
    """Train a source on the training rows and leave it at the point that its dev rows chose.

    Args:
        adapted: where tensors go and what produces them.
        options: of the method; `lr`, `weight_decay` and `dropout` are read here.
        scoring: how the dev rows are scored.
        examples: training and dev rows.
        recipe: steps, batch, evaluations.
        streams: the job's random numbers.
        progress: told the number of each finished step.
        rules: keep what each of the other selection rules would choose as well.
    """
    backbone, source = adapted.backbone, adapted.source
    train, target = examples.train, examples.target
    encoded, labels = encode(backbone, train), target.tensor(train, backbone.device)
    dev_rows = DevRows(adapted, examples, scoring, streams)
    judges = _judges(adapted, examples, scoring, streams) if rules else {}
    optimizer = torch.optim.AdamW(
        _groups(source, options["weight_decay"]), lr=options["lr"], betas=(0.9, 0.999), eps=1e-8, fused=True
    )
    order = _order(streams, len(train))
    simplex, pairs = streams.generator("simplex"), streams.generator("diversity")
    device = backbone.device.type
    masks = streams.generator("dropout", device=device) if options["dropout"] else None
    own_masks = streams.generator("method dropout", device=device)
    result, losses, own, stale = Fit(), [], Selection(), 0
    for step in range(1, recipe.steps + 1):
        chosen = [next(order) for _ in range(recipe.batch_size)]
        tensors = source(source.weights(len(chosen), simplex))
        logits = yield Asked(tensors, [encoded[index] for index in chosen], masks, own_masks)
        assert logits is not None
        loss = target.loss(logits, labels[chosen]) + source.penalty(pairs)
        yield loss
        if step == 1:
            see_gradients(source)
        _update(optimizer, source, options["lr"] * _rate(step, recipe.steps))
        losses.append(loss.detach())
        result.steps = step
        progress(step)
        if step % recipe.eval_every and step != recipe.steps:
            continue
        if (bad := _first_bad(losses)) is not None:
            result.diverged = step - len(losses) + 1 + bad
            break
        point = Point(step, float(torch.stack(losses).mean()), *dev_rows.score(step))
        losses = []
        if not (math.isfinite(point.dev_score) and math.isfinite(point.dev_loss)):
            result.diverged = step  # the last update ruined the tensors
            break
        result.curve.append(point)
        for rule, key in _keys(judges, point).items():
            result.rules.setdefault(rule, Selection()).offer(key, step, source)
        if own.offer((point.dev_score, -point.dev_loss), step, source):
            result.best, stale = point, 0
        else:
            stale += 1
        if recipe.patience and stale >= recipe.patience:
            break
    if own.state:
        source.load_state_dict(own.state)
    return result


def _judges(adapted: Adapted, examples: Examples, scoring: DevScoring, streams: Streams) -> dict[str, DevRows]:
    """Dev rows as each of the rules that look at a score has them scored."""
    kinds = {"centroid": DevScoring(stochastic=False, copies=1)}
    if adapted.source.stochastic:
        kinds["stochastic"] = DevScoring(stochastic=True, copies=scoring.copies)
    return {rule: DevRows(adapted, examples, kind, streams) for rule, kind in kinds.items()}


def _keys(judges: Mapping[str, DevRows], point: Point) -> dict[str, tuple[float, ...]]:
    """How good the moment is to each rule; nothing where no rules were asked for.

    Rules are the dev score of sampled models (stochastic), that of the centroid, the job's own dev loss, and the last step.
    """
    if not judges:
        return {}
    scored = {rule: judge.score(point.step) for rule, judge in judges.items()}
    keys: dict[str, tuple[float, ...]] = {rule: (found.score, -found.loss) for rule, found in scored.items()}
    return keys | {"loss": (-point.dev_loss,), "last": (float(point.step),)}


class Scored(NamedTuple):
    """What the dev rows say: score (higher is better), mean loss, and the score of each copy seen by sampled models."""

    score: float
    loss: float
    copies: tuple[float, ...] = ()


class DevRows:
    """A job's dev rows, scored at the centroid or by sampled models (Falissard et al. 2023: the stochastic dev metric)."""

    def __init__(self, adapted: Adapted, examples: Examples, scoring: DevScoring, streams: Streams) -> None:
        self._adapted, self._target, self._streams = adapted, examples.target, streams
        self._rows, self._encoded = examples.dev, encode(adapted.backbone, examples.dev)
        self._stochastic = scoring.stochastic and adapted.source.stochastic
        self._copies = (scoring.copies or max(2, math.ceil(SCORED / len(self._rows)))) if self._stochastic else 1

    def score(self, step: int) -> Scored:
        """Score them at a moment of the training."""
        target, rows = self._target, [row for _ in range(self._copies) for row in self._rows]
        logits = self._logits(step)  # [copies * rows, outputs]
        loss = float(target.loss(logits, target.tensor(rows, logits.device)))
        found = target.predictions(logits)
        each = [self._judged(found[start : start + len(self._rows)]) for start in range(0, len(rows), len(self._rows))]
        return Scored(self._judged(found), loss, tuple(each) if self._stochastic else ())

    def _judged(self, found: Sequence[float]) -> float:
        target, times = self._target, len(found) // len(self._rows)
        values = metrics.compute(target.task.metrics, found, [row.label for row in self._rows] * times)
        return metrics.score(target.task.metrics, values)

    def _logits(self, step: int) -> Tensor:
        source, folded = self._adapted.source, Folded(self._adapted.source)
        if not self._stochastic:
            return predict(self._adapted, folded, self._encoded)
        generator = self._streams.generator("dev", step)  # a batch may share a point, the copies never do
        points = [source.weights(len(self._rows), generator) for _ in range(self._copies)]
        given = [point for point in points if point is not None]
        if len(given[0]) == len(self._rows):
            return predict(self._adapted, folded, self._encoded * self._copies, torch.cat(given))
        return torch.cat([predict(self._adapted, folded, self._encoded, point) for point in given])


def see(adapted: Adapted, rows: Sequence[Encoded], tensors: Mapping[str, Tensor]) -> Tensor:
    """Logits `[rows, outputs]` with tensors in the slots, each for all rows or `[rows, ...]`.

    Rows of like length go through the model together: one loss over all of them gives the same gradient, with less padding.
    """
    backbone, slots = adapted.backbone, adapted.slots

    def answer(group: list[int]) -> Tensor:
        slots.install(tensors, group)
        return backbone(collate(backbone, [rows[index] for index in group]))

    return by_groups(rows, backbone.device.type, answer)


@torch.no_grad()
def predict(adapted: Adapted, tensors: Tensors, rows: Sequence[Encoded], weights: Tensor | None = None) -> Tensor:
    """Logits `[rows, outputs]` on the CPU, in the order of the rows.

    Args:
        adapted: the model and its slots.
        tensors: gives what goes into the slots, at the points asked for.
        rows: encoded rows.
        weights: a point of the simplex for every row, `[rows, layers, vertices]`, or one for all; None: the centroid.
    """
    backbone, slots = adapted.backbone, adapted.slots
    if weights is None or len(weights) != len(rows):
        return see(adapted, rows, tensors(weights)).cpu()
    points = weights

    def answer(group: list[int]) -> Tensor:  # tensors for many rows at once would fill the memory
        slots.install(tensors(points[group]))
        return backbone(collate(backbone, [rows[index] for index in group]))

    return by_groups(rows, backbone.device.type, answer).cpu()


def _order(streams: Streams, count: int) -> Iterator[int]:
    """Training rows without replacement, epoch after epoch, each epoch from a stream of its own."""
    epoch = 0
    while True:
        yield from Shuffle(streams.seed("order", epoch), count)
        epoch += 1


def _groups(source: Source, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without decay; biases and the scales of norms never decay."""
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, parameter in source.named_parameters():
        axes = parameter.dim() - name.startswith("_drawn.")  # less the vertex axis
        groups[axes >= 2 and "bias" not in name].append(parameter)
    return [{"params": groups[decays], "weight_decay": weight_decay * decays} for decays in (True, False)]


def see_gradients(source: Source) -> None:
    """See that every trained tensor has a gradient: one without stands where the backbone does not look.

    Raises:
        ValueError: some have none.
    """
    absent = [name for name, parameter in source.named_parameters() if parameter.grad is None]
    if absent:
        shown = ", ".join(name.removeprefix("_given.").removeprefix("_drawn.").replace("/", ".") for name in absent[:3])
        raise ValueError(
            f"{len(absent)} trained tensors get no gradient on this backbone: {shown}{', ...' * (len(absent) > 3)}"
        )


def _update(optimizer: torch.optim.Optimizer, source: Source, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    torch.nn.utils.clip_grad_norm_(source.parameters(), CLIP)
    optimizer.step()
    optimizer.zero_grad()


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate at a step counted from 1: a linear rise over the warm-up, then a linear fall towards 0."""
    warm = max(1, round(WARM_UP * steps))
    return step / warm if step <= warm else (steps - step + 1) / (steps - warm + 1)


def _first_bad(losses: Sequence[Tensor]) -> int | None:
    """The index of the first loss that is not finite."""
    bad = torch.nonzero(~torch.isfinite(torch.stack(list(losses))))
    return int(bad[0]) if len(bad) else None
