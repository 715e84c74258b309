"""Rows of text as batches of tokens, cut where padding would cost more than a further call of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from harness.backbones.loading import Backbone
from harness.tasks.base import Row

MOST = {"cpu": 4096, "cuda": 65536, "mps": 16384}  # tokens of one call, padding included
CALL = {
    "cpu": 40,
    "cuda": 4096,
    "mps": 2048,
}  # tokens that cost as much as one more call (README, "How fast")

Encoded = dict[str, list[int]]


def encode(backbone: Backbone, rows: Sequence[Row]) -> list[Encoded]:
    """Tokens of each row, cut to the job's length."""
    if not rows:
        return []
    texts = [list(column) for column in zip(*(row.texts for row in rows), strict=True)]
    table = backbone.tokenizer(*texts, truncation=True, max_length=backbone.max_length)
    return [{name: table[name][index] for name in table} for index in range(len(rows))]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device; a GPU fetches it when it gets there, and the host goes on.

    Only from memory that is never paged out: for any other the host would wait until all that it
    had asked for was done.
    """
    return (
        tensor.pin_memory().to(device, non_blocking=True)
        if device.type == "cuda"
        else tensor.to(device)
    )


def collate(backbone: Backbone, rows: Sequence[Encoded], length: int = 0) -> dict[str, Tensor]:
    """Rows padded on the right, to a length or to the longest of them: `{name: [rows, tokens]}`."""
    longest = length or max(map(_tokens, rows))
    fill = {"input_ids": backbone.tokenizer.pad_token_id}
    padded = {
        name: [row[name] + [fill.get(name, 0)] * (longest - len(row[name])) for row in rows]
        for name in rows[0]
    }
    return {
        name: to_device(torch.tensor(tokens), backbone.device) for name, tokens in padded.items()
    }


def group_by_length(rows: Sequence[Encoded], device: str, most: int = 0) -> list[list[int]]:
    """Numbers of rows in groups of like length, short ones first.

    A group ends where the next row would bring more padding than a further call costs, or more
    tokens than a call may have: `most`, or as many as are usual on the device.
    """
    most = most or MOST[device]
    groups: list[list[int]] = []
    tokens = 0  # of the group at hand, without padding
    for index in sorted(range(len(rows)), key=lambda index: (_tokens(rows[index]), index)):
        length = _tokens(rows[index])
        if (
            groups
            and length * (len(groups[-1]) + 1) <= most
            and length * len(groups[-1]) - tokens <= CALL[device]
        ):
            groups[-1].append(index)
            tokens += length
        else:
            groups.append([index])
            tokens = length
    return groups


def halved_call_tokens(rows: Sequence[Encoded], device: str, most: int = 0) -> int:
    """Half the tokens that the largest of the groups has; 0: each of them is a single row."""
    groups = [
        (len(group), len(group) * _tokens(rows[group[-1]]))
        for group in group_by_length(rows, device, most)
    ]
    return (
        max((tokens for _, tokens in groups), default=0) // 2
        if any(count > 1 for count, _ in groups)
        else 0
    )


class MicroBatch(NamedTuple):
    """Rows that go through the model together, on its device."""

    numbers: Tensor  # which of the rows they are, `[rows]`
    batch: dict[str, Tensor]  # `{name: [rows, tokens]}`


class EncodedTestSet(list[Encoded]):
    """Rows that many jobs read, such as those of a test: their calls are made once."""

    def __init__(self, rows: Iterable[Encoded]) -> None:
        super().__init__(rows)
        self.made: dict[
            tuple[torch.device, int], list[MicroBatch]
        ] = {}  # by the device, and the tokens that a call may have


def calls(backbone: Backbone, rows: Sequence[Encoded], most: int = 0) -> list[MicroBatch]:
    """Rows in calls of like length, short ones first: see `cut`."""
    device, most = backbone.device, most or MOST[backbone.device.type]
    if isinstance(rows, EncodedTestSet) and (device, most) in rows.made:
        return rows.made[device, most]
    groups = group_by_length(rows, device.type, most)
    made = [
        MicroBatch(
            to_device(torch.tensor(group), device),
            collate(backbone, [rows[index] for index in group]),
        )
        for group in groups
    ]
    if isinstance(rows, EncodedTestSet):
        rows.made[device, most] = made
    return made


def run_micro_batches(
    backbone: Backbone,
    rows: Sequence[Encoded],
    answer: Callable[[MicroBatch], Tensor],
    most: int = 0,
) -> Tensor:
    """What `answer` gives for each call, `[rows, outputs]`, put together in the order of the rows."""
    made = calls(backbone, rows, most)
    found = torch.cat([answer(call) for call in made])
    return found[torch.cat([call.numbers for call in made]).argsort()]


def _tokens(row: Encoded) -> int:
    return len(row["input_ids"])
