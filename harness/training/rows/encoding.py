"""Tokens of examples; those of large sets are cached on disk."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np

from harness import cache
from harness.atomic_write import atomic_write
from harness.backbones.loading import Backbone
from harness.tasks.base import Example
from harness.training.rows import text_rows
from harness.training.rows.truncation import Encoded, encode_texts

MIN_DISK_ROWS = 500  # smallest set that is stored on disk
HASH_SIZE = hashlib.sha256().digest_size  # bytes; the hash is at the end of a file


def encode(backbone: Backbone, rows: Sequence[Example]) -> list[Encoded]:
    """Return the tokens of each example: of its texts, and for a backbone that writes of what it is to write."""
    return (text_rows.with_targets if backbone.writes else encode_texts)(backbone, rows)


def encode_cached(backbone: Backbone, rows: Sequence[Example]) -> list[Encoded]:
    """Return the tokens of each example, as `encode` does; large sets are read from the cache on disk if possible."""
    if len(rows) < MIN_DISK_ROWS:
        return encode(backbone, rows)
    path = cache.folder() / "tokens" / f"{_fingerprint(backbone, rows)}.npz"
    encoded = _read(path, len(rows))
    if encoded is None:
        encoded = encode(backbone, rows)
        _write(path, encoded)
    return encoded


def _fingerprint(backbone: Backbone, rows: Sequence[Example]) -> str:
    import tokenizers
    import transformers

    spec = backbone.spec
    made_by = [
        spec.name,
        spec.revision,
        backbone.max_length,
        *([backbone.truncate] if backbone.truncate != "head" else []),
        *(["apart"] if backbone.apart else []),
        transformers.__version__,
        tokenizers.__version__,
    ]
    fingerprint = hashlib.sha256(json.dumps(made_by).encode())
    for row in rows:
        fingerprint.update(json.dumps(row.texts).encode())
    return fingerprint.hexdigest()[:32]


def _read(path: Path, count: int) -> list[Encoded] | None:
    """Return the tokens in a cache file; None if it is missing or corrupt.

    The file holds one flat array per column of the tokenizer, and the ends of the rows.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return None
    # The hash detects damage that the archive format does not.
    content, stored_hash = content[:-HASH_SIZE], content[-HASH_SIZE:]
    if hashlib.sha256(content).digest() != stored_hash:
        return None
    with np.load(BytesIO(content), allow_pickle=False) as file:
        ends = file["ends"]
        parts = {name: np.split(file[name], ends[:-1]) for name in file.files if name != "ends"}
    if len(ends) != count or "input_ids" not in parts:
        return None
    return [{name: part[index].tolist() for name, part in parts.items()} for index in range(count)]


def _write(path: Path, rows: Sequence[Encoded]) -> None:
    arrays = {
        name: np.concatenate([np.asarray(row[name], dtype=np.int32) for row in rows])
        for name in rows[0]
    }
    ends = np.cumsum([len(row["input_ids"]) for row in rows])
    archive = BytesIO()
    np.savez_compressed(archive, ends=ends, **arrays)  # type: ignore[arg-type]  # its stub takes the names for options
    with suppress(OSError):  # a full disk or a read-only home must not end a job
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_write(path) as draft:
            draft.write_bytes(archive.getvalue() + hashlib.sha256(archive.getvalue()).digest())
