"""The interface that every method implements: where its tensors enter a backbone, and what is trained.

Torch is imported only when a method is attached to a backbone, so a command line can be checked without it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from methods.core.protocols import Backbone, Streams, Unsupported

if TYPE_CHECKING:
    import numpy as np

    from methods.core.parameters import InitialParameters, TrainableParameters
    from methods.core.slots import Slots

Scalar = str | int | float | bool


def option(default: Scalar | None, help: str, **checks: Any) -> Any:  # noqa: A002  # as in argparse
    """Return a dataclass field for an option of a method.

    Args:
        default: the value if the user sets none.
        help: one line for `bench list methods NAME`.
        checks: conditions that `Method` checks: `choices`, the allowed values; `least`, the smallest value;
            `share=True`, the value is a proportion, from 0 to below 1.
    """
    return field(default=default, metadata={"help": help, **checks})


def added_option(default: Scalar | None, help: str = "", **checks: Any) -> Any:  # noqa: A002
    """Return a field, as `option` does, for an option that was added after results existed.

    A job's identity does not contain the option at the value that earlier results had, so that they remain results
    of the same job. That is `was`, or else the default.
    """
    return option(default, help, added=True, **checks)


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to adapt a backbone. Subclasses are frozen dataclasses whose fields are the hyper-parameters.

    A subclass defines where its tensors enter the backbone (`place`) and their initial values (`start`).
    Everything else is implemented here. A field left at None takes a value that depends on the other
    fields; `options` returns the values in use.

    Raises:
        ValueError: an option is invalid; the message names it.
    """

    name: ClassVar[str]
    VERSION: ClassVar[int] = 1  # increased when a correction changes results
    INTERFACE: ClassVar[int] = 1  # the `methods.INTERFACE` that a plug-in was written for
    summary: ClassVar[str] = ""  # one line for `bench list methods`
    paper: ClassVar[str] = ""

    lr: float | None = option(None, "Peak learning rate of AdamW.")
    weight_decay: float = option(
        0.0, "Weight decay of AdamW; biases and norms never decay.", least=0
    )
    dropout: bool | None = option(
        None,
        "Whether the backbone's dropout on hidden states is on in training; off for frozen backbones by default.",
    )

    def __post_init__(self) -> None:
        require(self.lr is None or self.lr > 0, f"lr must be above 0, got {self.lr}")
        for f in fields(self):
            value, least = getattr(self, f.name), f.metadata.get("least")
            require(
                least is None or value >= least, f"{f.name} must be {least} or more, got {value}"
            )
            if "choices" in f.metadata and value is not None:
                require_one_of(f.name, value, f.metadata["choices"])
            if "share" in f.metadata:
                require_share(f.name, value)

    @property
    def resolved_version(self) -> int:
        """Version of the code that determines the results; part of a job's identity."""
        return self.VERSION

    @property
    def resolved_lr(self) -> float:
        """Learning rate in use."""
        return self.default_lr if self.lr is None else self.lr

    @property
    def resolved_dropout(self) -> bool:
        """Whether the backbone's dropout is on in training."""
        return False if self.dropout is None else self.dropout

    @property
    @abstractmethod
    def default_lr(self) -> float:
        """Learning rate if `lr` is None."""

    @property
    def starts_at_random(self) -> bool:
        """Whether the method's tensors start at random values, so that the vertices of a simplex differ."""
        return True

    @property
    def decodes(self) -> bool:
        """Whether a trained decoder, such as an MLP, produces the method's tensors."""
        return False

    @property
    def dev_scoring(self) -> DevScoring:
        """How dev examples are scored during training."""
        return DevScoring(stochastic=False, copies=1)

    @property
    def test_samples(self) -> int:
        """Number of sampled models whose test predictions are averaged; 0: the centroid alone predicts."""
        return 0

    @property
    def closed_form(self) -> ClosedForm | None:
        """The solver that fits the method on features of the frozen backbone; None: it is trained by gradient."""
        return None

    @property
    def reads_apart(self) -> bool:
        """Whether the backbone reads the two texts of a pair one by one; otherwise, it reads them as one text."""
        return False

    @property
    def trains(self) -> bool:
        """Whether anything is trained or fitted."""
        return True

    @property
    def unused(self) -> frozenset[str]:
        """Options that have no effect, given the values of the others."""
        return frozenset()

    def for_backbone(self, *, sentences: bool) -> Method:  # noqa: ARG002  # most methods suit every backbone
        """Return the method with options that the user left to the backbone.

        Args:
            sentences: whether the backbone is a sentence encoder, trained to compare texts that it read one by one.
        """
        return self

    def options(self) -> dict[str, Scalar]:
        """Return every option that has an effect, with the value in use."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {"lr": self.resolved_lr, "dropout": self.resolved_dropout}
        return {name: value for name, value in values.items() if name not in self.unused}

    def resolved(self) -> dict[str, Scalar]:
        """Return the options that are part of a job's identity, with the values in use."""
        added = {
            f.name: f.metadata.get("was", f.default)
            for f in fields(self)
            if f.metadata.get("added")
        }
        return {
            name: value
            for name, value in self.options().items()
            if name not in added or value != added[name]
        }

    def slots(self, backbone: Backbone) -> Slots:
        """Add the method's slots to the backbone and return them, still empty.

        Raises:
            Unsupported: the backbone's structure does not allow the method.
        """
        from methods.core.slots import Slots, add_head

        slots = Slots(backbone)
        try:
            self._check_purpose(backbone)
            self.place(slots)
            if self.closed_form is None:
                add_head(slots)
            if self.trains and not len(slots):
                raise Unsupported("it trains only a head, and a model that writes text has none")
        except Exception:  # a plug-in may raise any error, and other jobs use the backbone later
            slots.remove()
            raise
        return slots

    def _check_purpose(self, backbone: Backbone) -> None:
        """Raise `Unsupported` if the method cannot do what the backbone is for: to classify, or to write text."""
        writes = backbone.architecture.writes
        if writes and self.closed_form is not None:
            raise Unsupported("it classifies, and this task is to write text")
        if writes and self.test_samples:
            raise Unsupported("texts cannot be averaged over sampled models: choose test=centroid")
        if not writes and not self.trains:
            raise Unsupported("it trains no classifier: it is for tasks that write text")

    def trainable_parameters(self, slots: Slots, streams: Streams) -> TrainableParameters:
        """Return what is trained for one job, including the head."""
        from methods.core.parameters import TrainableParameters, with_head

        return TrainableParameters(
            slots, with_head(slots, streams, 1, self.start(slots, streams, 1))
        )

    @abstractmethod
    def place(self, slots: Slots) -> None:
        """Add this method's slots to the backbone, `slots.backbone`. `Method.slots` adds those of the head.

        Raises:
            Unsupported: the backbone's structure does not allow the method.
        """

    @abstractmethod
    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:
        """Return the initial values of what is trained, without the head.

        Every tensor that starts at random values has a leading axis of length `vertices`.
        """


