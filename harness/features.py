"""Features of rows on a frozen backbone: each row's are computed once in a worker, whichever jobs ask for them.

A row's features are a function of that row: all rows of a length go through the model in calls of one shape, filled up where
there are too few, so that neither the rows beside it nor its place among them moves a bit.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from harness import cache
from harness.adapted import Adapted, free_memory
from harness.batches import Encoded, collate
from harness.provenance import environment
from methods.base import ClosedForm

TOKENS = {"cpu": 512, "cuda": 16384, "mps": 4096}  # of one call, padding included
DISK = 500  # rows from which a set is worth a file: test sets are, few-shot draws are not
STEP = 8  # tokens between two lengths of calls
SHELVES = 4  # backbones and ways of pooling whose rows stay in memory
MOST = 1 << 29  # bytes of one of them

Told = Callable[[int, int], None]  # rows that are computed, of how many


class Call(NamedTuple):
    """The shape of a call, which follows from a row and the backbone."""

    length: int
    full: bool  # no row of it is padded: libraries drop a mask that hides nothing, which rounds otherwise


@dataclass(frozen=True)
class Reader:
    """Gives the features of encoded rows on one backbone, as one method pools them."""

    store: Store
    adapted: Adapted
    solver: ClosedForm
    options: Mapping[str, Any]

    def __call__(self, rows: Sequence[Encoded], *, disk: bool = False, told: Told = lambda *_: None) -> np.ndarray:
        """Features `[rows, hidden]` in float64.

        Where the device has no memory for a call, these rows and all later ones go through the model in calls of half its
        tokens, which `adapted.room` records.

        Args:
            rows: tokens of each.
            disk: whether they are worth a file, if they are many.
            told: called after every call of the model.

        Raises:
            OutOfMemoryError: it cannot hold a single row.
        """
        room, device = self.adapted.room, self.adapted.backbone.device.type
        while True:
            tokens = room.tokens or TOKENS[device]
            try:
                return self.store.read(self, rows, tokens, disk=disk, told=told)
            except torch.OutOfMemoryError:
                if tokens < 2 * max(len(row["input_ids"]) for row in rows):
                    raise
                room.tokens = tokens // 2
            free_memory()

    def compute(self, rows: Sequence[Encoded], call: Call, count: int) -> np.ndarray:
        """Features of rows that go through the model together, `count` of them with those that only fill the call."""
        backbone, slots = self.adapted.backbone, self.adapted.slots
        identity = self.solver.identity(backbone.anatomy.hidden)  # in place of a classifier: the answer is the features
        slots.install({name: torch.from_numpy(value).float().to(backbone.device) for name, value in identity.items()})
        filled = [*rows, *[rows[-1]] * (count - len(rows))]
        with torch.no_grad():
            found: np.ndarray = backbone(collate(backbone, filled, call.length))[: len(rows)].cpu().numpy()
        return found


class Store:
    """Features by row, in memory for one worker; those of sets that many jobs share also on disk."""

    def __init__(self) -> None:
        self._shelves: dict[str, dict[bytes, np.ndarray]] = {}
        self._steady: dict[tuple[str, Call], bool] = {}

    @cached_property
    def _environment(self) -> dict[str, str]:
        return environment()

    def reader(self, adapted: Adapted, solver: ClosedForm, options: Mapping[str, Any]) -> Reader:
        """What gives features on this backbone, as the method pools them."""
        return Reader(self, adapted, solver, options)

    def read(self, reader: Reader, rows: Sequence[Encoded], tokens: int, *, disk: bool, told: Told) -> np.ndarray:
        """Features `[rows, hidden]`, computed where no one has asked for them before."""
        backbone = reader.adapted.backbone
        spec = backbone.spec
        made_by = [spec.name, spec.revision, spec.pooling, spec.dtype, reader.options["pooling"], backbone.device.type]
        name = _hashed([*made_by, backbone.max_length, tokens, self._environment]).hex()
        shelf = self._shelf(name)
        keys = [_hashed(row) for row in rows]
        kept = _hashed([name, [key.hex() for key in keys]]).hex() if disk and len(rows) >= DISK else None
        if kept and not all(key in shelf for key in keys):
            found = _from_disk(kept)
            shelf.update(zip(keys, found, strict=True) if found is not None else ())
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in shelf}
        done = 0
        for call, together in _by_call(missing, backbone.max_length):
            count = max(1, tokens // call.length)
            count = count if self._is_steady(name, reader, call, count, missing[together[0]]) else 1
            for start in range(0, len(together), count):
                part = together[start : start + count]
                shelf.update(zip(part, reader.compute([missing[key] for key in part], call, count), strict=True))
                done += len(part)
                told(done, len(missing))
        features = np.stack([shelf[key] for key in keys])
        if kept and missing:
            _to_disk(kept, features)
        return features.astype(np.float64)

    def _shelf(self, name: str) -> dict[bytes, np.ndarray]:
        """The rows of one backbone; the one that was looked at longest ago makes room, and one that is full begins anew."""
        shelf = self._shelves.pop(name, {})
        if shelf and len(shelf) * next(iter(shelf.values())).nbytes > MOST:
            shelf = {}
        if len(self._shelves) >= SHELVES:
            self._shelves.pop(next(iter(self._shelves)))
        self._shelves[name] = shelf
        return shelf

    def _is_steady(self, name: str, reader: Reader, call: Call, count: int, like: Encoded) -> bool:
        """Whether rows give the same bits at any place and beside any others, tried once for each shape; else they go alone."""
        if count > 1 and (name, call) not in self._steady:
            some = [_shuffled(like, seed) for seed in range(count + count // 2)]
            first, second = reader.compute(some[:count], call, count), reader.compute(some[count // 2 :], call, count)
            self._steady[name, call] = np.array_equal(first[count // 2 :], second[: count - count // 2])
        return count == 1 or self._steady[name, call]


def _by_call(rows: Mapping[bytes, Encoded], most: int) -> Iterator[tuple[Call, list[bytes]]]:
    """The keys of rows that go through the model in calls of one shape, short ones first."""
    groups: dict[Call, list[bytes]] = {}
    for key, row in rows.items():
        own = len(row["input_ids"])
        length = min(-(-own // STEP) * STEP, most)
        groups.setdefault(Call(length, own == length), []).append(key)
    yield from sorted(groups.items())


def _shuffled(row: Encoded, seed: int) -> Encoded:
    """Another row like this one: its tokens in another order, but for the first and the last, which models look for."""
    inner = row["input_ids"][1:-1]
    random.Random(seed).shuffle(inner)  # noqa: S311  # no secret
    return row | {"input_ids": [row["input_ids"][0], *inner, *row["input_ids"][1:][-1:]]}


def _hashed(content: Any) -> bytes:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()[:16]


def _path(key: str) -> Path:
    return cache.folder() / "features" / f"{key}.safetensors"


def _from_disk(key: str) -> np.ndarray | None:
    """Features as they were written; None where there are none, or they are not."""
    from safetensors import safe_open

    try:
        with safe_open(_path(key), "numpy") as file:
            found: np.ndarray = file.get_tensor("features")
            whole = file.metadata()["sha256"] == _hash(found)
    except Exception:  # missing, half-written, without a hash: damage ends in an error of any kind
        return None
    return found if whole else None


def _hash(features: np.ndarray) -> str:
    """Of the numbers, and of how they are to be read."""
    return hashlib.sha256(f"{features.dtype} {features.shape} ".encode() + features.tobytes()).hexdigest()


def _to_disk(key: str, features: np.ndarray) -> None:
    from safetensors.numpy import save_file

    path = _path(key)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        save_file({"features": features}, draft, metadata={"sha256": _hash(features)})
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)  # a read-only home must not end a run
