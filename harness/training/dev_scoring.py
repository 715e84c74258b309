"""Scores on the dev examples during training, and the checkpoints that selection rules choose by them."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from harness.streams import Streams
from harness.tasks.base import Example
from harness.training.labels import Target
from methods.core.method import DevScoring
from methods.core.parameters import TrainableParameters


class EvalRequest(NamedTuple):
    """A request for the logits `[rows, outputs]` of the current parameters, on the CPU.

    Attributes:
        indices: which of the training loop's rows to evaluate.
        points: points of the simplex, `[rows, layers, vertices]`, or one point for all rows,
            `[1, layers, vertices]`; None: the centroid.
    """

    indices: Sequence[int]
    points: Tensor | None


class DevScores(NamedTuple):
    """The result of one evaluation on the dev examples."""

    score: float  # higher is better
    loss: float  # mean
    copy_scores: tuple[float, ...] = ()  # of each copy of the dev examples; empty at the centroid


@dataclass
class CurvePoint:
    """One evaluation on the dev examples during training."""

    step: int
    train_loss: float  # mean since the previous evaluation
    dev_score: float
    dev_loss: float
    copy_scores: tuple[float, ...] = ()  # as in `DevScores`

    def as_list(self) -> list[float | list[float]]:
        """Return the values in the order in which the ledger stores them."""
        return [
            self.step,
            self.train_loss,
            self.dev_score,
            self.dev_loss,
            *([list(self.copy_scores)] if self.copy_scores else []),
        ]


@dataclass
class BestCheckpoint:
    """The best checkpoint so far by one selection rule; of equally good checkpoints, the latest."""

    key: tuple[float, ...] = ()  # greater is better
    step: int | None = None
    state: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, key: tuple[float, ...], step: int, trainable: nn.Module) -> bool:
        """Copy the parameters if no earlier checkpoint has a greater key, and return whether they were copied."""
        if self.step is not None and key < self.key:
            return False
        self.key, self.step = key, step
        self.state = {
            name: tensor.detach().clone() for name, tensor in trainable.state_dict().items()
        }
        return True


class DevSet:
    """Dev examples, scored at the centroid or by sampled models (the stochastic metric of Falissard et al. 2023).

    Args:
        examples: the dev examples.
        indices: their indices among the training loop's rows.
        target: converts their labels for the loss.
        trainable: the parameters, from which models are sampled.
        scoring: whether models are sampled, and how many copies of each example are scored.
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
        self.copies = scoring.copies_of(len(examples)) if self._stochastic else 1

    def score(self, step: int) -> Generator[EvalRequest, Tensor, DevScores]:
        """Request the logits of the dev examples after a training step, and return their scores."""
        target, examples = self._target, [*self._examples] * self.copies
        responses = []
        for request in self._requests(step):
            responses.append((yield request))  # noqa: PERF401  # a comprehension cannot yield
        logits = torch.cat(responses)  # [copies * rows, outputs]
        loss = float(target.loss(logits, target.tensor(examples, logits.device)))
        fitted, count = target.fitted_to(logits, examples), len(self._examples)
        copy_scores = [
            fitted.score(logits[start : start + count], self._examples)
            for start in range(0, len(examples), count)
        ]
        score = copy_scores[0] if self.copies == 1 else fitted.score(logits, examples)
        return DevScores(score, loss, tuple(copy_scores) if self._stochastic else ())

    def _requests(self, step: int) -> Iterator[EvalRequest]:
        if not self._stochastic:
            yield EvalRequest(self._indices, None)
            return
        # All rows of a copy may share one point of the simplex; different copies never do.
        generator = self._streams.generator("dev", step)
        count = len(self._examples)
        sampled = [self._trainable.sample_points(count, generator) for _ in range(self.copies)]
        points_of_copies = [points for points in sampled if points is not None]
        if len(points_of_copies[0]) == count:
            yield EvalRequest([*self._indices] * self.copies, torch.cat(points_of_copies))
        else:
            yield from (EvalRequest(self._indices, points) for points in points_of_copies)


class SelectionRules:
    """The selection rules beside the job's own.

    They are the dev score of sampled models (`stochastic`), the dev score of the centroid
    (`centroid`), the dev loss as the job computes it (`loss`) and the latest step (`last`).

    Args:
        dev_sets: for `stochastic` and `centroid`, how the dev examples are scored; empty: no other
            rule is evaluated.
    """

    def __init__(self, dev_sets: Mapping[str, DevSet]) -> None:
        self._dev_sets = dev_sets

    def compute_keys(
        self, evaluation: CurvePoint
    ) -> Generator[EvalRequest, Tensor, dict[str, tuple[float, ...]]]:
        """Request the logits that the rules need, and return the key of a checkpoint by each rule.

        A rule selects the checkpoint with the greatest key.
        """
        if not self._dev_sets:
            return {}
        keys: dict[str, tuple[float, ...]] = {}
        for rule, dev_set in self._dev_sets.items():
            scores = yield from dev_set.score(evaluation.step)
            keys[rule] = (scores.score, -scores.loss)
        return keys | {"loss": (-evaluation.dev_loss,), "last": (float(evaluation.step),)}
