"""The points of a training curve, and the checkpoint that a selection rule chooses."""

from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass
class CurvePoint:
    """One evaluation on the dev rows during training."""

    step: int
    train_loss: float  # mean since the previous evaluation
    dev_score: float
    dev_loss: float
    # Dev score of each copy of the dev rows, where sampled models scored them; else empty.
    copies: tuple[float, ...] = ()

    def as_list(self) -> list[float | list[float]]:
        """Return the values in the order in which the ledger stores them."""
        return [
            self.step,
            self.train_loss,
            self.dev_score,
            self.dev_loss,
            *([list(self.copies)] if self.copies else []),
        ]


@dataclass
class BestCheckpoint:
    """The best checkpoint so far by one selection rule; of equal ones the later."""

    key: tuple[float, ...] = ()
    step: int | None = None
    state: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, key: tuple[float, ...], step: int, trainable: nn.Module) -> bool:
        """Keep a copy of the parameters if `key` is at least the best so far, and return whether it is."""
        if self.step is not None and key < self.key:
            return False
        self.key, self.step = key, step
        self.state = {
            name: tensor.detach().clone() for name, tensor in trainable.state_dict().items()
        }
        return True
