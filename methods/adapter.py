"""Bottleneck adapters: a small trained perceptron after the feed-forward block of every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from methods.base import Backbone, Method, Streams, Unsupported, require

if TYPE_CHECKING:
    from torch import Tensor

    from methods.sites import Slots
    from methods.source import Source


@dataclass(frozen=True, kw_only=True)
class Adapter(Method):
    """Adds `up(relu(down(x)))` to what each feed-forward block puts out, before it joins the residual stream; `up` starts at 0.

    Sources: Houlsby et al. 2019, arXiv 1902.00751, for the bottleneck; Pfeiffer et al. 2021, arXiv 2005.00247, for its one
    place a layer; 48 is 768 / 16, the reduction used there.
    """

    name: ClassVar[str] = "adapter"
    summary: ClassVar[str] = "a bottleneck perceptron after the feed-forward block of every layer"
    paper: ClassVar[str] = "Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2021, arXiv 2005.00247"

    bottleneck: int = 48

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.bottleneck >= 1, f"bottleneck must be 1 or more, got {self.bottleneck}")

    @property
    def default_lr(self) -> float:
        """As for the other small trained parts."""
        return 5e-4

    def slots(self, backbone: Backbone) -> Slots:
        import torch

        from methods.sites import Slots, add_head, linear_layers, row_bias

        slots = Slots(backbone)

        def adapt(module: Any, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            low = torch.relu(output @ module.down.mT + row_bias(module.down_bias))  # [rows, tokens, bottleneck]
            high: Tensor = low @ module.up.mT + row_bias(module.up_bias)  # [rows, tokens, hidden]
            return output + high

        hidden = backbone.anatomy.hidden
        for number, block in enumerate(backbone.anatomy.layers):
            last = linear_layers(backbone.model, block)[-1:]  # blocks end with the layer that leaves the feed-forward part
            if not last or backbone.model.get_submodule(last[0]).out_features != hidden:
                slots.remove()
                raise Unsupported("the feed-forward block of this backbone does not end in a linear layer of the hidden size")
            slots.add(last[0], "down", (self.bottleneck, hidden), number)
            slots.add(last[0], "down_bias", (self.bottleneck,), number)
            slots.add(last[0], "up", (hidden, self.bottleneck), number)
            slots.add(last[0], "up_bias", (hidden,), number)
            slots.hook(last[0], adapt)
        add_head(slots, backbone)
        return slots

    def source(self, slots: Slots, streams: Streams, vertices: int = 1) -> Source:
        from methods.source import Source, draw, draw_head, normal, zeros

        drawn = draw_head(slots, streams, vertices, slots.anatomy.init_range)
        for slot in slots:
            if slot.role == "added":
                law = normal(slots.anatomy.init_range) if slot.name.endswith(".down") else zeros
                drawn[slot.name] = draw(streams, slot.name, slot.shape, vertices, law)
        return Source(slots, drawn)
