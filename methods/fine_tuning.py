"""Fine-tuning: train all or some of the backbone's parameters, and the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from methods.core.method import Method, option, require
from methods.core.protocols import Streams, Unsupported

if TYPE_CHECKING:
    from methods.core.parameters import InitialParameters
    from methods.core.slots import Slots


@dataclass(frozen=True, kw_only=True)
class FineTuning(Method):
    """Train the whole backbone, its top layers, or only the head.

    Sources: Devlin et al. 2019 for the whole backbone; Li & Liang 2021 for the top two layers; Mosbach et al. 2021
    and Zhang et al. 2021 for the learning rate and weight decay with few examples.
    """

    name: ClassVar[str] = "fine-tuning"
    summary: ClassVar[str] = (
        "trains the backbone itself: all of it, its top layers (layers=top-2), or only the head (none)"
    )
    paper: ClassVar[str] = (
        "Devlin et al. 2019, arXiv 1810.04805; Mosbach et al. 2021, arXiv 2006.04884"
    )

    layers: str = option(
        "all", "Blocks to train: all, none (only the head), or top-K such as top-2."
    )
    weight_decay: float = option(
        0.01, "Weight decay of AdamW; biases and norms never decay.", least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        top = self.layers.removeprefix("top-")
        valid = self.layers in ("all", "none") or (
            self.layers.startswith("top-") and top.isdecimal() and int(top) > 0
        )
        require(valid, f"layers must be all, none or top-K such as top-2, got {self.layers!r}")

    @property
    def default_lr(self) -> float:
        """Fewer trained parameters require a higher rate."""
        return {"all": 2e-5, "none": 1e-3}.get(self.layers, 5e-5)

    @property
    def resolved_dropout(self) -> bool:
        """On unless only the head is trained."""
        return self.layers != "none" if self.dropout is None else self.dropout

    @property
    def starts_at_random(self) -> bool:
        """Only the head starts at random; the backbone starts at its checkpoint."""
        return self.layers == "none"

    def place(self, slots: Slots) -> None:
        architecture = slots.architecture
        if self.layers == "none":
            return
        if self.layers != "all" and architecture.split_blocks:
            raise Unsupported(
                "this backbone keeps the parts of a layer in separate lists: choose layers=all or none"
            )
        trained = tuple(f"{block}." for block in self._blocks(architecture.layers))
        for name in sorted(architecture.trained):
            if not architecture.is_head(name) and (
                self.layers == "all" or name.startswith(trained)
            ):
                slots.replace(name, architecture.layer_of(name), role="backbone")

    def _blocks(self, layers: tuple[str, ...]) -> tuple[str, ...]:
        if self.layers == "all":
            return layers
        top = int(self.layers.removeprefix("top-"))
        if top > len(layers):
            raise Unsupported(f"layers={self.layers}: this backbone has only {len(layers)} layers")
        return layers[-top:]

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:  # noqa: ARG002  # nothing is random
        from methods.core.parameters import InitialParameters

        return InitialParameters(
            shared={
                slot.name: slots.original(slot.name).float().clone()
                for slot in slots
                if slot.role == "backbone"
            }
        )
