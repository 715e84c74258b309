"""UniPELT: a prefix, adapters and LoRA together, each scaled by a gate that depends on the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from methods.adapter import Adapter
from methods.core.method import Method, option, require
from methods.core.protocols import Streams
from methods.lora import Lora
from methods.prefix import Prefix

if TYPE_CHECKING:
    from methods.core.parameters import InitialParameters
    from methods.core.slots import Slots


# The parts, each with its options.
PARTS = {
    "prefix": ("length", "hidden", "positions"),
    "adapter": ("bottleneck",),
    "lora": ("rank", "alpha"),
}


@dataclass(frozen=True, kw_only=True)
class Unipelt(Method):
    """Train several methods together; in each layer, one gate per method scales its output for each row.

    Source: Mao et al. 2022, arXiv 2110.07577: prefixes of length 10 through an MLP of width 512, adapters of
    width 48, LoRA of rank 8 and alpha 16. A gate is a sigmoid of one linear output, averaged over the tokens.
    """

    name: ClassVar[str] = "unipelt"
    summary: ClassVar[str] = (
        "prefix, adapter and LoRA together, each scaled by a gate that depends on the input"
    )
    paper: ClassVar[str] = "Mao et al. 2022, arXiv 2110.07577"

    parts: str = option("prefix+adapter+lora", "The methods to train together, joined by +.")
    length: int = option(10, "Length of the prefix.")
    hidden: int = option(512, "Width of the hidden layer of the prefix's MLP.")
    positions: str = option(
        "shifted", "shifted: the text's positions start after the prefix; kept: they start at 0."
    )
    bottleneck: int = option(48, "Width of the adapters' bottleneck.")
    rank: int = option(8, "Rank of the LoRA updates.")
    alpha: float = option(16.0, "The LoRA updates are scaled by alpha / rank.")
    gates: bool = option(True, "Scale the output of each part by a gate that depends on the input.")

    def __post_init__(self) -> None:
        super().__post_init__()
        named = self.parts.split("+")
        valid = set(named) <= set(PARTS) and len(set(named)) == len(named)
        require(
            valid, f"parts must be some of prefix, adapter and lora joined by +, got {self.parts!r}"
        )
        # In one order, so that methods with the same parts are equal.
        object.__setattr__(self, "parts", "+".join(part for part in PARTS if part in named))
        self.methods()  # raises ValueError if an option is invalid

    default_lr: ClassVar[float] = 5e-4  # as for each of its parts

    @property
    def decodes(self) -> bool:
        """Whether there is a prefix, whose keys and values a trained MLP produces."""
        return "prefix" in self.parts

    @property
    def unused(self) -> frozenset[str]:
        """The options of parts that are not used."""
        return frozenset(
            option
            for part, options in PARTS.items()
            if part not in self.parts
            for option in options
        )

    def methods(self) -> list[Method]:
        """Return the parts, always in the same order."""
        methods: dict[str, Method] = {
            "prefix": Prefix(
                length=self.length,
                hidden=self.hidden,
                positions=self.positions,
                gate="input" if self.gates else "none",
            ),
            "adapter": Adapter(bottleneck=self.bottleneck, gate=self.gates),
            "lora": Lora(rank=self.rank, alpha=self.alpha, gate=self.gates),
        }
        return [method for name, method in methods.items() if name in self.parts.split("+")]

    def place(self, slots: Slots) -> None:
        for method in self.methods():
            method.place(slots)

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:
        from methods.core.parameters import InitialParameters

        return InitialParameters.joined(
            method.start(slots, streams, vertices) for method in self.methods()
        )
