"""Features of rows on a frozen backbone, which a worker computes once and shares between jobs.

The features of a row depend on that row only, to the bit. All rows of similar length are computed in
calls of the same shape, which are filled with copies of a row, so that neither the other rows of a call
nor the row's position in it changes a bit.
"""

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
from harness.backbones.loading import SECOND, Backbone
from harness.costs import Shape
from harness.provenance import environment, processor
from harness.training import out_of_memory
from harness.training.adapted_model import AdaptedModel
from harness.training.rows.batching import collate
from harness.training.rows.truncation import Encoded
from methods import Method, plugin_of
from methods.core.method import ClosedForm

CALL_TOKENS = {"cpu": 512, "cuda": 16384, "mps": 4096}  # of one call, padding included
MIN_DISK_ROWS = 500  # smallest set that is stored on disk: includes test sets, not few-shot draws
LENGTH_STEP = 8  # calls have lengths that are multiples of this number of tokens
PROBES = 3  # calls that probe a shape, once in a worker
MAX_TABLES = 4  # number of tables in memory; there is one table per backbone and pooling
MAX_BYTES = 1 << 29  # of one table

ReadProgress = Callable[[int, int], None]  # rows computed so far, rows to compute


class CallShape(NamedTuple):
    """The shape of a forward call, which follows from a row and the backbone."""

    length: int
    # Whether the row fills the length, without padding. Libraries drop a mask that masks nothing, which
    # changes rounding, so padded rows are computed in other calls.
    full: bool


@dataclass(frozen=True)
class FeatureReader:
    """Computes the features of encoded rows on one backbone for one method."""

    store: "FeatureStore"
    adapted: AdaptedModel
    solver: ClosedForm
    made_by: Mapping[str, Any]  # the method and the options that the features depend on

    def __call__(
        self,
        rows: Sequence[Encoded],
        *,
        disk: bool = False,
        progress: ReadProgress = lambda *_: None,
    ) -> np.ndarray:
        """Return features `[rows, features]` in float64.

        On out-of-memory, the number of tokens in a call is halved, for these rows and for all later rows;
        `adapted.call_limit` records it.

        Args:
            rows: encoded rows.
            disk: whether to read the features of a large set from disk, and store them there.
            progress: called after every call of the model.

        Raises:
            OutOfMemoryError: the device cannot hold a single row.
        """
        limit = self.adapted.call_limit
        usual = limit.tokens or CALL_TOKENS[self.adapted.backbone.device.type]
        longest = max((len(row["input_ids"]) for row in rows), default=0)
        features, tokens = out_of_memory.retry_smaller(
            lambda tokens: self.store.read(self, rows, tokens, disk=disk, progress=progress),
            usual,
            lambda tokens: tokens // 2 if tokens >= 2 * longest else 0,
        )
        if tokens != usual:
            limit.tokens = tokens
        return features

    @cached_property
    def _identity(self) -> dict[str, torch.Tensor]:
        """The tensors of a classifier whose logits are the features."""
        backbone = self.adapted.backbone
        return {
            name: torch.from_numpy(value).float().to(backbone.device)
            for name, value in self.solver.identity(backbone.features).items()
        }

    def compute(self, rows: Sequence[Encoded], call: CallShape, count: int) -> np.ndarray:
        """Return the features of the rows of one call, which is filled up to `count` rows."""
        backbone, slots = self.adapted.backbone, self.adapted.slots
        slots.install(self._identity)
        filled = [*rows, *[rows[-1]] * (count - len(rows))]
        with torch.no_grad():
            features: np.ndarray = (
                backbone(collate(backbone, filled, call.length))[: len(rows)].cpu().numpy()
            )
        return features


