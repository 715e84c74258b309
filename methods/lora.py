"""LoRA: a trained low-rank update of chosen linear layers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from methods.core.method import Method, added_option, option, require
from methods.core.protocols import Streams, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from methods.core.architecture import Block
    from methods.core.parameters import InitialParameters
    from methods.core.slots import Slots

# Names of the query and value projections in most families. As the default of `targets`, it selects the query and
# value projections of any family, whatever their names are.
QUERY_VALUE = "query|value|q_lin|v_lin|q_proj|v_proj|query_proj|value_proj"


@dataclass(frozen=True, kw_only=True)
class Lora(Method):
    """Add `alpha / rank * B A` to the weight of the query and value projections; B starts at 0.

    If one layer computes queries, keys and values, the whole layer is updated, as PEFT does.

    Sources: Hu et al. 2022, arXiv 2106.09685, sections 4.1 and 4.2; rank 8 and alpha 16 as in the comparison of
    UniPELT (Mao et al. 2022, arXiv 2110.07577), which also describes `gate`; `rslora` divides by the square root of
    the rank (Kalajdzievski 2023, arXiv 2312.03732).
    """

    name: ClassVar[str] = "lora"
    summary: ClassVar[str] = "a low-rank update of the query and value projections"
    paper: ClassVar[str] = "Hu et al. 2022, arXiv 2106.09685"

    rank: int = option(8, "Rank of the update.", least=1)
    alpha: float = option(
        16.0, "The update is scaled by alpha / rank, or with rslora by alpha / sqrt(rank)."
    )
    targets: str = option(
        QUERY_VALUE,
        "Names of the linear layers to update, separated by |; the default means the query and value projections.",
    )
    lora_dropout: float = added_option(0.0, "Dropout on the input of the update.", share=True)
    rslora: bool = added_option(False, "Scale the update by alpha / sqrt(rank).")
    gate: bool = added_option(False, "Scale each update by a gate that depends on the input.")

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            re.compile(self.targets)
        except re.error as error:
            raise ValueError(
                f"targets must be names separated by |, got {self.targets!r} ({error})"
            ) from None
        require(self.alpha > 0, f"alpha must be above 0, got {self.alpha}")

    default_lr: ClassVar[float] = 5e-4  # the rate of prefixes with an MLP, of LoRA and of adapters

    @property
    def scale(self) -> float:
        """Factor of the update B A."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def place(self, slots: Slots) -> None:
        from methods.core.architecture import layer_sizes

        for number, block in enumerate(slots.architecture.blocks):
            for path in self._layers(slots, block):
                inputs, outputs = layer_sizes(slots.backbone.model.get_submodule(path))
                slots.add(path, "lora_a", (self.rank, inputs), number)
                slots.add(path, "lora_b", (outputs, self.rank), number)
                slots.hook_linear(path, self._update(slots, path, number, inputs))
        if not len(slots):
            raise Unsupported(
                f"no linear layer of this backbone is named {self.targets}: set targets to names that it has"
            )

    def _layers(self, slots: Slots, block: Block) -> list[str]:
        from methods.core.architecture import linear_layers

        if self.targets != QUERY_VALUE:
            return linear_layers(slots.backbone.model, block.path, self.targets)
        parts = (block.query, block.value, *block.cross[::2])  # of `cross`: query and value
        projections = [part for part in parts if part is not None]
        return list(dict.fromkeys(projection.path for projection in projections))

    def _update(self, slots: Slots, path: str, layer: int, inputs: int) -> Callable[..., Tensor]:
        gate = slots.gate(path, "lora", layer, inputs) if self.gate else None

        def update(module: Any, x: Tensor, output: Tensor) -> Tensor:
            # In a simplex, lora_a and lora_b may have a row axis. With mix=product, only lora_b has one, and the
            # rank is that of all vertices together.
            low: Tensor = (
                slots.drop(x, self.lora_dropout) @ module.lora_a.mT
            )  # [rows, tokens, rank]
            high: Tensor = low @ module.lora_b.mT  # [rows, tokens, out]
            return output + self.scale * (high if gate is None else high * gate(module, x))

        return update

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:
        from methods.core.parameters import (
            InitialParameters,
            initialise,
            initialise_gates,
            uniform,
            zeros,
        )

        per_vertex = initialise_gates(slots, streams, vertices, "lora")
        factors = {}  # the name of B by that of A, for a simplex that mixes their products
        for slot in slots:
            if slot.name.endswith("lora_a"):
                initialiser = uniform(1 / math.sqrt(slot.shape[1]))
                per_vertex[slot.name] = initialise(
                    streams, slot.name, slot.shape, vertices, initialiser
                )
                factors[slot.name] = f"{slot.name[:-1]}b"
            elif slot.name.endswith("lora_b"):
                per_vertex[slot.name] = initialise(streams, slot.name, slot.shape, vertices, zeros)
        return InitialParameters(per_vertex, factors=factors)
