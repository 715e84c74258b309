"""Frozen features: a linear classifier fitted in closed form on what the backbone says of each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from methods.core.method import ClosedForm, Method, option, require, require_one_of
from methods.core.protocols import Streams

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from methods.core.parameters import InitialParameters
    from methods.core.slots import Slots

GRID = (0.001, 0.01, 0.1, 1.0, 10.0)  # strengths that the dev rows choose from


@dataclass(frozen=True, kw_only=True)
class Features(Method):
    """Logistic regression on the frozen backbone's last hidden states; ridge regression where the label is a number.

    The features are brought to mean 0 and spread 1 by the training rows. Solved by scikit-learn,
    whose `C` is the inverse strength of the penalty; `c=0` lets the dev rows choose among five, as
    they choose a checkpoint for other methods.
    Source: the feature-based approach of Devlin et al. 2019, arXiv 1810.04805, section 5.3; the
    grid is a choice.
    """

    name: ClassVar[str] = "features"
    summary: ClassVar[str] = (
        "logistic or ridge regression on the frozen backbone's features, in closed form"
    )
    paper: ClassVar[str] = "Devlin et al. 2019, arXiv 1810.04805"

    pooling: str = option(
        "mean", "mean over the tokens, or cls: the first token, in a causal model the last one."
    )
    c: float = option(
        0.0,
        "Inverse strength of the penalty, scikit-learn's C; 0: the dev score selects one of five.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("pooling", self.pooling, ("mean", "cls"))
        require(self.c >= 0, f"c must be above 0, or 0 for a choice by the dev rows, got {self.c}")
        require(
            self.lr is None and self.weight_decay == 0 and not self.dropout,
            "features are fitted in closed form: there is no lr, weight_decay or dropout to set",
        )

    @property
    def default_lr(self) -> float:
        """0: there is no training by gradient."""
        return 0.0

    @property
    def starts_at_random(self) -> bool:
        """False: a closed form has no initial values."""
        return False

    @property
    def closed_form(self) -> ClosedForm:
        """The method is its own solver."""
        return self

    @property
    def unused(self) -> frozenset[str]:
        """The options of training by gradient."""
        return frozenset({"lr", "weight_decay", "dropout"})

    def place(self, slots: Slots) -> None:
        import torch

        from methods.core.slots import row_bias

        slots.add("", "readout", (slots.backbone.outputs, slots.architecture.hidden), -1)
        slots.add("", "readout_bias", (slots.backbone.outputs,), -1)
        pooled: list[Tensor] = []
        causal = slots.architecture.causal

        def pool(_module: Any, _inputs: Any, output: Any) -> None:
            states = output[0]  # [rows, tokens, hidden]
            real = slots.attended(states).long()  # [rows, tokens]
            if self.pooling == "mean":
                sums = (states * real[..., None]).sum(
                    1, dtype=torch.promote_types(states.dtype, torch.float32)
                )
                pooled[:] = [(sums / real.sum(1, keepdim=True)).to(states)]
            else:
                last = real.cumsum(1).argmax(1) if causal else 0 * real[:, 0]
                pooled[:] = [states[range(len(states)), last]]

        def read(module: Any, _inputs: Any, _output: Tensor) -> Tensor:
            answer: Tensor = pooled[0] @ module.readout.mT + row_bias(module.readout_bias)
            return answer  # [rows, outputs]

        slots.hook(slots.architecture.body, pool)
        slots.hook("", read)

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:  # noqa: ARG002  # nothing is drawn
        import torch

        from methods.core.parameters import InitialParameters

        return InitialParameters(shared={slot.name: torch.zeros(slot.shape) for slot in slots})

    def solve(
        self, x: np.ndarray, y: np.ndarray, *, classes: int
    ) -> Iterator[Mapping[str, np.ndarray]]:
        import numpy as np
        from sklearn.linear_model import LogisticRegression, Ridge

        mean, spread = x.mean(0), x.std(0)
        spread[spread == 0] = 1.0
        scaled = (x - mean) / spread
        for strength in GRID if self.c == 0 else (self.c,):
            if classes == 0:
                fitted = Ridge(alpha=1 / strength).fit(scaled, y)
                weight, bias = fitted.coef_[None], np.array([fitted.intercept_])
            else:
                fitted = LogisticRegression(C=strength, max_iter=1000).fit(scaled, y)
                weight, bias = (
                    np.zeros((classes, x.shape[1])),
                    np.full(classes, -1e4),
                )  # a class that no row has
                two = (
                    len(fitted.classes_) == 2
                )  # then scikit-learn keeps the second's advantage over the first
                weight[fitted.classes_[1:] if two else fitted.classes_] = fitted.coef_
                bias[fitted.classes_] = (
                    np.array([0.0, fitted.intercept_[0]]) if two else fitted.intercept_
                )
            weight = weight / spread
            yield {"readout": weight, "readout_bias": bias - weight @ mean}

    def logits_of(self, x: np.ndarray, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        answers: np.ndarray = x @ tensors["readout"].T + tensors["readout_bias"]
        return answers

    def feature_options(self) -> Mapping[str, Any]:
        return {"pooling": self.pooling}

    def identity(self, hidden: int) -> Mapping[str, np.ndarray]:
        import numpy as np

        return {"readout": np.eye(hidden), "readout_bias": np.zeros(hidden)}
