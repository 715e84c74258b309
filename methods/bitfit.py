"""BitFit: train only the backbone's biases and the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from methods.core.method import Method
from methods.core.protocols import Streams, Unsupported

if TYPE_CHECKING:
    from methods.core.parameters import InitialParameters
    from methods.core.slots import Slots


@dataclass(frozen=True, kw_only=True)
class Bitfit(Method):
    """Train all biases of the backbone, including those of its norms.

    Source: Ben Zaken et al. 2022, arXiv 2106.10199; for BERT-base these are 102,912 numbers without
    the head.
    """

    name: ClassVar[str] = "bitfit"
    summary: ClassVar[str] = "the backbone's biases"
    paper: ClassVar[str] = "Ben Zaken et al. 2022, arXiv 2106.10199"

    default_lr: ClassVar[float] = 1e-3  # the paper searches rates for biases in this range

    starts_at_random: ClassVar[bool] = False  # a bias starts at its value in the checkpoint

    def place(self, slots: Slots) -> None:
        architecture = slots.architecture
        for name in sorted(architecture.trained):
            if name.endswith("bias") and not architecture.is_head(name):
                slots.replace(name, architecture.layer_of(name), role="backbone")
        if not len(slots):
            raise Unsupported(
                "this backbone has no biases: try ia3, which has a similar number of parameters"
            )

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:  # noqa: ARG002  # nothing is random
        from methods.core.parameters import InitialParameters

        return InitialParameters(
            shared={
                slot.name: slots.original(slot.name).float().clone()
                for slot in slots
                if slot.role == "backbone"
            }
        )
