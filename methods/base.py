"""The one interface of every method: where its tensors enter a backbone, and what is trained to produce them.

Torch is imported inside the two verbs only, so that a command line is checked without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

    from methods.sites import Anatomy, Slots
    from methods.source import Source

Scalar = str | int | float | bool


class Backbone(Protocol):
    """What a method may know of the pretrained model."""

    @property
    def model(self) -> nn.Module:
        """The frozen model; called with token tensors it returns logits `[rows, outputs]`."""
        ...

    @property
    def anatomy(self) -> Anatomy:
        """Its layers, attention calls and head, found by looking, not by the family's name."""
        ...

    @property
    def outputs(self) -> int:
        """How many numbers the head gives for the task at hand."""
        ...

    @property
    def max_length(self) -> int:
        """How many tokens a row may have."""
        ...


class Streams(Protocol):
    """Random numbers for the tensors of one job."""

    def init(self, tensor: str, vertex: int) -> torch.Generator:
        """The generator for one tensor of one vertex; the same for every method and option."""
        ...


class Unsupported(ValueError):
    """The backbone's structure does not allow this method; the text says why and what would."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way of adapting a backbone. Subclasses are frozen dataclasses whose fields are the hyper-parameters.

    A field that is left at None takes a value that depends on the others; `resolved` gives the values in use.

    Raises:
        ValueError: by `__post_init__`, when an option has no meaning; the text names it.
    """

    name: ClassVar[str]
    VERSION: ClassVar[int] = 1  # raised when a correction changes numbers
    summary: ClassVar[str] = ""  # one line for `bench list methods`
    paper: ClassVar[str] = ""
    starts_at_random: ClassVar[bool] = True  # whether its own tensors are drawn, so that vertices of a simplex start apart

    lr: float | None = None  # learning rate of AdamW
    weight_decay: float = 0.0
    dropout: bool | None = None  # the backbone's dropout on hidden states while training; off where the backbone is frozen

    def __post_init__(self) -> None:
        if self.lr is not None:
            require(self.lr > 0, f"lr must be above 0, got {self.lr}")
        require(self.weight_decay >= 0, f"weight_decay must not be negative, got {self.weight_decay}")

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
    def dev_scoring(self) -> DevScoring:
        """How the dev rows are scored while training."""
        return DevScoring(stochastic=False, copies=1)

    def resolved(self) -> dict[str, Scalar]:
        """Every option with the value in use."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {"lr": self.resolved_lr, "dropout": self.resolved_dropout}

    @abstractmethod
    def slots(self, backbone: Backbone) -> Slots:
        """Where tensors enter the backbone. Installs the sites; allocates nothing for a job.

        Raises:
            Unsupported: the backbone's structure does not allow the method.
        """

    @abstractmethod
    def source(self, slots: Slots, streams: Streams, vertices: int = 1) -> Source:
        """What is trained for one job. Every tensor that is drawn at random gets a leading axis of `vertices`."""


@dataclass(frozen=True)
class DevScoring:
    """How dev rows are scored: at the centroid, or several copies of each row with a sampled model for every copy."""

    stochastic: bool
    copies: int  # 0: as many as give about 300 scored rows, at least 2


def require(condition: bool, text: str) -> None:
    """Raise `ValueError(text)` unless the condition holds."""
    if not condition:
        raise ValueError(text)


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise `ValueError` unless the option's value is among those allowed."""
    require(value in allowed, f"{name} must be one of {', '.join(allowed)}, got {value!r}")


Law = Callable[["torch.Tensor", "torch.Generator"], object]  # fills a tensor in place
