"""Types that methods receive, and the error for an unsupported backbone. Torch is not imported here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

    from methods.core.architecture import Architecture

Initialiser = Callable[
    ["torch.Tensor", "torch.Generator"], object
]  # fills a tensor in place with random values


class Backbone(Protocol):
    """The pretrained model as methods see it."""

    @property
    def model(self) -> nn.Module:
        """The frozen model; a call with token tensors returns logits `[rows, outputs]`."""

    @property
    def architecture(self) -> Architecture:
        """Its layers, attention calls and head, found by inspection and not by model family."""

    @property
    def outputs(self) -> int:
        """Number of outputs of the head for the current task."""

    @property
    def apart(self) -> bool:
        """Whether the texts of a pair are read one by one: the model then reads `[2 * rows, tokens]`."""

    @property
    def features(self) -> int:
        """The number of features of a row, for a method that is fitted on features."""

    @property
    def max_length(self) -> int:
        """Maximum number of tokens of a text."""

    def tokens(self, text: str) -> list[int]:
        """Return the token ids of a text, without special tokens."""

    def writing(self, queries: int) -> torch.Tensor:
        """Return which tokens of a forward pass of a model that writes come before one that is to be written."""


class Streams(Protocol):
    """Random number generators for the tensors of one job."""

    def init(self, tensor: str, vertex: int) -> torch.Generator:
        """Return the generator for one tensor of one vertex; it does not depend on method or options."""


class Unsupported(ValueError):
    """The backbone's structure does not allow this method; the message gives the reason and an alternative."""
