"""Which moment of a training is kept, and the points of its curve that decide."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class CurvePoint:
    """One evaluation while training."""

    step: int
    train_loss: float  # mean since the evaluation before
    dev_score: float
    dev_loss: float
    copies: tuple[
        float, ...
    ] = ()  # the dev score of each copy of the dev rows, where they were seen by sampled models

    def row(self) -> list[float | list[float]]:
        """As the ledger keeps it."""
        return [
            self.step,
            self.train_loss,
            self.dev_score,
            self.dev_loss,
            *([list(self.copies)] if self.copies else []),
        ]


@dataclass
class BestCheckpoint:
    """The best moment so far by one rule, with everything that was trained as it was then; of equals the later one."""

    key: tuple[float, ...] = ()
    step: int | None = None
    state: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, key: tuple[float, ...], step: int, trainable: nn.Module) -> bool:
        """Take a moment if it is as good as the best; the greater key is the better."""
        if self.step is not None and key < self.key:
            return False
        self.key, self.step = key, step
        self.state = {
            name: tensor.detach().clone() for name, tensor in trainable.state_dict().items()
        }
        return True
