"""Frozen features: a linear classifier fitted in closed form on features of the frozen backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from methods.core.method import ClosedForm, Method, Scalar, added_option, option, require
from methods.core.protocols import Streams

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from methods.core.parameters import InitialParameters
    from methods.core.slots import Slots

GRID = (0.001, 0.01, 0.1, 1.0, 10.0)  # values of C among which the dev score selects


@dataclass(frozen=True, kw_only=True)
class Features(Method):
    """Fit logistic regression to the frozen backbone's last hidden states; ridge regression for numeric labels.

    The features are standardised by their mean and standard deviation on the training examples. scikit-learn fits
    the model; its `C` is the inverse strength of the penalty. With `c=0` the dev score selects one of five values,
    as it selects a checkpoint of other methods.

    With `pairs=apart`, the features of a pair whose texts have the states u and v are u * v, |u - v| and the cosine
    of u and v. They do not change if the texts change places: where the label depends on which text is first, choose
    `joint`. docs/methods.md has figures on both.

    Source: the feature-based approach of Devlin et al. 2019, arXiv 1810.04805, section 5.3. The paper gives no grid.
    The product and the distance of two texts: Tai et al. 2015, arXiv 1503.00075, section 4.2; Conneau et al. 2017,
    arXiv 1705.02364, section 3.1, who add u and v themselves.
    """

    name: ClassVar[str] = "features"
    summary: ClassVar[str] = (
        "logistic or ridge regression on the frozen backbone's features, in closed form"
    )
    paper: ClassVar[str] = "Devlin et al. 2019, arXiv 1810.04805"

    pooling: str = option(
        "mean",
        "mean over the tokens, or cls: the first token, in a causal model the last one.",
        choices=("mean", "cls"),
    )
    pairs: str | None = added_option(
        None,
        "joint: the backbone reads the two texts of a pair as one; apart: it reads each by itself, which is the "
        "default for sentence encoders.",
        choices=("joint", "apart"),
        was="joint",
    )
    c: float = option(
        0.0,
        "Inverse strength of the penalty, scikit-learn's C; 0: the dev score selects one of five.",
        least=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.lr is None and self.weight_decay == 0 and not self.dropout,
            "features are fitted in closed form: lr, weight_decay and dropout cannot be set",
        )

    default_lr: ClassVar[float] = 0.0  # nothing is trained by gradient

    starts_at_random: ClassVar[bool] = False  # a closed form has no initial values

    @property
    def closed_form(self) -> ClosedForm:
        """The method is its own solver."""
        return self

    unused: ClassVar[frozenset[str]] = frozenset({"lr", "weight_decay", "dropout"})

    @property
    def reads_apart(self) -> bool:
        return self.pairs == "apart"

    def for_backbone(self, *, sentences: bool) -> Features:
        return replace(self, pairs="apart") if sentences and self.pairs is None else self

    def options(self) -> dict[str, Scalar]:
        return super().options() | {"pairs": self.pairs or "joint"}

    def place(self, slots: Slots) -> None:
        import torch

        slots.add("", "readout", (slots.backbone.outputs, slots.backbone.features), -1)
        slots.add("", "readout_bias", (slots.backbone.outputs,), -1)
        pooled: list[Tensor] = []

        def pool(_module: Any, _inputs: Any, output: Any) -> None:
            states = output[0]  # [rows, tokens, hidden]
            real = slots.attended(states).long()  # [rows, tokens]
            if self.pooling == "mean":
                sums = (states * real[..., None]).sum(
                    1, dtype=torch.promote_types(states.dtype, torch.float32)
                )
                pooled[:] = [(sums / real.sum(1, keepdim=True)).to(states)]
            else:
                token = real.cumsum(1).argmax(1) if slots.architecture.causal else 0 * real[:, 0]
                pooled[:] = [states[torch.arange(states.shape[0], device=states.device), token]]

        def classify(module: Any, _inputs: Any, _output: Tensor) -> Tensor:  # [rows, outputs]
            features = _of_pairs(pooled[0]) if slots.backbone.apart else pooled[0]
            weight, bias = module.readout, module.readout_bias
            if weight.dim() == 2:
                return features @ weight.mT + bias  # type: ignore[no-any-return]
            # with a row axis: a readout for each row
            return (features[:, None] @ weight.mT)[:, 0] + bias  # type: ignore[no-any-return]

        slots.hook(slots.architecture.body, pool)
        slots.hook("", classify)

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:  # noqa: ARG002  # nothing is random
        import torch

        from methods.core.parameters import InitialParameters

        return InitialParameters(shared={slot.name: torch.zeros(slot.shape) for slot in slots})

    def solve(
        self, x: np.ndarray, y: np.ndarray, *, classes: int, weights: np.ndarray | None = None
    ) -> Iterator[Mapping[str, np.ndarray]]:
        import numpy as np
        from sklearn.linear_model import LogisticRegression, Ridge

        mean, std = x.mean(0), x.std(0)
        std[std == 0] = 1.0
        scaled = (x - mean) / std
        for strength in GRID if self.c == 0 else (self.c,):
            if y.ndim == 2:
                weight, bias = _one_by_one(scaled, y, strength, weights)
            elif classes == 0:
                fitted = Ridge(alpha=1 / strength).fit(scaled, y)
                weight, bias = fitted.coef_[None], np.array([fitted.intercept_])
            else:
                fitted = LogisticRegression(C=strength, max_iter=1000).fit(scaled, y, weights)
                # -1e4 stays for classes without training examples.
                weight, bias = np.zeros((classes, x.shape[1])), np.full(classes, -1e4)
                # With two classes, scikit-learn stores only the log odds of the second.
                two = len(fitted.classes_) == 2
                weight[fitted.classes_[1:] if two else fitted.classes_] = fitted.coef_
                bias[fitted.classes_] = (
                    np.array([0.0, fitted.intercept_[0]]) if two else fitted.intercept_
                )
            weight = weight / std
            yield {"readout": weight, "readout_bias": bias - weight @ mean}

    def logits_of(self, x: np.ndarray, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        logits: np.ndarray = x @ tensors["readout"].T + tensors["readout_bias"]
        return logits

    def feature_options(self) -> Mapping[str, Any]:
        return {"pooling": self.pooling}

    def identity(self, features: int) -> Mapping[str, np.ndarray]:
        import numpy as np

        return {"readout": np.eye(features), "readout_bias": np.zeros(features)}


def _of_pairs(states: Tensor) -> Tensor:
    """Return the features of pairs `[rows, 2 * hidden + 1]` from the states of their texts `[2 * rows, hidden]`."""
    import torch
    from torch.nn.functional import cosine_similarity

    first, second = states.unflatten(0, (2, -1))  # [rows, hidden] each
    cosine = cosine_similarity(first, second)[:, None]  # [rows, 1]
    return torch.cat([first * second, (first - second).abs(), cosine], dim=1)


def _one_by_one(
    x: np.ndarray, y: np.ndarray, strength: float, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a logistic regression to each column of `y` `[examples, classes]`; return weights and biases.

    A class that all or no examples have gets its log odds, with half an example of either kind added.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    weight = np.zeros((y.shape[1], x.shape[1]))
    share = (y.sum(axis=0) + 0.5) / (len(y) + 1)
    bias = np.log(share / (1 - share))
    for number, column in enumerate(y.T):
        if 0 < column.sum() < len(column):
            of_rows = None if weights is None else weights[:, number]
            fitted = LogisticRegression(C=strength, max_iter=1000).fit(x, column, of_rows)
            weight[number], bias[number] = fitted.coef_[0], fitted.intercept_[0]
    return weight, bias