class ClosedForm(Protocol):
    """A solver that fits a method without gradients."""

    def solve(
        self, x: np.ndarray, y: np.ndarray, *, classes: int, weights: np.ndarray | None = None
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield candidates for the slots' tensors; the dev score selects one.

        Args:
            x: features of the training examples, `[examples, features]`.
            y: class indices, or the targets of a regression, `[examples]`; of a multilabel task, zeros and ones
                `[examples, classes]`.
            classes: number of classes; 0 for a regression.
            weights: of the examples in the loss, of the shape of `y`; None: they weigh alike.
        """

    def logits_of(self, x: np.ndarray, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the logits `[examples, outputs]` of a solution for features `[examples, features]`."""

    def feature_options(self) -> Mapping[str, Any]:
        """Return the options that the features depend on; they are part of the key of cached features."""

    def identity(self, features: int) -> Mapping[str, np.ndarray]:
        """Return tensors with which the model's logits are the features themselves, of this number."""


# Minimum number of rows in stochastic validation: dev examples are copied until there are this many.
SCORED_ROWS = 300


@dataclass(frozen=True)
class DevScoring:
    """How dev examples are scored: at the centroid, or as several copies with a sampled model for each copy."""

    stochastic: bool
    copies: int  # of each example; 0: as many as make about 300 scored rows, but at least 2

    def copies_of(self, rows: int) -> int:
        """Return the number of copies of this many dev examples."""
        if not self.stochastic:
            return 1
        return self.copies or max(2, math.ceil(SCORED_ROWS / rows))


def require(condition: bool, text: str) -> None:
    """Raise `ValueError(text)` unless the condition holds."""
    if not condition:
        raise ValueError(text)


def require_share(name: str, value: float) -> None:
    """Raise `ValueError` unless the option is a proportion, from 0 to below 1."""
    require(
        0 <= value < 1,
        f"{name} must be a share from 0 to below 1, such as 0.1% or .001, got {value}",
    )


def require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise `ValueError` unless the option has one of the allowed values."""
    require(value in allowed, f"{name} must be one of {', '.join(allowed)}, got {value!r}")
