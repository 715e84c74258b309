"""BitFit: the backbone's biases, and nothing else of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from methods.base import Backbone, Method, Streams

if TYPE_CHECKING:
    from methods.sites import Slots
    from methods.source import Source


@dataclass(frozen=True, kw_only=True)
class Bitfit(Method):
    """Trains every bias of the backbone, those of its norms included.

    Source: Ben Zaken et al. 2022, arXiv 2106.10199; at BERT-base these are 102,912 numbers without the head.
    """

    name: ClassVar[str] = "bitfit"
    summary: ClassVar[str] = "the backbone's biases"
    paper: ClassVar[str] = "Ben Zaken et al. 2022, arXiv 2106.10199"
    starts_at_random: ClassVar[bool] = False

    @property
    def default_lr(self) -> float:
        """Within the range of 1e-4 to 1e-3 and above that the paper searches for biases."""
        return 1e-3

    def slots(self, backbone: Backbone) -> Slots:
        from methods.sites import Slots, add_head, layer_of

        slots = Slots(backbone)
        for name in sorted(backbone.anatomy.trained):
            if name.endswith("bias") and not backbone.anatomy.is_head(name):
                slots.replace(name, layer_of(backbone.anatomy, name), role="backbone")
        add_head(slots, backbone)
        return slots

    def source(self, slots: Slots, streams: Streams, vertices: int = 1) -> Source:
        from methods.source import Source, draw_head

        given = {slot.name: slots.held(slot.name).float().clone() for slot in slots if slot.role == "backbone"}
        return Source(slots, draw_head(slots, streams, vertices, slots.anatomy.init_range), given)
