"""A backbone with a method in it, and its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.backbones.loading import Backbone
from harness.training import out_of_memory
from harness.training.batching import (
    Encoded,
    MicroBatch,
    halved_call_tokens,
    run_micro_batches,
    to_device,
)
from methods.core.parameters import TrainableParameters
from methods.core.slots import Slots

Tensors = Callable[
    [Tensor | None], dict[str, Tensor]
]  # points of a simplex (None: its centroid) to slots


@dataclass
class CallLimit:
    """What a device was found to hold while a job's dev and test rows were answered."""

    tokens: int = 0  # of one call; 0: as many as usual


@dataclass(frozen=True)
class AdaptedModel:
    """A backbone with a method's slots in it, and the source that fills them."""

    backbone: Backbone
    slots: Slots
    trainable: TrainableParameters
    call_limit: CallLimit = field(default_factory=CallLimit)


def forward(
    adapted: AdaptedModel, rows: Sequence[Encoded], tensors: Mapping[str, Tensor], most: int = 0
) -> Tensor:
    """Logits `[rows, outputs]` with tensors in the slots, each for all rows or `[rows, ...]`.

    Rows of like length go through the model together: one loss over all of them gives the same
    gradient, with less padding.
    """
    backbone, slots = adapted.backbone, adapted.slots

    def answer(call: MicroBatch) -> Tensor:
        slots.install(tensors, call.numbers)
        return backbone(call.batch)

    return run_micro_batches(backbone, rows, answer, most)


@torch.no_grad()
def predict(
    adapted: AdaptedModel, tensors: Tensors, rows: Sequence[Encoded], weights: Tensor | None = None
) -> Tensor:
    """Logits `[rows, outputs]` on the CPU, in the order of the rows.

    Where the device has no memory for a call, these rows and all later ones go through the model in
    calls of half its tokens.

    Args:
        adapted: the model and its slots.
        tensors: gives what goes into the slots, at the points asked for.
        rows: encoded rows.
        weights: a point of the simplex for every row, `[rows, layers, vertices]`, or one for all;
            None: the centroid.

    Raises:
        OutOfMemoryError: it cannot hold a single row.
    """
    logits, adapted.call_limit.tokens = out_of_memory.retry_smaller(
        lambda tokens: _predict(adapted, tensors, rows, weights, tokens),
        adapted.call_limit.tokens,
        lambda tokens: halved_call_tokens(rows, adapted.backbone.device.type, tokens),
    )
    return logits


def _predict(
    adapted: AdaptedModel,
    tensors: Tensors,
    rows: Sequence[Encoded],
    weights: Tensor | None,
    most: int,
) -> Tensor:
    backbone, slots = adapted.backbone, adapted.slots
    if weights is None or len(weights) != len(rows):
        return forward(adapted, rows, tensors(weights), most).cpu()
    points = to_device(weights, backbone.device)

    def answer(call: MicroBatch) -> Tensor:  # tensors for many rows at once would fill the memory
        slots.install(tensors(points[call.numbers]))
        return backbone(call.batch)

    return run_micro_batches(backbone, rows, answer, most).cpu()
