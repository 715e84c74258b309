"""Random streams hashed from coordinates.

A stream's seed depends on what it is for and where it stands, never on how many numbers another
stream has drawn, and never on a method's options: every method sees the same draws, and variants of
a method start from the same tensors.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stream(purpose: str, *coordinates: str | int) -> int:
    """A 64-bit seed for one purpose at one place, e.g. `stream("draw", "rte", 50, 0)`."""
    text = json.dumps([purpose, *coordinates], ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True)
class Streams:
    """The random streams of one job, at its place (task, size, draw, seed)."""

    place: tuple[str, int, int, int]

    def seed(self, purpose: str, *more: str | int) -> int:
        """The seed of one purpose."""
        return stream(purpose, *self.place, *more)

    def generator(self, purpose: str, *more: str | int, device: str = "cpu") -> torch.Generator:
        """A generator for one purpose."""
        import torch

        return torch.Generator(device).manual_seed(self.seed(purpose, *more))

    def init(self, tensor: str, vertex: int) -> torch.Generator:
        """The generator for one new tensor of one vertex."""
        return self.generator("init", tensor, vertex)


class Shuffle:
    """The numbers 0 to `count` - 1 in a random order that no library's version changes; lazy, so a few of many cost little.

    A Fisher-Yates shuffle whose random numbers are hashes of (seed, position).
    """

    def __init__(self, seed: int, count: int) -> None:
        self._seed = seed.to_bytes(8, "big")
        self._count = count
        self._moved: dict[int, int] = {}
        self._position = 0

    def __iter__(self) -> Shuffle:
        return self

    def __next__(self) -> int:
        here = self._position
        if here >= self._count:
            raise StopIteration
        digest = hashlib.blake2b(here.to_bytes(8, "big"), key=self._seed, digest_size=8).digest()
        there = here + int.from_bytes(digest, "big") % (self._count - here)
        chosen = self._moved.get(there, there)
        self._moved[there] = self._moved.pop(here, here)
        self._position += 1
        return chosen
