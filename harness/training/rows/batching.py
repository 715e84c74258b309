"""Tokenised examples in micro-batches of similar length.

A micro-batch ends where padding would cost more than one more forward call. In bfloat16 on a CPU,
micro-batches have few different shapes instead.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from harness.backbones.loading import SECOND, Backbone
from harness.costs import Shape
from harness.training.rows.truncation import Encoded

# Greatest number of tokens in one forward call, padding included.
MAX_TOKENS = {"cpu": 4096, "cuda": 65536, "mps": 16384}
# Tokens that cost as much as the overhead of one more forward call, as measured.
CALL_OVERHEAD = {"cpu": 40, "cuda": 4096, "mps": 2048}

# Rows of one forward call in bfloat16 on a CPU. There the library compiles code for every new number of
# tokens in a call, which takes as long as some ten products with it.
ROWS_PER_CALL = 8


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
    pad = backbone.tokenizer.pad_token_id
    fill = {"input_ids": pad, "target_ids": pad, f"{SECOND}input_ids": pad}
    padded = {}
    for name in rows[0]:
        # The text that an encoder-decoder is to write has a length of its own.
        longest = length or max(len(row[name]) for row in rows)
        padded[name] = [
            row[name] + [fill.get(name, 0)] * (longest - len(row[name])) for row in rows
        ]
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


def group_by_shape(rows: Sequence[Encoded], longest: int, max_tokens: int = 0) -> list[list[int]]:
    """Return the indices of the rows in groups of 8, short ones first; of 4, 2 and 1 where these do not fit.

    Args:
        rows: encoded rows.
        longest: the maximal length of a row; see `_rounded`.
        max_tokens: greatest number of tokens in a call; 0: the default of a CPU.
    """
    max_tokens = max_tokens or MAX_TOKENS["cpu"]
    order = sorted(range(len(rows)), key=lambda index: (_length(rows[index]), index))
    groups = []
    while order:
        count = ROWS_PER_CALL
        while count > 1 and (
            count > len(order)
            or count * _rounded(_length(rows[order[count - 1]]), longest) > max_tokens
        ):
            count //= 2
        groups.append(order[:count])
        order = order[count:]
    return groups


def _rounded(length: int, longest: int) -> int:
    """Return a length rounded up to a multiple of 8, above 32 of 16, but not above the maximal length."""
    step = 8 if length <= 32 else 16
    return min(-(-length // step) * step, max(length, longest))


def _groups(backbone: Backbone, rows: Sequence[Encoded], max_tokens: int) -> list[list[int]]:
    if has_few_shapes(backbone):
        return group_by_shape(rows, backbone.max_length, max_tokens)
    return group_by_length(rows, backbone.device.type, max_tokens)


def shape_on_cpu(lengths: Sequence[int], dtype: str, longest: int) -> Shape:
    """Return the calls in which rows of these lengths go through a backbone on a CPU.

    Args:
        lengths: tokens of each row.
        dtype: precision of the backbone.
        longest: the maximal length of a row.
    """
    rows: list[Encoded] = [{"input_ids": [0] * length} for length in lengths]
    few = dtype == "bfloat16"
    groups = group_by_shape(rows, longest) if few else group_by_length(rows, "cpu")
    ends = [max(lengths[index] for index in group) for group in groups]
    padded = [_rounded(end, longest) if few else end for end in ends]
    tokens = sum(len(group) * end for group, end in zip(groups, padded, strict=True))
    return Shape(len(groups), tokens, len(lengths))


def has_few_shapes(backbone: Backbone) -> bool:
    """Return whether calls of the backbone should have few different shapes."""
    return backbone.device.type == "cpu" and backbone.spec.dtype == "bfloat16"


def halved_call_tokens(backbone: Backbone, rows: Sequence[Encoded], max_tokens: int = 0) -> int:
    """Return half the number of tokens in the largest group; 0 if every group is a single row."""
    groups = [
        (len(group), len(group) * _length(rows[group[-1]]))
        for group in _groups(backbone, rows, max_tokens)
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
    """Return the rows in micro-batches of similar length, short ones first."""
    device, max_tokens = backbone.device, max_tokens or MAX_TOKENS[backbone.device.type]
    if isinstance(rows, EncodedTestSet) and (device, max_tokens) in rows.built:
        return rows.built[device, max_tokens]
    built = [
        MicroBatch(
            to_device(torch.tensor(group), device),
            collate(
                backbone, [rows[index] for index in group], _call_length(backbone, rows, group)
            ),
        )
        for group in _groups(backbone, rows, max_tokens)
    ]
    if isinstance(rows, EncodedTestSet):
        rows.built[device, max_tokens] = built
    return built


def _call_length(backbone: Backbone, rows: Sequence[Encoded], group: Sequence[int]) -> int:
    """Return the number of tokens to which the rows of a group are padded."""
    longest = _length(rows[group[-1]])
    return _rounded(longest, backbone.max_length) if has_few_shapes(backbone) else longest


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
