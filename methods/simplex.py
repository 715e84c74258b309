"""A simplex of models: several vertices of a base method trained together as the corners of one connected set."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, ClassVar

from methods.core.method import (
    DevScoring,
    Method,
    Scalar,
    added_option,
    option,
    require,
    require_one_of,
)
from methods.core.protocols import Streams, Unsupported
from methods.prefix import Prefix

if TYPE_CHECKING:
    from methods.core.parameters import InitialParameters, TrainableParameters
    from methods.core.slots import Slots


DECODERS = ("shared", "per-vertex")


@dataclass(frozen=True, kw_only=True)
class Simplex(Method):
    """Trains `vertices` models of the base method at once: every row of a step is seen by a point drawn from their simplex.

    The dev metric is taken over several copies of the dev rows, each seen by a point of its own;
    the model that is tested is the centroid. Source: Falissard, Guigue & Soulier 2023, arXiv
    2310.15793 (prefixes and heads of six vertices; points drawn for each observation and each
    layer); Wortsman et al. 2021, arXiv 2102.10472, for the uniform law, the coarser granularities
    and the penalty `diversity`. What was chosen where descriptions of it are silent:
    docs/simplex.md.

    With one vertex it is the base method, to the last digit.
    """

    name: ClassVar[str] = "simplex"
    summary: ClassVar[str] = (
        "a simplex of models (prefixes and heads) trained together; its centroid is tested"
    )
    paper: ClassVar[str] = "Falissard et al. 2023, arXiv 2310.15793"

    base: Method = field(
        default_factory=Prefix,
        metadata={
            "help": "The method whose tensors are the vertices: prefix, lora, adapter, prompt, head or unipelt."
        },
    )
    vertices: int = option(6, "Number of vertices; 1 is the base method itself.")
    granularity: str = option(
        "row-layer",
        "What gets its own point: row-layer (each example and layer), row, batch-layer (each layer) or batch.",
    )
    validation: str = option(
        "stochastic", "Score dev examples at sampled points (stochastic) or at the centroid."
    )
    copies: int = option(
        0,
        "Copies of each dev example in stochastic validation; 0: about 300 scored copies in total, at least 2.",
    )
    concentration: float = added_option(
        1.0,
        "Of the Dirichlet distribution of points; 1: uniform, less: near vertices, more: near the centroid.",
    )
    diversity: float = added_option(
        0.0, "Weight of the squared cosine between two vertices in the loss."
    )
    decoders: str = added_option(
        "shared", "shared: the vertices share the base's perceptron; per-vertex: one for each."
    )
    head: bool = added_option(
        True, "Whether the head has vertices; false: one head for the whole simplex."
    )
    mix: str = added_option(
        "factors", "Over LoRA: mix the factors A and B, or product: mix the updates B A."
    )
    test: str = added_option(
        "centroid", "Test the centroid, or mean-of-samples: the mean prediction of sampled models."
    )
    samples: int = added_option(10, "Number of sampled models for test=mean-of-samples.")

    def __post_init__(self) -> None:
        require(self.vertices >= 1, f"vertices must be 1 or more, got {self.vertices}")
        require(self.copies >= 0, f"copies must not be negative, got {self.copies}")
        require(self.concentration > 0, f"concentration must be above 0, got {self.concentration}")
        require(self.diversity >= 0, f"diversity must not be negative, got {self.diversity}")
        require(self.samples >= 1, f"samples must be 1 or more, got {self.samples}")
        require_one_of(
            "granularity", self.granularity, ("row-layer", "row", "batch-layer", "batch")
        )
        require_one_of("validation", self.validation, ("stochastic", "centroid"))
        require_one_of("decoders", self.decoders, DECODERS)
        require_one_of("mix", self.mix, ("factors", "product"))
        require_one_of("test", self.test, ("centroid", "mean-of-samples"))
        require(
            self.base.starts_at_random and not isinstance(self.base, Simplex),
            f"the base of a simplex must be drawn at random: {self.base.name} as it is has one start, so all vertices would "
            "coincide; choose base=prefix, lora, adapter, prompt or head",
        )
        require(
            self.head or self.base.name != "fine-tuning",
            "head=false leaves a simplex over heads (base=head) without vertices",
        )
        require(
            self.mix == "factors" or self.base.name == "lora",
            "mix=product mixes products of factors: it needs base=lora",
        )

    @property
    def resolved_version(self) -> int:
        """Raised by a correction of its own and by one of the base's."""
        return self.VERSION + self.base.resolved_version - 1

    @property
    def default_lr(self) -> float:
        """As in the base method."""
        return self.base.resolved_lr

    @property
    def resolved_dropout(self) -> bool:
        """As in the base method."""
        return self.base.resolved_dropout

    @property
    def dev_scoring(self) -> DevScoring:
        """Sampled points by default, so that a small dev set does not judge by one point alone."""
        return DevScoring(stochastic=self.validation == "stochastic", copies=self.copies)

    @property
    def test_samples(self) -> int:
        """Number of sampled models with test=mean-of-samples, else 0."""
        return self.samples if self.test == "mean-of-samples" and self.vertices > 1 else 0

    @property
    def unused(self) -> frozenset[str]:
        """Options of sampling if nothing is sampled, and of decoders if the base has none."""
        if self.vertices == 1:
            return frozenset(SIMPLEX_OPTIONS) - {"vertices"}
        idle = {
            "copies": self.validation == "centroid",
            "samples": not self.test_samples,
            "decoders": not self.base.decodes,
        }
        return frozenset(name for name, unused in idle.items() if unused)

    def options(self) -> dict[str, Scalar]:
        own: dict[str, Scalar] = {
            name: getattr(self, name) for name in SIMPLEX_OPTIONS if name not in self.unused
        }
        return self.base.options() | own | {"base": self._base_name}

    def resolved(self) -> dict[str, Scalar]:
        said = {one.name: one.default for one in fields(self) if one.metadata.get("added")}
        values = self.options()
        own = {
            name: values[name]
            for name in SIMPLEX_OPTIONS
            if name in values and (name not in said or values[name] != said[name])
        }
        return self.base.resolved() | own | {"base": self._base_name}

    @property
    def _base_name(self) -> str:
        return "head" if self.base.name == "fine-tuning" else self.base.name

    def place(self, slots: Slots) -> None:
        self.base.place(slots)
        both = [slot for slot in slots if slot.name.rpartition(".")[0] in slots.architecture.shared]
        if both and self.vertices > 1 and self.granularity.startswith("row"):
            raise Unsupported(
                f"rows cannot have points of their own, for {both[0].name.rpartition('.')[0]} also works on what all rows "
                "share: choose granularity=batch-layer"
            )

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:
        return self.base.start(slots, streams, vertices)

    def trainable_parameters(self, slots: Slots, streams: Streams) -> TrainableParameters:
        from methods.core.parameters import (
            Decoders,
            Mixture,
            TrainableParameters,
            VertexStreams,
            with_head,
        )

        start = with_head(slots, streams, self.vertices, self.start(slots, streams, self.vertices))
        if self.decoders == "per-vertex" and start.decoder is not None and self.vertices > 1:
            each = [
                self.start(slots, VertexStreams(streams, vertex), 1).decoder
                for vertex in range(self.vertices)
            ]
            start = replace(
                start, decoder=Decoders(decoder for decoder in each if decoder is not None)
            )
        if not self.head:
            heads = {slot.name for slot in slots if slot.role == "head"} & start.per_vertex.keys()
            start = replace(
                start,
                per_vertex={
                    name: tensor for name, tensor in start.per_vertex.items() if name not in heads
                },
                shared={name: start.per_vertex[name][0] for name in heads} | dict(start.shared),
            )
        products = start.factors if self.mix == "product" else {}
        mixture = Mixture(self.granularity, self.concentration, self.diversity, products)  # type: ignore[arg-type]  # checked
        return TrainableParameters(slots, start, mixture)


# The options of a simplex itself, in order; all others are those of its base.
SIMPLEX_OPTIONS = tuple(
    option.name
    for option in fields(Simplex)
    if option.name in Simplex.__annotations__ and option.name != "base"
)
