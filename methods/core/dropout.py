"""Dropout masks: sampled when needed, or in advance for several jobs in one forward pass."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class Masks(Protocol):
    """Source of dropout masks."""

    def keep(self, like: Tensor, p: float) -> Tensor:
        """Return a mask in the shape of `like`: 1 or true with probability 1 - p, where an entry is kept."""


def drop(x: Tensor, p: float, masks: Masks | None) -> Tensor:
    """Return `x` with dropped entries and the others scaled by 1 / (1 - p); unchanged if masks is None."""
    return x if masks is None or p == 0 else x * masks.keep(x, p) / (1 - p)


class RandomMasks:
    """Masks sampled from a generator when needed."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def keep(self, like: Tensor, p: float) -> Tensor:
        """Sample a mask."""
        return torch.empty_like(like).bernoulli_(1 - p, generator=self._generator)


class MaskCounter:
    """Drop nothing and count the mask entries needed for each probability: `entries`."""

    def __init__(self) -> None:
        self.entries: dict[float, int] = {}

    def keep(self, like: Tensor, p: float) -> Tensor:
        """Return a mask that keeps everything."""
        self.entries[p] = self.entries.get(p, 0) + like.numel()
        return torch.ones_like(like)


class PrecomputedMasks:
    """Masks taken in order from entries sampled in advance, `{p: [entries]}`.

    A forward pass over several jobs cannot sample from the generator of each job, so each job samples
    its masks before the pass.
    """

    def __init__(self, entries: Mapping[float, Tensor]) -> None:
        self._entries, self._used = entries, dict.fromkeys(entries, 0)

    def keep(self, like: Tensor, p: float) -> Tensor:
        """Return the next entries."""
        start = self._used[p]
        self._used[p] = end = start + like.numel()
        return self._entries[p][start:end].view(like.shape)


def sample_masks(entries: Mapping[float, int], generator: torch.Generator) -> dict[float, Tensor]:
    """Sample the entries of `PrecomputedMasks` for one job and step: `{p: [entries]}`, one byte per entry."""
    device = generator.device
    return {
        p: torch.empty(count, dtype=torch.bool, device=device).bernoulli_(
            1 - p, generator=generator
        )
        for p, count in entries.items()
    }
