"""Labels in the form that the loss function requires, and predictions in the units of the labels."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.jobs import Label
from harness.tasks import metrics
from harness.tasks.base import Example, Kind, Task

# Logits among which dev rows choose the threshold of a multilabel task: probabilities from .007 to .993.
THRESHOLDS: Final = tuple(step / 2 for step in range(-10, 11))


@dataclass(frozen=True)
class Target(ABC):
    """What a model learns: the loss of its outputs, and their score. Each kind of label has a subclass.

    Attributes:
        task: the task.
    """

    task: Task

    @staticmethod
    def of(task: Task, train: Sequence[Example], *, balanced: bool = False) -> Target:
        """Return the target of a task with these training rows.

        Args:
            task: the task.
            train: the training rows.
            balanced: whether the classes weigh alike in the loss; of no effect without classes.
        """
        return TARGETS[task.kind].fitted(task, train, balanced=balanced)

    @classmethod
    @abstractmethod
    def fitted(cls, task: Task, train: Sequence[Example], *, balanced: bool) -> Target:
        """Return the target of a task of this kind: see `of`."""

    @abstractmethod
    def tensor(self, rows: Sequence[Example], device: torch.device) -> Tensor:
        """Return the labels of rows as the loss takes them, `[rows]` or `[rows, classes]`."""

    @abstractmethod
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over rows of logits `[rows, outputs]`."""

    @abstractmethod
    def score(self, logits: Tensor, rows: Sequence[Example]) -> float:
        """Return the score of logits `[rows, outputs]`; 1.0 is perfect."""

    @abstractmethod
    def constant(self, train: Sequence[Example]) -> Label:
        """Return the prediction of a model that has learned nothing."""

    def fitted_to(self, logits: Tensor, rows: Sequence[Example]) -> Target:  # noqa: ARG002  # only sets of classes
        """Return the target with what is chosen by dev rows, such as a threshold; itself if nothing is.

        Args:
            logits: `[rows, outputs]`, of one model or of several in turn.
            rows: the examples, repeated for each model.
        """
        return self

    @property
    def scale(self) -> dict[str, float]:
        """What is needed beside the trained tensors to predict: see `LabelTarget.stored`."""
        return {"mean": 0.0, "spread": 1.0}


@dataclass(frozen=True)
class LabelTarget(Target):
    """A target whose predictions follow from a classifier's logits.

    Attributes:
        weights: of each class in the loss; empty: all rows weigh alike.
    """

    weights: tuple[float, ...] = ()
    # Whether a softmax of the logits gives class probabilities.
    has_probabilities: ClassVar[bool] = False

    @staticmethod
    def stored(task: Task, scale: Mapping[str, float]) -> LabelTarget:
        """Return the target that `scale` describes, without training rows."""
        target = TARGETS[task.kind]
        assert issubclass(target, LabelTarget)
        known: Any = {name: scale[name] for name in {f.name for f in fields(target)} & scale.keys()}
        return target(task, **known)

    @abstractmethod
    def predictions(self, logits: Tensor) -> list[Label]:
        """Return the prediction for each row of logits `[rows, outputs]`."""

    @abstractmethod
    def to_average(self, logits: Tensor) -> Tensor:
        """Return what an ensemble averages over its models: probabilities, or values."""

    @abstractmethod
    def from_average(self, mean: Tensor) -> Tensor:
        """Return the logits of an ensemble, from the mean over its models of `to_average`."""

    def score(self, logits: Tensor, rows: Sequence[Example]) -> float:
        names, labels = self.task.metrics, [row.label for row in rows]
        scored = metrics.Scored(self.predictions(logits), labels)
        return metrics.score(names, metrics.compute(names, scored))

    def row_weights(self, labels: Tensor) -> Tensor:
        """Return the weights of rows in the loss, of the shape of their labels."""
        return torch.tensor(self.weights, dtype=torch.float64)[labels]

    def constant(self, train: Sequence[Example]) -> Label:
        """Return the most frequent label."""
        labels: list[Any] = [row.label for row in train]
        return max(sorted(set(labels)), key=labels.count)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class ClassTarget(LabelTarget):
    """Classes: the loss is the cross-entropy, and the prediction is the number of a class."""

    has_probabilities: ClassVar[bool] = True

    @classmethod
    def fitted(cls, task: Task, train: Sequence[Example], *, balanced: bool) -> ClassTarget:
        """Return the target; balanced, a class of n of N rows weighs N / (classes n), as in scikit-learn."""
        counts = Counter(number for row in train for number in row.classes)
        weights = (
            len(train) / (len(counts) * counts[number]) if counts[number] else 0.0
            for number in range(len(task.labels))
        )
        return cls(task, tuple(weights) if balanced else ())

    def tensor(self, rows: Sequence[Example], device: torch.device) -> Tensor:
        return torch.tensor([row.label for row in rows], dtype=torch.long, device=device)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if not self.weights:
            return F.cross_entropy(logits, labels)
        # The mean over rows, and not over weights: parts of a step then add up to the whole step.
        weights = torch.tensor(self.weights, dtype=logits.dtype, device=logits.device)
        return F.cross_entropy(logits, labels, weight=weights, reduction="sum") / len(labels)

    def predictions(self, logits: Tensor) -> list[Label]:
        return logits.argmax(1).tolist()

    def to_average(self, logits: Tensor) -> Tensor:
        return logits.double().softmax(1)

    def from_average(self, mean: Tensor) -> Tensor:
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()


