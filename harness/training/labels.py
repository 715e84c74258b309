"""Labels in the form that the loss function requires, and predictions in the units of the labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.jobs import Label
from harness.tasks import metrics
from harness.tasks.base import Example, Task

# Logits among which dev rows choose the threshold of a multilabel task: probabilities from .007 to .993.
THRESHOLDS: Final = tuple(step / 2 for step in range(-10, 11))


@dataclass(frozen=True)
class Target:
    """Converts labels for the loss and logits to predictions.

    For the loss, labels are class numbers, standardised values, or rows of zeros and ones (multilabel).

    Attributes:
        task: the task.
        mean: mean of the training labels of a regression.
        spread: standard deviation of these labels; 1 if all are equal.
        weights: of each class in the loss; empty: all rows weigh alike. Of a multilabel task, they are the
            weights of rows with the class, beside 1 for rows without.
        threshold: the logit above which a multilabel row is predicted to have a class.
    """

    task: Task
    mean: float = 0.0
    spread: float = 1.0
    weights: tuple[float, ...] = ()
    threshold: float = 0.0

    @classmethod
    def of(cls, task: Task, train: Sequence[Example], *, balanced: bool = False) -> "Target":
        """Return the target of a task with these training rows.

        With balanced classes, a class of n of N rows has the weight N / (classes n), as in scikit-learn; of
        a multilabel task, (N - n) / n, and 1 if all rows or none have it.

        The head of a regression starts at 0 and moves slowly, so labels are scaled to mean 0 and
        standard deviation 1.
        """
        if not task.regression:
            counts = Counter(number for row in train for number in row.classes)
            if task.multilabel:
                weights = [
                    (len(train) - counts[number]) / counts[number]
                    if 0 < counts[number] < len(train)
                    else 1.0
                    for number in range(len(task.labels))
                ]
            else:
                weights = [
                    len(train) / (len(counts) * counts[number]) if counts[number] else 0.0
                    for number in range(len(task.labels))
                ]
            return cls(task, weights=tuple(weights) if balanced else ())
        values = torch.tensor(_values(train), dtype=torch.float64)
        spread = float(values.std(correction=0))
        return cls(task, float(values.mean()), spread if spread > 0 else 1.0)

    def tensor(self, rows: Sequence[Example], device: torch.device) -> Tensor:
        """Return the labels `[rows]`, or `[rows, classes]` of a multilabel task."""
        if self.task.multilabel:
            marks = torch.zeros(len(rows), self.task.outputs)
            for mark, row in zip(marks, rows, strict=True):
                mark[list(row.classes)] = 1.0
            return marks.to(device)
        if not self.task.regression:
            return torch.tensor([row.label for row in rows], dtype=torch.long, device=device)
        values = torch.tensor(_values(rows), dtype=torch.float64)
        return ((values - self.mean) / self.spread).float().to(device)

    def row_weights(self, labels: Tensor) -> Tensor:
        """Return the weights of rows in the loss, of the shape of their labels."""
        weights = torch.tensor(self.weights, dtype=torch.float64)
        if self.task.multilabel:
            return torch.where(labels > 0, weights, torch.ones_like(weights))
        return weights[labels]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over the rows.

        It is the cross-entropy, the squared error of a regression, or the mean over the classes of a
        multilabel task of their binary cross-entropies.
        """
        if self.task.multilabel:
            weights = None
            if self.weights:
                weights = torch.tensor(self.weights, dtype=logits.dtype, device=logits.device)
            return F.binary_cross_entropy_with_logits(logits, labels.to(logits), pos_weight=weights)
        if self.task.regression:
            return F.mse_loss(logits[:, 0], labels.to(logits))
        if not self.weights:
            return F.cross_entropy(logits, labels)
        # The mean over rows, and not over weights: parts of a step then add up to the whole step.
        weights = torch.tensor(self.weights, dtype=logits.dtype, device=logits.device)
        return F.cross_entropy(logits, labels, weight=weights, reduction="sum") / len(labels)

    def with_threshold(self, logits: Tensor, rows: Sequence[Example]) -> "Target":
        """Return the target with the threshold that gives dev rows the best score; itself unless it is multilabel.

        One threshold serves all classes: a threshold for each would be chosen on the few dev rows that
        have the class. Of equally good ones, the one nearest to probability .5 is chosen.

        Args:
            logits: `[rows, classes]`, of one model or of several in turn.
            rows: the examples, repeated for each model.
        """
        if not self.task.multilabel:
            return self
        labels, names = [row.label for row in rows], self.task.metrics
        targets = [replace(self, threshold=threshold) for threshold in THRESHOLDS]

        def score(target: "Target") -> float:
            return metrics.score(names, metrics.compute(names, target.predictions(logits), labels))

        return max(targets, key=lambda target: (score(target), -abs(target.threshold)))

    def predictions(self, logits: Tensor) -> list[Label]:
        """Return the class number of each row, its value in the units of the labels, or its classes."""
        if self.task.multilabel:
            above = (logits > self.threshold).tolist()
            return [tuple(number for number, has in enumerate(row) if has) for row in above]
        if not self.task.regression:
            return logits.argmax(1).tolist()
        return (logits[:, 0].double() * self.spread + self.mean).tolist()


def _values(rows: Sequence[Example]) -> list[float]:
    """Return the labels of a regression."""
    return [float(row.label) for row in rows if not isinstance(row.label, tuple)]
