"""The one interface of every method: where its tensors enter a backbone, and what is trained to produce them.

Torch is imported inside the two verbs only, so that a command line is checked without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from methods.core.protocols import Backbone, Streams

if TYPE_CHECKING:
    import numpy as np

    from methods.core.parameters import InitialParameters, TrainableParameters
    from methods.core.slots import Slots

Scalar = str | int | float | bool


def added_option(default: Scalar | None) -> Any:
    """A field for an option that came after results existed: left out of a job's identity at its default.

    So results from before it stay those of the same job.
    """
    return field(default=default, metadata={"later": True})


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way of adapting a backbone. Subclasses are frozen dataclasses whose fields are the hyper-parameters.

    A subclass says where its tensors enter (`place`) and how they start (`start`); everything else
    is written once, here. A field that is left at None takes a value that depends on the others;
    `resolved` gives the values in use.

    Raises:
        ValueError: by `__post_init__`, when an option has no meaning; the text names it.
    """

    name: ClassVar[str]
    VERSION: ClassVar[int] = 1  # raised when a correction changes numbers
    summary: ClassVar[str] = ""  # one line for `bench list methods`
    paper: ClassVar[str] = ""

    lr: float | None = None  # learning rate of AdamW
    weight_decay: float = 0.0
    dropout: bool | None = (
        # the backbone's dropout on hidden states while training; off where the backbone is frozen
        None
    )

    def __post_init__(self) -> None:
        if self.lr is not None:
            require(self.lr > 0, f"lr must be above 0, got {self.lr}")
        require(
            self.weight_decay >= 0, f"weight_decay must not be negative, got {self.weight_decay}"
        )

    @property
    def resolved_version(self) -> int:
        """The version of what makes its numbers: a job's identity has it."""
        return self.VERSION

    @property
    def resolved_lr(self) -> float:
        """The learning rate in use."""
        return self.default_lr if self.lr is None else self.lr

    @property
    def resolved_dropout(self) -> bool:
        """Whether the backbone's dropout is on while training."""
        return False if self.dropout is None else self.dropout

    @property
    @abstractmethod
    def default_lr(self) -> float:
        """The learning rate where none is asked for."""

    @property
    def starts_at_random(self) -> bool:
        """Whether its own tensors are drawn, so that the vertices of a simplex start apart."""
        return True

    @property
    def decodes(self) -> bool:
        """Whether a trained decoder makes its tensors from latent ones."""
        return False

    @property
    def own_dropout(self) -> float:
        """The share of a dropout of its own, in training."""
        return 0.0

    @property
    def dev_scoring(self) -> DevScoring:
        """How the dev rows are scored while training."""
        return DevScoring(stochastic=False, copies=1)

    @property
    def test_samples(self) -> int:
        """How many sampled models the answers on test rows are averaged over; 0: the centroid answers alone."""
        return 0

    @property
    def closed_form(self) -> ClosedForm | None:
        """How it is fitted without gradients, on features of the frozen backbone; None: by gradient."""
        return None

    @property
    def unused(self) -> frozenset[str]:
        """The options that make no difference as the others stand."""
        return frozenset()

    def options(self) -> dict[str, Scalar]:
        """Every option in use, with its value."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {"lr": self.resolved_lr, "dropout": self.resolved_dropout}
        return {name: value for name, value in values.items() if name not in self.unused}

    def resolved(self) -> dict[str, Scalar]:
        """The options that make a job what it is, with the values in use."""
        unsaid = {
            f.name
            for f in fields(self)
            if f.metadata.get("later") and getattr(self, f.name) == f.default
        }
        return {name: value for name, value in self.options().items() if name not in unsaid}

    def slots(self, backbone: Backbone) -> Slots:
        """Where tensors enter the backbone. Installs the sites; allocates nothing for a job.

        Raises:
            Unsupported: the backbone's structure does not allow the method.
        """
        from methods.core.slots import Slots, add_head

        slots = Slots(backbone)
        try:
            self.place(slots)
            if self.closed_form is None:
                add_head(slots)
        except (
            Exception
        ):  # a plug-in's may be of any kind, and the backbone is used by others after it
            slots.remove()
            raise
        return slots

    def trainable_parameters(self, slots: Slots, streams: Streams) -> TrainableParameters:
        """What is trained for one job, the head included."""
        from methods.core.parameters import TrainableParameters, with_head

        return TrainableParameters(
            slots, with_head(slots, streams, 1, self.start(slots, streams, 1))
        )

    @abstractmethod
    def place(self, slots: Slots) -> None:
        """Put this method's slots into the backbone, `slots.backbone`, without the head's.

        Raises:
            Unsupported: the backbone's structure does not allow the method.
        """

    @abstractmethod
    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:
        """What is trained, without the head. Every tensor that is drawn at random gets a leading axis of `vertices`."""


class ClosedForm(Protocol):
    """How a method is fitted without gradients."""

    def solve(
        self, x: np.ndarray, y: np.ndarray, *, classes: int
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """Candidates for the slots' tensors; the dev rows choose among them.

        Args:
            x: features of the training rows, `[rows, hidden]`.
            y: class numbers, or values of a regression, `[rows]`.
            classes: how many classes there are; 0: a regression.
        """
        ...

    def answer(self, x: np.ndarray, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """What a solution says of features `[rows, hidden]`: logits `[rows, outputs]`."""
        ...

    def reads(self) -> Mapping[str, Any]:
        """The options on which the features hang; features are kept under them."""
        ...

    def identity(self, hidden: int) -> Mapping[str, np.ndarray]:
        """Tensors with which the model's answer is the features themselves."""
        ...


@dataclass(frozen=True)
class DevScoring:
    """How dev rows are scored: at the centroid, or several copies of each row with a sampled model for every copy."""

    stochastic: bool
    copies: int  # 0: as many as give about 300 scored rows, at least 2


def require(condition: bool, text: str) -> None:
    """Raise `ValueError(text)` unless the condition holds."""
    if not condition:
        raise ValueError(text)


def require_share(name: str, value: float) -> None:
    """Raise `ValueError` unless the option is a share from 0 to below 1."""
    require(0 <= value < 1, f"{name} must be a share such as 0.1% or .001, got {value}")


def require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise `ValueError` unless the option's value is among those allowed."""
    require(value in allowed, f"{name} must be one of {', '.join(allowed)}, got {value!r}")
