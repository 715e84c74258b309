"""LoRA: a trained low-rank update of chosen linear layers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from methods.base import Backbone, Method, Streams, Unsupported, require

if TYPE_CHECKING:
    from torch import Tensor

    from methods.sites import Slots
    from methods.source import Source

# What the query and value projections are called in the encoders and decoders of the library.
QUERY_VALUE = "query|value|q_lin|v_lin|q_proj|v_proj|query_proj|value_proj"


@dataclass(frozen=True, kw_only=True)
class Lora(Method):
    """Adds `alpha / rank * B A` to the weight of the query and value projections; B starts at 0.

    Source: Hu et al. 2022, arXiv 2106.09685, sections 4.1 and 4.2; rank 8 and alpha 16 as in UniPELT's comparison.
    """

    name: ClassVar[str] = "lora"
    summary: ClassVar[str] = "a low-rank update of the query and value projections"
    paper: ClassVar[str] = "Hu et al. 2022, arXiv 2106.09685"

    rank: int = 8
    alpha: float = 16.0  # the update is scaled by alpha / rank, so its size does not hang on the rank
    targets: str = QUERY_VALUE  # names of linear layers inside the repeated blocks, separated by |

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rank >= 1, f"rank must be 1 or more, got {self.rank}")
        try:
            re.compile(self.targets)
        except re.error as error:
            raise ValueError(f"targets must be names separated by |, got {self.targets!r} ({error})") from None
        require(self.alpha > 0, f"alpha must be above 0, got {self.alpha}")

    @property
    def default_lr(self) -> float:
        """As for the other small trained parts."""
        return 5e-4

    def slots(self, backbone: Backbone) -> Slots:
        from methods.sites import Slots, add_head, linear_layers

        slots, scale = Slots(backbone), self.alpha / self.rank

        def update(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            low: Tensor = inputs[0] @ module.lora_a.mT  # [rows, tokens, rank]; the factors may carry a row axis
            high: Tensor = low @ module.lora_b.mT  # [rows, tokens, out]
            return output + scale * high

        for number, block in enumerate(backbone.anatomy.layers):
            for path in linear_layers(backbone.model, block, self.targets):
                linear = backbone.model.get_submodule(path)
                slots.add(path, "lora_a", (self.rank, linear.in_features), number)  # type: ignore[arg-type]  # nn.Linear has them
                slots.add(path, "lora_b", (linear.out_features, self.rank), number)  # type: ignore[arg-type]
                slots.hook(path, update)
        if not len(slots):
            raise Unsupported(f"no linear layer of this backbone is called {self.targets}: name some with targets=...")
        add_head(slots, backbone)
        return slots

    def source(self, slots: Slots, streams: Streams, vertices: int = 1) -> Source:
        from methods.source import Source, draw, draw_head, uniform, zeros

        drawn = draw_head(slots, streams, vertices, slots.anatomy.init_range)
        for slot in slots:
            if slot.role == "added":
                law = uniform(1 / math.sqrt(slot.shape[1])) if slot.name.endswith("lora_a") else zeros
                drawn[slot.name] = draw(streams, slot.name, slot.shape, vertices, law)
        return Source(slots, drawn)
