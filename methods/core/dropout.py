"""Masks of dropout: drawn as they are needed, or beforehand for several trainings in one forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class Masks(Protocol):
    """Who says which entries stay."""

    def keep(self, like: Tensor, p: float) -> Tensor:
        """In the shape of `like`, 1 or true where an entry stays, which has the probability 1 - p."""
        ...


def drop(x: Tensor, p: float, masks: Masks | None) -> Tensor:
    """`x` with entries dropped and the others made larger by as much; unchanged without masks."""
    return x if masks is None or p == 0 else x * masks.keep(x, p) / (1 - p)


class RandomMasks:
    """Masks drawn from a generator when they are asked for."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def keep(self, like: Tensor, p: float) -> Tensor:
        """A new mask."""
        return torch.empty_like(like).bernoulli_(1 - p, generator=self._generator)


class MaskCounter:
    """Drops nothing and counts what would be needed: `entries` for each probability."""

    def __init__(self) -> None:
        self.entries: dict[float, int] = {}

    def keep(self, like: Tensor, p: float) -> Tensor:
        """All stay."""
        self.entries[p] = self.entries.get(p, 0) + like.numel()
        return torch.ones_like(like)


class PrecomputedMasks:
    """Masks cut one after the other from entries drawn beforehand, `{p: [entries]}`.

    A pass over several jobs cannot draw from a generator of each, but each of its jobs can bring
    what it has drawn.
    """

    def __init__(self, drawn: Mapping[float, Tensor]) -> None:
        self._drawn, self._used = drawn, dict.fromkeys(drawn, 0)

    def keep(self, like: Tensor, p: float) -> Tensor:
        """The next entries."""
        start = self._used[p]
        self._used[p] = end = start + like.numel()
        return self._drawn[p][start:end].view(like.shape)


def draw_masks(entries: Mapping[float, int], generator: torch.Generator) -> dict[float, Tensor]:
    """What `Ready` cuts masks from, for one job and step: `{p: [entries]}`, a byte an entry."""
    device = generator.device
    return {
        p: torch.empty(count, dtype=torch.bool, device=device).bernoulli_(
            1 - p, generator=generator
        )
        for p, count in entries.items()
    }
