"""Features of rows on a frozen backbone: each row's are computed once in a worker, whichever jobs ask for them.

A row's features are a function of that row: all rows of a length go through the model in calls of
one shape, filled up where there are too few, so that neither the rows beside it nor its place among
them moves a bit.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from harness import cache
from harness.atomic_write import atomic_write
from harness.backbones.loading import Backbone
from harness.provenance import environment, processor
from harness.training import out_of_memory
from harness.training.adapted_model import AdaptedModel
from harness.training.batching import Encoded, collate
from methods import Method, plugin_of
from methods.core.method import ClosedForm

TOKENS = {"cpu": 512, "cuda": 16384, "mps": 4096}  # of one call, padding included
DISK = 500  # rows from which a set is worth a file: test sets are, few-shot draws are not
STEP = 8  # tokens between two lengths of calls
SHELVES = 4  # backbones and ways of pooling whose rows stay in memory
MOST = 1 << 29  # bytes of one of them

ReadProgress = Callable[[int, int], None]  # rows that are computed, of how many


class CallShape(NamedTuple):
    """The shape of a call, which follows from a row and the backbone."""

    length: int
    # no row of it is padded: libraries drop a mask that hides nothing, which rounds otherwise
    full: bool


@dataclass(frozen=True)
class FeatureReader:
    """Gives the features of encoded rows on one backbone, as one method pools them."""

    store: FeatureStore
    adapted: AdaptedModel
    solver: ClosedForm
    made_by: Mapping[str, Any]  # the method, and its options on which features hang

    def __call__(
        self, rows: Sequence[Encoded], *, disk: bool = False, told: ReadProgress = lambda *_: None
    ) -> np.ndarray:
        """Features `[rows, hidden]` in float64.

        Where the device has no memory for a call, these rows and all later ones go through the
        model in calls of half its tokens, which `adapted.room` records.

        Args:
            rows: tokens of each.
            disk: whether they are worth a file, if they are many.
            told: called after every call of the model.

        Raises:
            OutOfMemoryError: it cannot hold a single row.
        """
        room = self.adapted.call_limit
        usual = room.tokens or TOKENS[self.adapted.backbone.device.type]
        longest = max((len(row["input_ids"]) for row in rows), default=0)
        features, tokens = out_of_memory.retry_smaller(
            lambda tokens: self.store.read(self, rows, tokens, disk=disk, told=told),
            usual,
            lambda tokens: tokens // 2 if tokens >= 2 * longest else 0,
        )
        if tokens != usual:
            room.tokens = tokens
        return features

    def compute(self, rows: Sequence[Encoded], call: CallShape, count: int) -> np.ndarray:
        """Features of rows that go through the model together, `count` of them with those that only fill the call."""
        backbone, slots = self.adapted.backbone, self.adapted.slots
        identity = self.solver.identity(
            backbone.architecture.hidden
        )  # in place of a classifier: the answer is the features
        slots.install(
            {
                name: torch.from_numpy(value).float().to(backbone.device)
                for name, value in identity.items()
            }
        )
        filled = [*rows, *[rows[-1]] * (count - len(rows))]
        with torch.no_grad():
            found: np.ndarray = (
                backbone(collate(backbone, filled, call.length))[: len(rows)].cpu().numpy()
            )
        return found


class FeatureStore:
    """Features by row, in memory for one worker; those of sets that many jobs share also on disk."""

    def __init__(self) -> None:
        self._shelves: dict[str, dict[bytes, np.ndarray]] = {}
        self._steady: dict[tuple[str, CallShape], bool] = {}

    @cached_property
    def _environment(self) -> dict[str, str]:
        return environment()

    def reader(self, adapted: AdaptedModel, method: Method) -> FeatureReader:
        """What gives features on this backbone, as a method that is fitted on them reads it."""
        solver = method.closed_form
        assert solver is not None
        made_by = {
            "method": method.name,
            "from": str(plugin_of(method) or ""),
            "version": method.resolved_version,
        }
        return FeatureReader(self, adapted, solver, made_by | dict(solver.reads()))

    def read(
        self,
        reader: FeatureReader,
        rows: Sequence[Encoded],
        tokens: int,
        *,
        disk: bool,
        told: ReadProgress,
    ) -> np.ndarray:
        """Features `[rows, hidden]`, computed where no one has asked for them before."""
        backbone = reader.adapted.backbone
        spec = backbone.spec
        made_by = [
            spec.name,
            spec.revision,
            spec.pooling,
            spec.dtype,
            dict(reader.made_by),
            _machine(backbone.device),
        ]
        name = _hashed([*made_by, backbone.max_length, tokens, self._environment]).hex()
        shelf = self._shelf(name)
        keys = [_hashed(row) for row in rows]
        disk = (
            disk and len(rows) >= DISK and "+changes" not in str(self._environment)
        )  # of code that may change again
        kept = _hashed([name, [key.hex() for key in keys]]).hex() if disk else None
        if kept and not all(key in shelf for key in keys):
            found = _from_disk(kept)
            shelf.update(zip(keys, found, strict=True) if found is not None else ())
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in shelf}
        done = 0
        for call, together in _by_call(missing, backbone.max_length):
            count = max(1, tokens // call.length)
            count = (
                count
                if self._is_steady(name, reader, call, count, list(missing[together[0]]))
                else 1
            )
            for start in range(0, len(together), count):
                part = together[start : start + count]
                found = reader.compute([missing[key] for key in part], call, count)
                shelf.update(
                    (key, one.copy()) for key, one in zip(part, found, strict=True)
                )  # a part would hold the whole
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

    def _is_steady(
        self, name: str, reader: FeatureReader, call: CallShape, count: int, columns: Sequence[str]
    ) -> bool:
        """Whether rows give the same bits at any place and beside any others; else they go alone.

        Tried once for each shape, on made-up rows, so that the answer hangs on no job's. An expert
        of a model computes as many rows as chance sends to it, from all rows of a call: such a
        model is not tried.
        """
        if count > 1 and (name, call) not in self._steady:
            backbone = reader.adapted.backbone
            rows = [_made_up(backbone, call, columns, seed) for seed in range(count + count // 2)]
            first, half = rows[:count], count // 2
            found, shifted, back = (
                reader.compute(some, call, count)
                for some in (first, rows[half : half + count], first[::-1])
            )
            steady = np.array_equal(found[half:], shifted[: count - half]) and np.array_equal(
                found, back[::-1]
            )
            self._steady[name, call] = steady and not _has_experts(backbone)
        return count == 1 or self._steady[name, call]


def _by_call(rows: Mapping[bytes, Encoded], most: int) -> Iterator[tuple[CallShape, list[bytes]]]:
    """The keys of rows that go through the model in calls of one shape, short ones first."""
    groups: dict[CallShape, list[bytes]] = {}
    for key, row in rows.items():
        own = len(row["input_ids"])
        length = min(-(-own // STEP) * STEP, most)
        groups.setdefault(CallShape(length, own == length), []).append(key)
    yield from sorted(groups.items())


def _made_up(backbone: Backbone, call: CallShape, columns: Sequence[str], seed: int) -> Encoded:
    """A row of any tokens that goes into a call of this shape."""
    chance = random.Random(f"{call} {seed}")  # noqa: S311  # no secret
    count = call.length if call.full else max(1, call.length - 1 - seed % (STEP - 1))
    body = backbone.model.get_submodule(backbone.architecture.body)
    known: int = body.get_input_embeddings().num_embeddings  # type: ignore[operator]
    padding = backbone.tokenizer.pad_token_id
    tokens = [(padding + chance.randrange(1, known)) % known for _ in range(count)]
    return {"input_ids": tokens, "attention_mask": [1] * count} | {
        name: [0] * count for name in columns if name not in ("input_ids", "attention_mask")
    }


def _has_experts(backbone: Backbone) -> bool:
    return any("expert" in name for name, _ in backbone.model.named_modules())


def _machine(device: torch.device) -> list[str | int]:
    """What else decides how sums are rounded."""
    if device.type == "cuda":
        return [torch.cuda.get_device_name(device)]
    return [
        device.type,
        torch.backends.cpu.get_cpu_capability(),
        processor(),
        torch.get_num_threads(),
    ]


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
    return hashlib.sha256(
        f"{features.dtype} {features.shape} ".encode() + features.tobytes()
    ).hexdigest()


def _to_disk(key: str, features: np.ndarray) -> None:
    from safetensors.numpy import save

    path = _path(key)
    with suppress(OSError):  # a full disk or a read-only home must not end a run
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_write(path) as draft:
            draft.write_bytes(save({"features": features}, metadata={"sha256": _hash(features)}))
