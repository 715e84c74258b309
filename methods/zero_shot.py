"""Zero-shot: the backbone as it is, which is the floor of all methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from methods.core.method import Method, require
from methods.core.protocols import Streams

if TYPE_CHECKING:
    from methods.core.parameters import InitialParameters
    from methods.core.slots import Slots


@dataclass(frozen=True, kw_only=True)
class ZeroShot(Method):
    """Write the text after the source with the backbone as it is; nothing is trained.

    Source: Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.
    """

    name: ClassVar[str] = "zero-shot"
    summary: ClassVar[str] = "the backbone as it is, for tasks that write text"
    paper: ClassVar[str] = (
        "Radford et al. 2019, Language models are unsupervised multitask learners"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.lr is None and self.weight_decay == 0 and not self.dropout,
            "zero-shot trains nothing: lr, weight_decay and dropout cannot be set",
        )

    default_lr: ClassVar[float] = 0.0  # nothing is trained

    starts_at_random: ClassVar[bool] = False

    trains: ClassVar[bool] = False

    unused: ClassVar[frozenset[str]] = frozenset({"lr", "weight_decay", "dropout"})

    def place(self, slots: Slots) -> None:
        """Add nothing."""

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:  # noqa: ARG002  # nothing is trained
        from methods.core.parameters import InitialParameters

        return InitialParameters()
