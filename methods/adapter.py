"""Bottleneck adapters: a small trained MLP after the feed-forward block of every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from methods.core.method import Method, added_option, option
from methods.core.protocols import Streams, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from methods.core.architecture import Architecture
    from methods.core.parameters import InitialParameters
    from methods.core.slots import Slots


@dataclass(frozen=True, kw_only=True)
class Adapter(Method):
    """Add `up(relu(down(x)))` to the output x of each feed-forward block, before the residual sum; `up` starts at 0.

    Sources: Houlsby et al. 2019, arXiv 1902.00751, for the bottleneck and for two bottlenecks per layer
    (`placement=both`); Pfeiffer et al. 2021, arXiv 2005.00247, for one after the feed-forward block and for its
    width, 48 = 768 / 16; Li & Liang 2021, arXiv 2101.00190, for budgets of 3 % and 0.1 %; UniPELT (Mao et al. 2022,
    arXiv 2110.07577) for `gate`.
    """

    name: ClassVar[str] = "adapter"
    summary: ClassVar[str] = "a bottleneck MLP after the feed-forward block of every layer"
    paper: ClassVar[str] = (
        "Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2021, arXiv 2005.00247"
    )

    bottleneck: int = option(48, "Width of the bottleneck.", least=1)
    placement: str = added_option(
        "feed-forward",
        "feed-forward: after the feed-forward part of a block; both: after attention as well.",
        choices=("feed-forward", "both"),
    )
    budget: float = added_option(
        0.0,
        "Share of the backbone's parameters, such as 3%, that sets the bottleneck; 0: use `bottleneck`.",
        share=True,
    )
    gate: bool = added_option(
        False, "Scale each bottleneck's output by a gate that depends on the input."
    )

    default_lr: ClassVar[float] = 5e-4  # the rate of prefixes with an MLP, of LoRA and of adapters

    @property
    def unused(self) -> frozenset[str]:
        """The width of the bottleneck if the budget sets it."""
        return frozenset({"bottleneck"} if self.budget else ())

    def place(self, slots: Slots) -> None:
        hidden, sites = slots.architecture.hidden, self._sites(slots.architecture)
        width = self._width(slots.architecture, len(sites))
        for layer, path in sites:
            slots.add(path, "down", (width, hidden), layer)
            slots.add(path, "down_bias", (width,), layer)
            slots.add(path, "up", (hidden, width), layer)
            slots.add(path, "up_bias", (hidden,), layer)
            slots.hook_linear(path, self._adapt(slots, path, layer))

    def _sites(self, architecture: Architecture) -> list[tuple[int, str]]:
        """Return, for each bottleneck, its layer index and the path of the linear layer that it follows."""
        sites = []
        for number, block in enumerate(architecture.blocks):
            if block.feed_forward_out is None:
                raise Unsupported(
                    "the feed-forward block of this backbone does not end in a linear layer of the hidden size"
                )
            if self.placement == "both" and block.attention_out is None:
                raise Unsupported(
                    "the end of this backbone's attention part was not found: choose placement=feed-forward"
                )
            paths = [block.attention_out] if self.placement == "both" else []
            sites += [(number, path) for path in (*paths, block.feed_forward_out) if path]
        if not sites:
            raise Unsupported("no repeated blocks were found in this backbone")
        return sites

    def _width(self, architecture: Architecture, bottlenecks: int) -> int:
        """Return the width in use: `bottleneck`, or what the budget allows."""
        if not self.budget:
            return self.bottleneck
        width = round(
            (self.budget * architecture.size / bottlenecks - architecture.hidden)
            / (2 * architecture.hidden + 1)
        )
        if width < 1:
            least = bottlenecks * (3 * architecture.hidden + 1) / architecture.size
            raise Unsupported(
                f"budget={self.budget} is too small for bottlenecks of width 1, which need {least:.2%}"
            )
        return width

    def _adapt(self, slots: Slots, path: str, layer: int) -> Callable[..., Tensor]:
        import torch

        from methods.core.slots import row_bias

        gate = slots.gate(path, "adapter", layer, slots.architecture.hidden) if self.gate else None

        def adapt(module: Any, _x: Tensor, output: Tensor) -> Tensor:
            low = torch.relu(
                output @ module.down.mT + row_bias(module.down_bias)
            )  # [rows, tokens, bottleneck]
            high: Tensor = low @ module.up.mT + row_bias(module.up_bias)  # [rows, tokens, hidden]
            return output + (high if gate is None else high * gate(module, output))

        return adapt

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:
        from methods.core.parameters import (
            InitialParameters,
            initialise,
            initialise_gates,
            normal,
            zeros,
        )

        per_vertex = initialise_gates(slots, streams, vertices, "adapter")
        for slot in slots:
            if (
                slot.name.endswith((".down", ".down_bias", ".up", ".up_bias"))
                and slot.role == "added"
            ):
                initialiser = (
                    normal(slots.architecture.init_range) if slot.name.endswith(".down") else zeros
                )
                per_vertex[slot.name] = initialise(
                    streams, slot.name, slot.shape, vertices, initialiser
                )
        return InitialParameters(per_vertex)
