"""Labels in the form that the loss function requires, and predictions in the units of the labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.tasks.base import Example, Task


@dataclass(frozen=True)
class Target:
    """Converts labels for the loss, to class numbers or standardised values, and logits to predictions.

    Attributes:
        task: the task.
        mean: mean of the training labels of a regression.
        spread: standard deviation of these labels; 1 if all are equal.
        weights: of each class in the loss; empty: all rows weigh alike.
    """

    task: Task
    mean: float = 0.0
    spread: float = 1.0
    weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, task: Task, train: Sequence[Example], *, balanced: bool = False) -> "Target":
        """Return the target of a task with these training rows.

        With balanced classes, a class of n of N rows has the weight N / (classes n), as in scikit-learn.

        The head of a regression starts at 0 and moves slowly, so labels are scaled to mean 0 and
        standard deviation 1.
        """
        if not task.regression:
            counts = Counter(int(row.label) for row in train)
            weights = [
                len(train) / (len(counts) * counts[number]) if counts[number] else 0.0
                for number in range(len(task.labels))
            ]
            return cls(task, weights=tuple(weights) if balanced else ())
        values = torch.tensor([float(row.label) for row in train], dtype=torch.float64)
        spread = float(values.std(correction=0))
        return cls(task, float(values.mean()), spread if spread > 0 else 1.0)

    def tensor(self, rows: Sequence[Example], device: torch.device) -> Tensor:
        """Return the labels `[rows]`."""
        if not self.task.regression:
            return torch.tensor([row.label for row in rows], dtype=torch.long, device=device)
        values = torch.tensor([row.label for row in rows], dtype=torch.float64)
        return ((values - self.mean) / self.spread).float().to(device)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over the rows: cross-entropy, or the squared error of a regression."""
        if self.task.regression:
            return F.mse_loss(logits[:, 0], labels.to(logits))
        if not self.weights:
            return F.cross_entropy(logits, labels)
        # The mean over rows, and not over weights: parts of a step then add up to the whole step.
        weights = torch.tensor(self.weights, dtype=logits.dtype, device=logits.device)
        return F.cross_entropy(logits, labels, weight=weights, reduction="sum") / len(labels)

    def predictions(self, logits: Tensor) -> list[float] | list[int]:
        """Return the class number of each row, or its value in the units of the labels."""
        if not self.task.regression:
            return logits.argmax(1).tolist()
        return (logits[:, 0].double() * self.spread + self.mean).tolist()
