"""What methods may rely on: what they are given, and how they say no. Torch is not imported here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

    from methods.core.architecture import Architecture

Initialiser = Callable[["torch.Tensor", "torch.Generator"], object]  # fills a tensor in place


class Backbone(Protocol):
    """What a method may know of the pretrained model."""

    @property
    def model(self) -> nn.Module:
        """The frozen model; called with token tensors it returns logits `[rows, outputs]`."""
        ...

    @property
    def architecture(self) -> Architecture:
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

    def tokens(self, text: str) -> list[int]:
        """The numbers of a text's tokens, without those that mark its beginning and end."""
        ...


class Streams(Protocol):
    """Random numbers for the tensors of one job."""

    def init(self, tensor: str, vertex: int) -> torch.Generator:
        """The generator for one tensor of one vertex; the same for every method and option."""
        ...


class Unsupported(ValueError):
    """The backbone's structure does not allow this method; the text says why and what would."""
