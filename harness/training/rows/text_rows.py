"""Tokens of sources and of the texts that are to be written for them.

A decoder reads `source separator text end` as one text; separator and end are the token that ends a text, as in Li
& Liang 2021, arXiv 2101.00190, section 4.1 (and their code for GPT-2). An encoder reads the source by itself.
"""

from collections.abc import Sequence
from typing import Any

from harness.backbones.loading import Backbone
from harness.tasks.base import Example
from harness.training.rows.truncation import Encoded, encode_texts


def sources(backbone: Backbone, rows: Sequence[Example]) -> list[Encoded]:
    """Return the tokens of each source, up to where the model starts to write; a decoder's end with the separator.

    A source that is too long is cut as the backbone's `truncate` says.
    """
    if backbone.architecture.encoder_decoder:
        return encode_texts(backbone, rows)
    room = backbone.source_length - 1  # one token separates
    ids = (_kept(_tokens(backbone, row), room, backbone.truncate) for row in rows)
    return [_row([*row, _end(backbone)]) for row in ids]


def with_targets(backbone: Backbone, rows: Sequence[Example]) -> list[Encoded]:
    """Return the tokens of each source and of its first reference.

    `target_mask` marks the tokens of the reference, which for an encoder-decoder are in `target_ids`.
    """
    encoded = []
    space = _space(backbone.tokenizer)
    for source, row in zip(sources(backbone, rows), rows, strict=True):
        text = backbone.tokens(space + row.references[0])[: backbone.target_length - 1]
        target = [*text, _end(backbone)]
        marks = [1] * len(target)
        if backbone.architecture.encoder_decoder:
            encoded.append({**source, "target_ids": target, "target_mask": marks})
        else:
            before = source["input_ids"]
            encoded.append({**_row([*before, *target]), "target_mask": [0] * len(before) + marks})
    return encoded


def _row(ids: list[int]) -> Encoded:
    return {"input_ids": ids, "attention_mask": [1] * len(ids)}


def _end(backbone: Backbone) -> int:
    """Return the token that ends a text."""
    return int(backbone.tokenizer.eos_token_id)


def _tokens(backbone: Backbone, row: Example) -> list[int]:
    """Return the tokens of a source for a decoder, with those that the tokenizer puts in front of every text."""
    ids = list(backbone.tokenizer(" ".join(row.texts))["input_ids"])
    return ids[:-1] if ids and ids[-1] == _end(backbone) and len(ids) > 1 else ids


def _space(tokenizer: Any) -> str:
    """Return a space if the tokenizer makes it part of the word after it, as GPT-2's does."""
    plain, spaced = (
        len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in ("word", " word")
    )
    return " " if spaced <= plain else ""


def _kept(ids: list[int], room: int, truncate: str) -> list[int]:
    """Return at most `room` tokens: those of the head, of the tail, or of both."""
    if len(ids) <= room:
        return ids
    head = {"head": room, "tail": 0, "both": -(-room // 2)}[truncate]
    return [*ids[:head], *ids[len(ids) - (room - head) :]]
