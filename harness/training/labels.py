"""Labels as the model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.tasks.base import Row, Task


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
        return (
            F.mse_loss(logits[:, 0], labels.to(logits))
            if self.task.regression
            else F.cross_entropy(logits, labels)
        )

    def predictions(self, logits: Tensor) -> list[float] | list[int]:
        """A class number or a value a row."""
        if not self.task.regression:
            return logits.argmax(1).tolist()
        return (logits[:, 0].double() * self.spread + self.mean).tolist()