@dataclass(frozen=True)
class SetTarget(LabelTarget):
    """Sets of classes: the loss is the mean over the classes of their binary cross-entropies.

    One threshold serves all classes: a threshold for each would be chosen on the few dev rows that have
    the class.

    Attributes:
        weights: of rows with the class, beside 1 for rows without.
        threshold: the logit above which a row is predicted to have a class.
    """

    threshold: float = 0.0

    @classmethod
    def fitted(cls, task: Task, train: Sequence[Example], *, balanced: bool) -> SetTarget:
        """Return the target; balanced, a class of n of N rows weighs (N - n) / n, and 1 if all rows or none have it."""
        counts = Counter(number for row in train for number in row.classes)
        weights = (
            (len(train) - counts[number]) / counts[number]
            if 0 < counts[number] < len(train)
            else 1.0
            for number in range(len(task.labels))
        )
        return cls(task, tuple(weights) if balanced else ())

    def tensor(self, rows: Sequence[Example], device: torch.device) -> Tensor:
        marks = torch.zeros(len(rows), self.task.outputs)
        for mark, row in zip(marks, rows, strict=True):
            mark[list(row.classes)] = 1.0
        return marks.to(device)

    def row_weights(self, labels: Tensor) -> Tensor:
        weights = torch.tensor(self.weights, dtype=torch.float64)
        return torch.where(labels > 0, weights, torch.ones_like(weights))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        weights = None
        if self.weights:
            weights = torch.tensor(self.weights, dtype=logits.dtype, device=logits.device)
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits), pos_weight=weights)

    def fitted_to(self, logits: Tensor, rows: Sequence[Example]) -> SetTarget:
        """Return the target with the best threshold; of equally good ones, the nearest to probability .5."""
        targets = [replace(self, threshold=threshold) for threshold in THRESHOLDS]
        return max(targets, key=lambda target: (target.score(logits, rows), -abs(target.threshold)))

    def predictions(self, logits: Tensor) -> list[Label]:
        above = (logits > self.threshold).tolist()
        return [tuple(number for number, has in enumerate(row) if has) for row in above]

    def to_average(self, logits: Tensor) -> Tensor:
        return logits.double().sigmoid()

    def from_average(self, mean: Tensor) -> Tensor:
        return mean.logit(torch.finfo(mean.dtype).eps)

    @property
    def scale(self) -> dict[str, float]:
        return super().scale | {"threshold": self.threshold}


@dataclass(frozen=True)
class NumberTarget(LabelTarget):
    """Numbers: the loss is the squared error of standardised labels.

    The head of a regression starts at 0 and moves slowly, so labels are scaled to mean 0 and standard
    deviation 1.

    Attributes:
        mean: of the training labels.
        spread: standard deviation of these labels; 1 if all are equal.
    """

    mean: float = 0.0
    spread: float = 1.0

    @classmethod
    def fitted(cls, task: Task, train: Sequence[Example], *, balanced: bool) -> NumberTarget:  # noqa: ARG003  # no classes
        """Return the target with the mean and the spread of the training labels."""
        values = torch.tensor(_values(train), dtype=torch.float64)
        spread = float(values.std(correction=0))
        return cls(task, mean=float(values.mean()), spread=spread if spread > 0 else 1.0)

    def tensor(self, rows: Sequence[Example], device: torch.device) -> Tensor:
        values = torch.tensor(_values(rows), dtype=torch.float64)
        return ((values - self.mean) / self.spread).float().to(device)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.mse_loss(logits[:, 0], labels.to(logits))

    def predictions(self, logits: Tensor) -> list[Label]:
        """Return the values in the units of the labels."""
        return (logits[:, 0].double() * self.spread + self.mean).tolist()

    def to_average(self, logits: Tensor) -> Tensor:
        return logits.double()

    def from_average(self, mean: Tensor) -> Tensor:
        return mean

    def constant(self, train: Sequence[Example]) -> Label:
        """Return the mean label."""
        return math.fsum(_values(train)) / len(train)

    @property
    def scale(self) -> dict[str, float]:
        return {"mean": self.mean, "spread": self.spread}


@dataclass(frozen=True)
class TextTarget(Target):
    """Texts to write: a model that writes returns the loss of each row (see `LanguageModel`).

    All rows weigh alike, whatever the length of their texts, so that parts of a step add up to the whole step.
    """

    @classmethod
    def fitted(cls, task: Task, train: Sequence[Example], *, balanced: bool) -> TextTarget:  # noqa: ARG003  # no classes
        return cls(task)

    def tensor(self, rows: Sequence[Example], device: torch.device) -> Tensor:
        """Return zeros `[rows]`: the tokens of a row hold its text."""
        return torch.zeros(len(rows), device=device)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002  # see `tensor`
        return logits[:, 0].mean()

    def score(self, logits: Tensor, rows: Sequence[Example]) -> float:  # noqa: ARG002  # see `tensor`
        """Return the probability of a token of the references: the inverse of the perplexity."""
        return float(torch.exp(-logits[:, 0].double().mean()))

    def constant(self, train: Sequence[Example]) -> Label:  # noqa: ARG002  # a reference of a training row does not fit other rows
        """Return an empty text."""
        return ""


TARGETS: Final[Mapping[Kind, type[Target]]] = {
    "classes": ClassTarget,
    "number": NumberTarget,
    "multilabel": SetTarget,
    "text": TextTarget,
}


def _values(rows: Sequence[Example]) -> list[float]:
    """Return the labels of a regression."""
    return [float(row.label) for row in rows if not isinstance(row.label, tuple)]
