"""(IA)^3: trained factors on keys, values and the inside of the feed-forward block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from methods.core.method import Method
from methods.core.protocols import Streams, Unsupported

if TYPE_CHECKING:
    from torch import Tensor

    from methods.core.architecture import Projection
    from methods.core.parameters import InitialParameters
    from methods.core.slots import Slots


@dataclass(frozen=True, kw_only=True)
class Ia3(Method):
    """Multiply keys, values and the hidden layer of each feed-forward block by trained vectors that start at 1.

    Source: Liu et al. 2022, arXiv 2205.05638, section 3.3.
    """

    name: ClassVar[str] = "ia3"
    summary: ClassVar[str] = (
        "trained factors on keys, values and the feed-forward block's hidden layer"
    )
    paper: ClassVar[str] = "Liu et al. 2022, arXiv 2205.05638"

    default_lr: ClassVar[float] = 5e-3  # the paper uses 3e-3; few parameters require a high rate

    starts_at_random: ClassVar[bool] = False  # all factors start at 1

    def place(self, slots: Slots) -> None:
        for number, block in enumerate(slots.architecture.blocks):
            if block.key is None or block.value is None or block.feed_forward_out is None:
                raise Unsupported(
                    f"keys, values or the feed-forward part of {block.path} were not found: try lora or adapter"
                )
            for part, projection in (("key", block.key), ("value", block.value)):
                self._scale_outputs(
                    slots,
                    projection,
                    "scale" if projection.columns is None else f"{part}_scale",
                    number,
                )
            for part, crossing in zip(("key", "value"), block.cross[1:], strict=False):
                if crossing is not None:
                    name = "scale" if crossing.columns is None else f"{part}_scale"
                    self._scale_outputs(slots, crossing, name, number)
            self._scale_inputs(slots, block.feed_forward_out, number)
        if not len(slots):
            raise Unsupported("no repeated blocks were found in this backbone")

    def _scale_outputs(self, slots: Slots, projection: Projection, name: str, layer: int) -> None:
        """Scale the outputs of a linear layer that are keys or values."""
        import torch

        from methods.core.architecture import layer_sizes
        from methods.core.slots import row_bias

        linear: Any = slots.backbone.model.get_submodule(projection.path)
        columns = (
            None
            if projection.columns is None
            else torch.tensor(projection.columns, device=linear.weight.device)
        )
        width = layer_sizes(linear)[1] if columns is None else len(columns)
        slots.add(projection.path, name, (width,), layer)

        def scale(module: Any, _x: Tensor, output: Tensor) -> Tensor:
            factors = row_bias(getattr(module, name))  # [columns] or [rows, 1, columns]
            if columns is None:
                return output * factors
            return output.index_copy(-1, columns, output.index_select(-1, columns) * factors)

        slots.hook_linear(projection.path, scale)

    def _scale_inputs(self, slots: Slots, path: str, layer: int) -> None:
        """Scale the inputs of a linear layer."""
        from methods.core.architecture import layer_sizes
        from methods.core.slots import row_bias

        def scale(
            module: Any, inputs: tuple[Tensor, ...], named: dict[str, Any]
        ) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
            return (inputs[0] * row_bias(module.scale), *inputs[1:]), named

        slots.add(path, "scale", (layer_sizes(slots.backbone.model.get_submodule(path))[0],), layer)
        slots.hook_inputs(path, scale)

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:  # noqa: ARG002  # nothing is random
        import torch

        from methods.core.parameters import InitialParameters

        return InitialParameters(
            shared={slot.name: torch.ones(slot.shape) for slot in slots if slot.role == "added"}
        )
