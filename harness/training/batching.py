"""Tokenised examples in micro-batches of similar length.

A micro-batch ends where padding would cost more than one more forward call.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from harness.backbones.loading import Backbone
from harness.tasks.base import Example

# Greatest number of tokens in one forward call, padding included.
MAX_TOKENS = {"cpu": 4096, "cuda": 65536, "mps": 16384}
# Tokens that cost as much as the overhead of one more forward call, as measured.
CALL_OVERHEAD = {"cpu": 40, "cuda": 4096, "mps": 2048}

Encoded = dict[str, list[int]]


def encode(backbone: Backbone, rows: Sequence[Example]) -> list[Encoded]:
    """Return the tokens of each example, truncated to the backbone's maximal length."""
    if not rows:
        return []
    texts = [list(column) for column in zip(*(row.texts for row in rows), strict=True)]
    table = backbone.tokenizer(*texts, truncation=True, max_length=backbone.max_length)
    return [{name: table[name][index] for name in table} for index in range(len(rows))]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a host tensor to the device without waiting for the copy.

    The copy starts from pinned memory. If it started from pageable memory, the host would wait until
    the device has finished all earlier work.
    """
    return (
        tensor.pin_memory().to(device, non_blocking=True)
        if device.type == "cuda"
        else tensor.to(device)
    )


def collate(backbone: Backbone, rows: Sequence[Encoded], length: int = 0) -> dict[str, Tensor]:
    """Return rows padded on the right, to `length` or to the longest row: `{name: [rows, tokens]}`."""
    longest = length or max(map(_length, rows))
    fill = {"input_ids": backbone.tokenizer.pad_token_id}
    padded = {
        name: [row[name] + [fill.get(name, 0)] * (longest - len(row[name])) for row in rows]
        for name in rows[0]
    }
    return {
        name: to_device(torch.tensor(tokens), backbone.device) for name, tokens in padded.items()
    }


def group_by_length(rows: Sequence[Encoded], device: str, max_tokens: int = 0) -> list[list[int]]:
    """Return the indices of the rows in groups of similar length, short ones first.

    A group ends where the next row would add more padding than one more call costs, or would exceed the
    maximum number of tokens in a call: `max_tokens`, or the device's default.
    """
    max_tokens = max_tokens or MAX_TOKENS[device]
    groups: list[list[int]] = []
    tokens = 0  # of the last group, without padding
    for index in sorted(range(len(rows)), key=lambda index: (_length(rows[index]), index)):
        length = _length(rows[index])
        if (
            groups
            and length * (len(groups[-1]) + 1) <= max_tokens
            and length * len(groups[-1]) - tokens <= CALL_OVERHEAD[device]
        ):
            groups[-1].append(index)
            tokens += length
        else:
            groups.append([index])
            tokens = length
    return groups


def halved_call_tokens(rows: Sequence[Encoded], device: str, max_tokens: int = 0) -> int:
    """Return half the number of tokens in the largest group; 0 if every group is a single row."""
    groups = [
        (len(group), len(group) * _length(rows[group[-1]]))
        for group in group_by_length(rows, device, max_tokens)
    ]
    return (
        max((tokens for _, tokens in groups), default=0) // 2
        if any(count > 1 for count, _ in groups)
        else 0
    )


class MicroBatch(NamedTuple):
    """Rows of one forward call, on the model's device."""

    indices: Tensor  # position of each row among all rows, `[rows]`
    batch: dict[str, Tensor]  # `{name: [rows, tokens]}`


class EncodedTestSet(list[Encoded]):
    """Encoded rows that many jobs evaluate; their micro-batches are built once and cached here."""

    def __init__(self, rows: Iterable[Encoded]) -> None:
        super().__init__(rows)
        # By device and greatest number of tokens in a call.
        self.built: dict[tuple[torch.device, int], list[MicroBatch]] = {}


def micro_batches(
    backbone: Backbone, rows: Sequence[Encoded], max_tokens: int = 0
) -> list[MicroBatch]:
    """Return the rows in micro-batches of similar length, short ones first: see `group_by_length`."""
    device, max_tokens = backbone.device, max_tokens or MAX_TOKENS[backbone.device.type]
    if isinstance(rows, EncodedTestSet) and (device, max_tokens) in rows.built:
        return rows.built[device, max_tokens]
    built = [
        MicroBatch(
            to_device(torch.tensor(group), device),
            collate(backbone, [rows[index] for index in group]),
        )
        for group in group_by_length(rows, device.type, max_tokens)
    ]
    if isinstance(rows, EncodedTestSet):
        rows.built[device, max_tokens] = built
    return built


def run_micro_batches(
    backbone: Backbone,
    rows: Sequence[Encoded],
    logits_of: Callable[[MicroBatch], Tensor],
    max_tokens: int = 0,
) -> Tensor:
    """Return `logits_of` each micro-batch, joined in the order of the rows: `[rows, outputs]`."""
    batches = micro_batches(backbone, rows, max_tokens)
    logits = torch.cat([logits_of(batch) for batch in batches])
    return logits[torch.cat([batch.indices for batch in batches]).argsort()]


def _length(row: Encoded) -> int:
    return len(row["input_ids"])
