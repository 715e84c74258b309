"""Random streams whose seeds are hashes of a purpose and coordinates.

A seed never depends on how many numbers another stream has drawn, or on a method's options: every
method gets the same draws, and variants of a method start from the same tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stream_seed(purpose: str, *coordinates: str | int) -> int:
    """Return the 64-bit seed for a purpose at coordinates, e.g. `stream_seed("draw", "rte", 50, 0)`."""
    return int.from_bytes(
        hashlib.blake2b(
            json.dumps([purpose, *coordinates], ensure_ascii=True, separators=(",", ":")).encode(),
            digest_size=8,
        ).digest(),
        "big",
    )


@dataclass(frozen=True)
class Streams:
    """The random streams of one job.

    Attributes:
        coordinates: task, size, draw and seed.
    """

    coordinates: tuple[str, int, int, int]

    def seed(self, purpose: str, *more: str | int) -> int:
        """Return the seed for a purpose."""
        return stream_seed(purpose, *self.coordinates, *more)

    def generator(self, purpose: str, *more: str | int, device: str = "cpu") -> torch.Generator:
        """Return a generator for a purpose."""
        import torch

        return torch.Generator(device).manual_seed(self.seed(purpose, *more))

    def init(self, tensor: str, vertex: int) -> torch.Generator:
        """Return the generator that initialises one tensor of one vertex."""
        return self.generator("init", tensor, vertex)


def shuffled(seed: int, count: int) -> Iterator[int]:
    """Yield 0 to `count` - 1 in a random order that does not depend on library versions.

    It is a lazy Fisher-Yates shuffle whose random numbers are hashes of seed and position, so that
    taking a few of many numbers is cheap.
    """
    key = seed.to_bytes(8, "big")
    moved: dict[int, int] = {}
    for position in range(count):
        digest = hashlib.blake2b(position.to_bytes(8, "big"), key=key, digest_size=8).digest()
        other = position + int.from_bytes(digest, "big") % (count - position)
        value = moved.get(other, other)
        moved[other] = moved.pop(position, position)
        yield value
