"""Tokens of texts, cut to the backbone's maximal length."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from harness.backbones.loading import SECOND, Backbone
from harness.tasks.base import Example

Encoded = dict[str, list[int]]  # by name of an input, one number for each token

# Rows of one call of the tokenizer, which holds all tokens of the call, also those that are cut.
_ROWS: Final = 256
_LONG: Final = 1000  # characters for each token that is kept


def encode_texts(backbone: Backbone, rows: Sequence[Example]) -> list[Encoded]:
    """Return the tokens of each example's texts, cut as the backbone's `truncate` says to its `max_length`.

    Of a pair, the longer text is cut first. If the texts are read one by one, each has a row of its own in the
    result, padded to the longer one; `SECOND` is in front of the names of the second.
    """
    if backbone.apart:
        alone = replace(backbone, apart=False)
        firsts, seconds = (
            encode_texts(alone, [Example((row.texts[at],), 0) for row in rows]) for at in (0, 1)
        )
        pad = backbone.tokenizer.pad_token_id
        return [_side_by_side(*both, pad) for both in zip(firsts, seconds, strict=True)]
    parts = (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))
    return [encoded for part in parts for encoded in _encode_part(backbone, part)]


def _side_by_side(first: Encoded, second: Encoded, pad: int) -> Encoded:
    """Return both rows as one, padded to the longer one."""
    longest = max(len(row["input_ids"]) for row in (first, second))
    return {
        prefix + name: ids + [pad if name == "input_ids" else 0] * (longest - len(ids))
        for prefix, row in (("", first), (SECOND, second))
        for name, ids in row.items()
    }


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