class FeatureStore:
    """Features by row, in the memory of one worker; those of test sets also on disk."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[bytes, np.ndarray]] = {}
        self._stable: dict[tuple[str, CallShape], bool] = {}

    @cached_property
    def _environment(self) -> dict[str, str]:
        return environment()

    def reader(self, adapted: AdaptedModel, method: Method) -> FeatureReader:
        """Return the reader that computes the features for a method that is fitted on features."""
        solver = method.closed_form
        assert solver is not None
        made_by = {
            "method": method.name,
            "from": str(plugin_of(method) or ""),
            "version": method.resolved_version,
        }
        return FeatureReader(self, adapted, solver, made_by | dict(solver.feature_options()))

    def read(
        self,
        reader: FeatureReader,
        rows: Sequence[Encoded],
        tokens: int,
        *,
        disk: bool,
        progress: ReadProgress,
    ) -> np.ndarray:
        """Return features `[rows, features]`, and compute only those that are not stored."""
        backbone = reader.adapted.backbone
        spec = backbone.spec
        made_by = [
            spec.name,
            spec.revision,
            spec.pooling,
            spec.dtype,
            dict(reader.made_by),
            _machine(backbone.device),
            *(["apart"] if backbone.apart else []),
        ]
        name = _hashed([*made_by, backbone.max_length, tokens, self._environment]).hex()
        table = self._table(name)
        keys = [_hashed(row) for row in rows]
        # With uncommitted changes the code may change again under the same version.
        disk = disk and len(rows) >= MIN_DISK_ROWS and "+changes" not in str(self._environment)
        file_key = _hashed([name, [key.hex() for key in keys]]).hex() if disk else None
        if file_key and not all(key in table for key in keys):
            stored = _from_disk(file_key)
            table.update(zip(keys, stored, strict=True) if stored is not None else ())
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in table}
        done = 0
        for call, keys_of_call in _by_call(missing, backbone.max_length):
            count = max(1, tokens // call.length)
            count = (
                count
                if self._is_stable(name, reader, call, count, list(missing[keys_of_call[0]]))
                else 1
            )
            for start in range(0, len(keys_of_call), count):
                part = keys_of_call[start : start + count]
                computed = reader.compute([missing[key] for key in part], call, count)
                table.update(
                    (key, features.copy())  # a view would keep the whole array
                    for key, features in zip(part, computed, strict=True)
                )
                done += len(part)
                progress(done, len(missing))
        features = np.stack([table[key] for key in keys])
        if file_key and missing:
            _to_disk(file_key, features)
        return features.astype(np.float64)

    def _table(self, name: str) -> dict[bytes, np.ndarray]:
        """Return the table with this name, emptied if it is full; drop the least recently used of too many tables."""
        table = self._tables.pop(name, {})
        if table and len(table) * next(iter(table.values())).nbytes > MAX_BYTES:
            table = {}
        if len(self._tables) >= MAX_TABLES:
            self._tables.pop(next(iter(self._tables)))
        self._tables[name] = table
        return table

    def _is_stable(
        self, name: str, reader: FeatureReader, call: CallShape, count: int, columns: Sequence[str]
    ) -> bool:
        """Return whether a row's features are equal to the bit at any position in a call, beside any other rows.

        If not, rows are computed one by one. The answer is probed once per shape on synthetic rows,
        independent of any job. A model with experts is never stable: the number of rows that an expert
        computes depends on all rows of a call.
        """
        if count > 1 and (name, call) not in self._stable:
            backbone = reader.adapted.backbone
            rows = [
                _synthetic_row(backbone, call, columns, seed) for seed in range(count + count // 2)
            ]
            first, half = rows[:count], count // 2
            features, shifted, reversed_features = (
                reader.compute(part, call, count)
                for part in (first, rows[half : half + count], first[::-1])
            )
            self._stable[name, call] = (
                np.array_equal(features[half:], shifted[: count - half])
                and np.array_equal(features, reversed_features[::-1])
                and not any("expert" in module for module, _ in backbone.model.named_modules())
            )
        return count == 1 or self._stable[name, call]


def shapes_on_cpu(lengths: Sequence[int], max_length: int) -> tuple[Shape, Shape]:
    """Return the calls that compute the features of rows of these lengths, and those that probe their shapes."""
    rows = {bytes(str(n), "ascii"): {"input_ids": [0] * length} for n, length in enumerate(lengths)}
    computing, probing = [0, 0, 0], [0, 0, 0]
    for call, keys in _by_call(rows, max_length):
        count = max(1, CALL_TOKENS["cpu"] // call.length)
        calls = -(-len(keys) // count)
        for totals, number in ((computing, calls), (probing, PROBES * (count > 1))):
            for place, value in enumerate((1, count * call.length, count)):
                totals[place] += number * value
    return Shape(*computing), Shape(*probing)


def _by_call(
    rows: Mapping[bytes, Encoded], max_length: int
) -> Iterator[tuple[CallShape, list[bytes]]]:
    """Yield each shape of calls with the keys of its rows, in order of length."""
    groups: dict[CallShape, list[bytes]] = {}
    for key, row in rows.items():
        tokens = len(row["input_ids"])
        length = min(-(-tokens // LENGTH_STEP) * LENGTH_STEP, max_length)
        # Of a pair that is read apart, the shorter text is padded.
        padded = any(
            0 in row.get(name, ()) for name in ("attention_mask", SECOND + "attention_mask")
        )
        groups.setdefault(CallShape(length, tokens == length and not padded), []).append(key)
    yield from sorted(groups.items())


def _synthetic_row(
    backbone: Backbone, call: CallShape, columns: Sequence[str], seed: int
) -> Encoded:
    """Return a row of random tokens for a call of this shape."""
    generator = random.Random(f"{call} {seed}")  # noqa: S311  # no secret
    count = call.length if call.full else max(1, call.length - 1 - seed % (LENGTH_STEP - 1))
    body = backbone.model.get_submodule(backbone.architecture.body)
    vocabulary: int = body.get_input_embeddings().num_embeddings  # type: ignore[operator]
    padding = backbone.tokenizer.pad_token_id
    tokens = [(padding + generator.randrange(1, vocabulary)) % vocabulary for _ in range(count)]
    values = {"input_ids": tokens, "attention_mask": [1] * count}
    return values | {name: values.get(name.removeprefix(SECOND), [0] * count) for name in columns}


def _machine(device: torch.device) -> list[str | int]:
    """Return the properties of device and process that determine how sums are rounded."""
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
    """Return the stored features; None if missing or corrupt."""
    from safetensors import safe_open

    try:
        with safe_open(_path(key), "numpy") as file:
            features: np.ndarray = file.get_tensor("features")
            intact = file.metadata()["sha256"] == _hash(features)
    except Exception:  # a damaged file can raise any error
        return None
    return features if intact else None


def _hash(features: np.ndarray) -> str:
    """Return a hash of the values, their type and their shape."""
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
