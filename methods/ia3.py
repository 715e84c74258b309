"""(IA)^3: trained factors on keys, values and the inside of the feed-forward block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from methods.base import Backbone, Method, Streams, Unsupported

if TYPE_CHECKING:
    from torch import Tensor

    from methods.sites import Slots
    from methods.source import Source

# What the key and value projections are called in the encoders and decoders of the library.
KEY_VALUE = "key|value|k_lin|v_lin|k_proj|v_proj|key_proj|value_proj"


@dataclass(frozen=True, kw_only=True)
class Ia3(Method):
    """Multiplies keys, values and the hidden layer of each feed-forward block by trained vectors that start at 1.

    Source: Liu et al. 2022, arXiv 2205.05638, section 3.3.
    """

    name: ClassVar[str] = "ia3"
    summary: ClassVar[str] = "trained factors on keys, values and the feed-forward block's hidden layer"
    paper: ClassVar[str] = "Liu et al. 2022, arXiv 2205.05638"
    starts_at_random: ClassVar[bool] = False

    @property
    def default_lr(self) -> float:
        """The paper trains its factors at 3e-3; so few numbers need a high rate."""
        return 5e-3

    def slots(self, backbone: Backbone) -> Slots:
        from methods.sites import Slots, add_head, linear_layers

        slots = Slots(backbone)

        def scale_output(module: Any, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            scaled: Tensor = output * module.scale
            return scaled

        def scale_input(
            module: Any, inputs: tuple[Tensor, ...], named: dict[str, Any]
        ) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
            return (inputs[0] * module.scale, *inputs[1:]), named

        for number, block in enumerate(backbone.anatomy.layers):
            for path in linear_layers(backbone.model, block, KEY_VALUE):
                slots.add(path, "scale", (backbone.model.get_submodule(path).out_features,), number)  # type: ignore[arg-type]
                slots.hook(path, scale_output)
            for path in linear_layers(backbone.model, block)[-1:]:  # what leaves the feed-forward part reads its hidden layer
                slots.add(path, "scale", (backbone.model.get_submodule(path).in_features,), number)  # type: ignore[arg-type]
                slots.hook_inputs(path, scale_input)
        if not len(slots):
            raise Unsupported("no repeated blocks with linear layers were found in this backbone")
        add_head(slots, backbone)
        return slots

    def source(self, slots: Slots, streams: Streams, vertices: int = 1) -> Source:
        import torch

        from methods.source import Source, draw_head

        ones = {slot.name: torch.ones(slot.shape) for slot in slots if slot.role == "added"}
        return Source(slots, draw_head(slots, streams, vertices, slots.anatomy.init_range), ones)
