"""The training loop of every method that is trained by gradient.

A job trains alone or in a pack: several jobs in one forward pass.
Nothing here knows a method by name. A method provides its slots (where tensors enter the backbone),
its trainable parameters, and `dev_scoring` (how the dev examples are scored during training).
"""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from harness.jobs import Recipe
from harness.streams import Streams, shuffled
from harness.tasks.base import Example
from harness.training.adapted_model import AdaptedModel, forward, predict
from harness.training.dev_scoring import (
    BestCheckpoint,
    CurvePoint,
    DevSet,
    EvalRequest,
    SelectionRules,
)
from harness.training.labels import Target
from harness.training.optimiser import SingleAdamW
from harness.training.rows.batching import to_device
from harness.training.rows.encoding import encode
from harness.training.rows.truncation import Encoded
from methods.core.dropout import RandomMasks
from methods.core.method import DevScoring
from methods.core.parameters import DecodedParameters

WARM_UP = 0.1  # fraction of the steps (Mosbach et al. 2021; Zhang et al. 2021)


@dataclass(frozen=True)
class Examples:
    """The training and dev examples of a job, and what converts their labels for the loss."""

    train: Sequence[Example]
    dev: Sequence[Example]
    target: Target


@dataclass
class FitResult:
    """The result of a training, by a `TrainingLoop` or in closed form.

    In closed form, candidate solutions are counted as steps.
    After a loop, `TrainingLoop.adapted.trainable` holds the selected checkpoint, or the latest parameters if
    no checkpoint was selected.
    """

    curve: list[CurvePoint] = field(default_factory=list)
    # the evaluation of the selected checkpoint; None: no evaluation was finite
    best_evaluation: CurvePoint | None = None
    # first step with a value that was not finite; None: no such step
    diverged_at: int | None = None
    not_finite: Literal["loss", "dev loss", "dev score"] = "loss"  # what was not finite there
    steps: int = 0  # taken
    # The checkpoint that each rule of `SelectionRules` selects, by the name of the rule.
    best_by_rule: dict[str, BestCheckpoint] = field(default_factory=dict)


class StepRequest(NamedTuple):
    """A request for one training step: the loss of these rows, and one update of the parameters.

    Attributes:
        indices: which of the training loop's rows (`TrainingLoop.rows`) the step uses.
        points: points of the simplex, `[rows, layers, vertices]` or `[1, ...]`; None: the method has none.
        pair: indices of the two vertices that the penalty compares, `[2]`; None: no penalty.
        learning_rate: of this step.
    """

    indices: Sequence[int]
    points: Tensor | None
    pair: Tensor | None
    learning_rate: float


