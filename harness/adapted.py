"""A backbone with a method in it, and its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.backbones import Backbone
from harness.batches import Encoded, by_groups, collate
from methods.sites import Slots
from methods.source import Source

Tensors = Callable[[Tensor | None], dict[str, Tensor]]  # points of a simplex (None: its centroid) to slots


@dataclass(frozen=True)
class Adapted:
    """A backbone with a method's slots in it, and the source that fills them."""

    backbone: Backbone
    slots: Slots
    source: Source


def see(adapted: Adapted, rows: Sequence[Encoded], tensors: Mapping[str, Tensor]) -> Tensor:
    """Logits `[rows, outputs]` with tensors in the slots, each for all rows or `[rows, ...]`.

    Rows of like length go through the model together: one loss over all of them gives the same gradient, with less padding.
    """
    backbone, slots = adapted.backbone, adapted.slots

    def answer(group: list[int]) -> Tensor:
        slots.install(tensors, group)
        return backbone(collate(backbone, [rows[index] for index in group]))

    return by_groups(rows, backbone.device.type, answer)


@torch.no_grad()
def predict(adapted: Adapted, tensors: Tensors, rows: Sequence[Encoded], weights: Tensor | None = None) -> Tensor:
    """Logits `[rows, outputs]` on the CPU, in the order of the rows.

    Args:
        adapted: the model and its slots.
        tensors: gives what goes into the slots, at the points asked for.
        rows: encoded rows.
        weights: a point of the simplex for every row, `[rows, layers, vertices]`, or one for all; None: the centroid.
    """
    backbone, slots = adapted.backbone, adapted.slots
    if weights is None or len(weights) != len(rows):
        return see(adapted, rows, tensors(weights)).cpu()
    points = weights

    def answer(group: list[int]) -> Tensor:  # tensors for many rows at once would fill the memory
        slots.install(tensors(points[group]))
        return backbone(collate(backbone, [rows[index] for index in group]))

    return by_groups(rows, backbone.device.type, answer).cpu()
