"""A backbone with a method's slots in it, and its logits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.backbones.loading import Backbone
from harness.training import out_of_memory
from harness.training.rows.batching import (
    MicroBatch,
    halved_call_tokens,
    run_micro_batches,
    to_device,
)
from harness.training.rows.truncation import Encoded
from methods.core.parameters import TrainableParameters
from methods.core.slots import Slots

# From points of a simplex (None: its centroid) to the tensors of the slots.
Tensors = Callable[[Tensor | None], dict[str, Tensor]]


@dataclass
class CallLimit:
    """The greatest evaluation call that fits in the device's memory, reduced on out-of-memory."""

    tokens: int = 0  # greatest number in one call, padding included; 0: the device's default


@dataclass(frozen=True)
class AdaptedModel:
    """A backbone with a method's slots in it, and the trainable parameters that fill them."""

    backbone: Backbone
    slots: Slots
    trainable: TrainableParameters
    call_limit: CallLimit = field(default_factory=CallLimit)


def forward(
    adapted: AdaptedModel,
    rows: Sequence[Encoded],
    tensors: Mapping[str, Tensor],
    max_tokens: int = 0,
) -> Tensor:
    """Return logits `[rows, outputs]` with these tensors in the slots.

    Rows of similar length share a forward call, which saves padding. The gradient of a loss over all
    rows does not depend on this split.

    Args:
        adapted: the model and its slots.
        rows: encoded rows.
        tensors: one tensor per slot; it may have a leading row axis, `[rows, ...]`.
        max_tokens: greatest number of tokens in one call; 0: the device's default.
    """
    backbone, slots = adapted.backbone, adapted.slots

    def logits_of(batch: MicroBatch) -> Tensor:
        slots.install(tensors, batch.indices)
        return backbone(batch.batch)

    return run_micro_batches(backbone, rows, logits_of, max_tokens)


@torch.no_grad()
def predict(
    adapted: AdaptedModel, tensors: Tensors, rows: Sequence[Encoded], points: Tensor | None = None
) -> Tensor:
    """Return logits `[rows, outputs]` on the CPU, in the order of the rows.

    On out-of-memory, the greatest number of tokens in a call is halved, for these rows and for all later
    rows of this model.

    Args:
        adapted: the model and its slots.
        tensors: gives the tensors of the slots at points of the simplex.
        rows: encoded rows.
        points: a point of the simplex for every row, `[rows, layers, vertices]`, or one point for all
            rows, `[1, layers, vertices]`; None: the centroid.

    Raises:
        OutOfMemoryError: the device cannot hold a single row.
    """
    logits, adapted.call_limit.tokens = out_of_memory.retry_smaller(
        lambda tokens: _predict(adapted, tensors, rows, points, tokens),
        adapted.call_limit.tokens,
        lambda tokens: halved_call_tokens(adapted.backbone, rows, tokens),
    )
    return logits


def _predict(
    adapted: AdaptedModel,
    tensors: Tensors,
    rows: Sequence[Encoded],
    points: Tensor | None,
    max_tokens: int,
) -> Tensor:
    backbone, slots = adapted.backbone, adapted.slots
    if points is None or len(points) != len(rows):
        return forward(adapted, rows, tensors(points), max_tokens).cpu()
    on_device = to_device(points, backbone.device)

    def logits_of(batch: MicroBatch) -> Tensor:
        # Vertices are mixed for each call, since tensors for all rows need much memory.
        slots.install(tensors(on_device[batch.indices]))
        return backbone(batch.batch)

    return run_micro_batches(backbone, rows, logits_of, max_tokens).cpu()
