"""Tokens of examples, cut to the backbone's maximal length; those of large sets are cached on disk."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from harness import cache
from harness.atomic_write import atomic_write
from harness.backbones.loading import Backbone
from harness.tasks.base import Example

Encoded = dict[str, list[int]]
MIN_DISK_ROWS = 500  # smallest set that is stored on disk
HASH_SIZE = hashlib.sha256().digest_size  # bytes; the hash is at the end of a file

# Rows of one call of the tokenizer, which holds all tokens of the call, also those that are cut.
_ROWS: Final = 256
_LONG: Final = 1000  # characters for each token that is kept


def encode(backbone: Backbone, rows: Sequence[Example]) -> list[Encoded]:
    """Return the tokens of each example, cut as the backbone's `truncate` says to its `max_length`.

    Of a pair, the longer text is cut first.
    """
    parts = (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))
    return [encoded for part in parts for encoded in _encode_part(backbone, part)]


def _encode_part(backbone: Backbone, rows: Sequence[Example]) -> list[Encoded]:
    # Of a pair, the longer text is cut first, so which one is longer must not change: only a text that is
    # long beyond doubt is shortened.
    least = (2 if len(rows[0].texts) == 1 else _LONG) * backbone.max_length
    short = [tuple(_shortened(text, backbone, least) for text in row.texts) for row in rows]
    encoded = _tokens(backbone, short)
    # Words of invisible characters may have no tokens: then the rest of the text has to be read.
    again = [
        index
        for index, (row, texts) in enumerate(zip(rows, short, strict=True))
        if row.texts != texts and len(encoded[index]["input_ids"]) < backbone.max_length
    ]
    if again:
        for index, one in zip(
            again, _tokens(backbone, [rows[index].texts for index in again]), strict=True
        ):
            encoded[index] = one
    return encoded


def _shortened(text: str, backbone: Backbone, least: int) -> str:
    """Return the words of a text that may be kept, twice as many as tokens; each has at least one token.

    Args:
        text: the text.
        backbone: says how much is kept.
        least: number of characters of the shortest text that is shortened.
    """
    words = 2 * backbone.max_length
    if len(text) < least:
        return text
    keeps = backbone.truncate
    head = len(text) if keeps == "tail" else _end_of_word(text, words)
    tail = 0 if keeps == "head" else len(text) - _end_of_word(text[::-1], words)
    if keeps == "both":
        return f"{text[:head]} {text[tail:]}" if head < tail else text
    return text[tail:head]


def _end_of_word(text: str, number: int) -> int:
    """Return where a word ends, counted from 1; the text's end if there are fewer words."""
    word = next(islice(re.finditer(r"\S+", text), number - 1, number), None)
    return len(text) if word is None else word.end()


def _tokens(backbone: Backbone, rows: Sequence[tuple[str, ...]]) -> list[Encoded]:
    tokenizer, texts = backbone.tokenizer, [list(column) for column in zip(*rows, strict=True)]
    if backbone.truncate == "both":
        table = tokenizer(*texts, verbose=False)
        kept = (_kept(table.sequence_ids(index), backbone.max_length) for index in range(len(rows)))
        return [
            {name: [table[name][index][at] for at in positions] for name in table}
            for index, positions in enumerate(kept)
        ]
    with _cuts_the_head(tokenizer) if backbone.truncate == "tail" else nullcontext():
        table = tokenizer(*texts, truncation=True, max_length=backbone.max_length)
    return [{name: table[name][index] for name in table} for index in range(len(rows))]


@contextmanager
def _cuts_the_head(tokenizer: Any) -> Iterator[None]:
    """Inside the block, the tokenizer cuts the beginning of rows."""
    before, tokenizer.truncation_side = tokenizer.truncation_side, "left"
    try:
        yield
    finally:
        tokenizer.truncation_side = before


def _kept(sequences: Sequence[int | None], most: int) -> list[int]:
    """Return the positions that are kept of a row whose middle is cut.

    Args:
        sequences: of each token, the number of its text; None for a special token.
        most: number of tokens to keep.
    """
    texts = [[at for at, of in enumerate(sequences) if of == number] for number in (0, 1)]
    room = max(most - sum(of is None for of in sequences), 0)
    first, second = map(len, texts)
    if first + second > room:  # the longer text is cut first
        half = room // 2
        first, second = (
            (room - second, second)
            if second <= half
            else (first, room - first)
            if first <= room - half
            else (room - half, half)
        )
    dropped: set[int] = set()
    for positions, count in zip(texts, (first, second), strict=True):
        head = -(-count // 2)
        dropped.update(positions[head : len(positions) - (count - head)])
    return [at for at in range(len(sequences)) if at not in dropped]


# -- the cache


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
