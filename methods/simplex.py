"""A simplex of models: several vertices of a base method trained together as the corners of one connected set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from methods.base import Backbone, DevScoring, Method, Scalar, Streams, one_of, require
from methods.prefix import Prefix

if TYPE_CHECKING:
    from methods.sites import Slots
    from methods.source import Source


@dataclass(frozen=True, kw_only=True)
class Simplex(Method):
    """Trains `vertices` models of the base method at once: every row of a step is seen by a point drawn from their simplex.

    The dev metric is taken over several copies of the dev rows, each seen by a point of its own; the model that is tested
    is the centroid. Source: Falissard, Guigue & Soulier 2023, arXiv 2310.15793 (prefixes and heads of six vertices; points
    drawn for each observation and each layer); Wortsman et al. 2021, arXiv 2102.10472, for the uniform law and the
    coarser granularities. What was chosen where descriptions of it are silent: docs/methods.md.

    With one vertex it is the base method, to the last digit.
    """

    name: ClassVar[str] = "simplex"
    summary: ClassVar[str] = "a simplex of models (prefixes and heads) trained together; its centroid is tested"
    paper: ClassVar[str] = "Falissard et al. 2023, arXiv 2310.15793"

    starts_at_random: ClassVar[bool] = False  # no simplex of simplexes

    base: Method = field(default_factory=Prefix)
    vertices: int = 6
    granularity: str = "row-layer"  # what gets a point of its own: each row and layer, each row, each layer of a batch, a batch
    validation: str = "stochastic"  # or centroid
    copies: int = 0  # of the dev rows in stochastic validation; 0: as many as give about 300 scored rows, at least 2

    def __post_init__(self) -> None:
        require(self.vertices >= 1, f"vertices must be 1 or more, got {self.vertices}")
        require(self.copies >= 0, f"copies must not be negative, got {self.copies}")
        one_of("granularity", self.granularity, ("row-layer", "row", "batch-layer", "batch"))
        one_of("validation", self.validation, ("stochastic", "centroid"))
        require(
            self.base.starts_at_random,
            f"the base of a simplex must be drawn at random: {self.base.name} has one start, so all vertices would coincide; "
            "choose base=prefix, lora or adapter",
        )

    @property
    def default_lr(self) -> float:
        """The base's."""
        return self.base.resolved_lr

    @property
    def resolved_dropout(self) -> bool:
        """The base's."""
        return self.base.resolved_dropout

    @property
    def dev_scoring(self) -> DevScoring:
        """Sampled points by default, so that a small dev set does not judge by one point alone."""
        return DevScoring(stochastic=self.validation == "stochastic", copies=self.copies)

    def resolved(self) -> dict[str, Scalar]:
        own: dict[str, Scalar] = {
            "base": self.base.name,
            "vertices": self.vertices,
            "granularity": self.granularity,
            "validation": self.validation,
            "copies": self.copies,
        }
        if self.vertices == 1:  # there is nothing to sample
            own |= {"granularity": Simplex.granularity, "validation": "centroid", "copies": 0}
        elif self.validation == "centroid":
            own["copies"] = 0
        return self.base.resolved() | own

    def slots(self, backbone: Backbone) -> Slots:
        return self.base.slots(backbone)

    def source(self, slots: Slots, streams: Streams, vertices: int = 1) -> Source:  # noqa: ARG002  # it has its own number
        from methods.source import Mixture

        source = self.base.source(slots, streams, self.vertices)
        source.mixture = Mixture(self.granularity)  # type: ignore[arg-type]  # checked when the method was made
        return source