# A training loop as a generator. It yields a step request and is sent the loss, or it yields an
# evaluation request and is sent the logits. The caller runs the model, so the same loop serves a job
# alone and the jobs of a pack.
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
        written_score: returns the score of texts that are written for the dev examples with the current
            parameters; None: the dev score is computed from the model's logits, as in classification.
        other_rules: whether to also keep the checkpoints that other rules select (`SelectionRules`), so
            that they can be tested too (`--rules all`). The loop's own rule is the best dev score and, of
            equal scores, the least dev loss.
        stop_at: the step after which training ends, with its parameters and without an evaluation on dev examples;
            0: training takes all steps of the recipe, and dev examples choose. The learning rate follows the recipe.
    """

    adapted: AdaptedModel
    options: Mapping[str, Any]
    scoring: DevScoring
    examples: Examples
    recipe: Recipe
    streams: Streams
    progress: Callable[[int], None] = lambda _: None
    written_score: Callable[[], float] | None = None
    other_rules: bool = False
    stop_at: int = 0

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

    def dropout_generators(self) -> tuple[torch.Generator | None, torch.Generator]:
        """Return the generators of the dropout masks: of the backbone (None: no dropout) and of the method."""
        generator = partial(self.streams.generator, device=self.adapted.backbone.device.type)
        backbone = generator("dropout") if self.options["dropout"] else None
        return backbone, generator("method dropout")

    def requests(self) -> Requests:
        """Yield the requests of a training, and leave the parameters at the best checkpoint."""
        recipe, trainable = self.recipe, self.adapted.trainable
        rules = self._selection_rules()
        order = _training_order(self.streams, len(self.examples.train))
        point_stream, pair_stream = (
            self.streams.generator("simplex"),
            self.streams.generator("diversity"),
        )
        # `losses` are those of the steps since the latest evaluation.
        result, losses, best_checkpoint, evaluations_since_best = (
            FitResult(),
            [],
            BestCheckpoint(),
            0,
        )
        for step in range(1, (self.stop_at or recipe.steps) + 1):
            request = StepRequest(
                indices=[next(order) for _ in range(recipe.batch_size)],
                points=trainable.sample_points(recipe.batch_size, point_stream),
                pair=trainable.sample_pair(pair_stream),
                learning_rate=self.options["lr"] * _learning_rate_factor(step, recipe.steps),
            )
            losses.append((yield request))
            result.steps = step
            self.progress(step)
            if step != self.stop_at and step % recipe.eval_every and step != recipe.steps:
                continue
            # The losses are read only here: if every step read its own, every step would wait for the device.
            if (index := _first_not_finite(losses)) is not None:
                result.diverged_at = step - len(losses) + 1 + index
                break
            if self.stop_at:
                losses = []
                continue
            train_loss, losses = float(torch.stack(losses).mean()), []
            scores = yield from self._dev_set(self.scoring).score(step)
            evaluation = CurvePoint(
                step=step,
                train_loss=train_loss,
                dev_score=self.written_score() if self.written_score else scores.score,
                dev_loss=scores.loss,
                copy_scores=scores.copy_scores,
            )
            loss_is_finite = math.isfinite(evaluation.dev_loss)
            if not (loss_is_finite and math.isfinite(evaluation.dev_score)):
                # All training losses so far are finite, so this evaluation is the first sign of divergence.
                result.diverged_at = step
                result.not_finite = "dev score" if loss_is_finite else "dev loss"
                break
            result.curve.append(evaluation)
            for rule, key in (yield from rules.compute_keys(evaluation)).items():
                result.best_by_rule.setdefault(rule, BestCheckpoint()).offer(key, step, trainable)
            if best_checkpoint.offer((evaluation.dev_score, -evaluation.dev_loss), step, trainable):
                result.best_evaluation, evaluations_since_best = evaluation, 0
            else:
                evaluations_since_best += 1
            if recipe.patience and evaluations_since_best >= recipe.patience:
                break
        if best_checkpoint.state:
            trainable.load_state_dict(best_checkpoint.state)
        return result

    def _dev_set(self, scoring: DevScoring) -> DevSet:
        first_dev_row, dev = len(self.examples.train), self.examples.dev
        return DevSet(
            dev,
            range(first_dev_row, first_dev_row + len(dev)),
            self.examples.target,
            self.adapted.trainable,
            scoring,
            self.streams,
        )

    def _selection_rules(self) -> SelectionRules:
        scorings = {"centroid": DevScoring(stochastic=False, copies=1)} if self.other_rules else {}
        if self.other_rules and self.adapted.trainable.stochastic:
            scorings["stochastic"] = DevScoring(stochastic=True, copies=self.scoring.copies)
        return SelectionRules({rule: self._dev_set(scoring) for rule, scoring in scorings.items()})


def evaluate_untrained(loop: TrainingLoop) -> FitResult:
    """Evaluate the training and dev examples with a model that has nothing to train, as step 0."""
    adapted, target, examples = loop.adapted, loop.examples.target, loop.examples
    outputs = predict(adapted, DecodedParameters(adapted.trainable), loop.rows)
    count = len(examples.train)
    losses = [
        float(target.loss(part, target.tensor(rows, part.device)))
        for part, rows in ((outputs[:count], examples.train), (outputs[count:], examples.dev))
    ]
    point = CurvePoint(0, losses[0], target.score(outputs[count:], examples.dev), losses[1])
    return FitResult([point], best_evaluation=point)


def fit(loop: TrainingLoop, micro_batch: int = 0) -> FitResult:
    """Train one job alone.

    Args:
        loop: the job's training loop.
        micro_batch: number of rows of a step that pass through the model before each backward pass
            (`forward` may split these further, by length); 0: all rows of the step. Splitting a step
            rounds differently and, if there is dropout, draws other masks.
    """
    adapted = loop.adapted
    trainable, slots = adapted.trainable, adapted.slots
    backbone_dropout, method_dropout = loop.dropout_generators()
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
            for part in _parts_of_step(request, micro_batch):
                rows = [loop.rows[index] for index in part.indices]
                with (
                    adapted.backbone.dropout(
                        RandomMasks(backbone_dropout) if backbone_dropout else None
                    ),
                    slots.dropout(RandomMasks(method_dropout)),
                ):
                    logits = forward(adapted, rows, trainable(on_device(part.points)))
                indices = to_device(torch.tensor(part.indices), adapted.backbone.device)
                loss = (loop.loss(logits, indices) + trainable.penalty(on_device(part.pair))) * (
                    len(part.indices) / len(request.indices)
                )
                loss.backward()
                losses.append(loss.detach())
            optimiser.step(request.learning_rate)
            request = requests.send(torch.stack(losses).sum())
    except StopIteration as end:
        result: FitResult = end.value
        return result


def _parts_of_step(step: StepRequest, size: int) -> Iterator[StepRequest]:
    """Split a step into parts of at most `size` rows, with one backward pass each; 0: one part.

    `forward` may run a part as several calls of the model, grouped by length.
    The mean of the parts' losses, weighted by numbers of rows, is the loss of the step.
    """
    count = len(step.indices)
    for start in range(0, count, size or count):
        part = slice(start, start + (size or count))
        points = step.points
        if points is not None and len(points) == count:  # one point per row
            points = points[part]
        yield step._replace(indices=step.indices[part], points=points)


def _training_order(streams: Streams, count: int) -> Iterator[int]:
    """Yield the index of every training example once per epoch, in a new random order each epoch."""
    epoch = 0
    while True:
        yield from shuffled(streams.seed("order", epoch), count)
        epoch += 1


def _learning_rate_factor(step: int, steps: int) -> float:
    """Return the fraction of the peak learning rate that a step uses; steps are counted from 1.

    The fraction rises linearly to 1 during the warm-up, then falls linearly towards 0.
    """
    warm = max(1, round(WARM_UP * steps))
    return step / warm if step <= warm else (steps - step + 1) / (steps - warm + 1)


def _first_not_finite(losses: Sequence[Tensor]) -> int | None:
    """Return the index of the first loss that is not finite; None if all are finite."""
    indices = torch.nonzero(~torch.isfinite(torch.stack(list(losses))))
    return int(indices[0]) if len(indices) else None
