"""A simplex of models: several copies of a base method, its vertices, trained together."""

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
)
from methods.core.protocols import Streams, Unsupported
from methods.prefix import Prefix

if TYPE_CHECKING:
    from methods.core.parameters import InitialParameters, TrainableParameters
    from methods.core.slots import Slots


DECODERS = ("shared", "per-vertex")


@dataclass(frozen=True, kw_only=True)
class Simplex(Method):
    """Train `vertices` models of the base method at once; each row of a step uses a point sampled from their simplex.

    The dev metric is computed on several copies of the dev examples, each at its own point. The centroid is tested.
    With one vertex, the method equals its base, bit for bit.

    Sources: Falissard, Guigue & Soulier 2023, arXiv 2310.15793 (prefixes and heads as six vertices; a point for each
    observation and layer); Wortsman et al. 2021, arXiv 2102.10472, for the uniform distribution, the coarser
    granularities and the penalty `diversity`. docs/simplex.md lists the choices made where the sources are silent.
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
    vertices: int = option(6, "Number of vertices; 1 is the base method itself.", least=1)
    granularity: str = option(
        "row-layer",
        "What gets its own point: row-layer (each example and layer), row, batch-layer (each layer) or batch.",
        choices=("row-layer", "row", "batch-layer", "batch"),
    )
    validation: str = option(
        "stochastic",
        "Score dev examples at sampled points (stochastic) or at the centroid.",
        choices=("stochastic", "centroid"),
    )
    copies: int = option(
        0,
        "Copies of each dev example in stochastic validation; 0: about 300 scored copies in total, at least 2.",
        least=0,
    )
    concentration: float = added_option(
        1.0,
        "Concentration of the points' Dirichlet distribution; 1: uniform, less: near vertices, more: near centroid.",
    )
    diversity: float = added_option(
        0.0, "Weight of the squared cosine between two vertices in the loss.", least=0
    )
    decoders: str = added_option(
        "shared",
        "shared: the vertices share the base's MLP; per-vertex: one MLP for each vertex.",
        choices=DECODERS,
    )
    head: bool = added_option(
        True, "Whether the head has vertices; false: one head for the whole simplex."
    )
    mix: str = added_option(
        "factors",
        "Over LoRA: mix the factors A and B, or product: mix the updates B A.",
        choices=("factors", "product"),
    )
    test: str = added_option(
        "centroid",
        "Test the centroid, or mean-of-samples: the mean prediction of sampled models.",
        choices=("centroid", "mean-of-samples"),
    )
    samples: int = added_option(10, "Number of sampled models for test=mean-of-samples.", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.concentration > 0, f"concentration must be above 0, got {self.concentration}")
        require(
            self.base.starts_at_random and not isinstance(self.base, Simplex),
            f"base={self.base.name} cannot be the base of a simplex: with these options every vertex would start at "
            "the same values; choose base=prefix, lora, adapter, prompt or head",
        )
        require(
            self.head or self.base.name != "fine-tuning",
            "head=false leaves a simplex over heads (base=head) without vertices",
        )
        require(
            self.mix == "factors" or self.base.name == "lora",
            "mix=product mixes products of factors: it requires base=lora",
        )

    @property
    def resolved_version(self) -> int:
        """Version that increases with each correction of the simplex or of its base."""
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
        """At sampled points by default, several for each dev example."""
        return DevScoring(stochastic=self.validation == "stochastic", copies=self.copies)

    @property
    def test_samples(self) -> int:
        """Number of sampled models with test=mean-of-samples, else 0."""
        return self.samples if self.test == "mean-of-samples" and self.vertices > 1 else 0

    @property
    def unused(self) -> frozenset[str]:
        """Options of sampling if nothing is sampled, and `decoders` if the base has no decoder."""
        if self.vertices == 1:
            return frozenset(SIMPLEX_OPTIONS) - {"vertices"}
        unused = {
            "copies": self.validation == "centroid",
            "samples": not self.test_samples,
            "decoders": not self.base.decodes,
        }
        return frozenset(name for name, is_unused in unused.items() if is_unused)

    def options(self) -> dict[str, Scalar]:
        own = {name: getattr(self, name) for name in SIMPLEX_OPTIONS if name not in self.unused}
        base = "head" if self.base.name == "fine-tuning" else self.base.name
        return self.base.options() | own | {"base": base}

    def resolved(self) -> dict[str, Scalar]:
        own = super().resolved()
        return self.base.resolved() | {
            name: own[name] for name in (*SIMPLEX_OPTIONS, "base") if name in own
        }

    def place(self, slots: Slots) -> None:
        self.base.place(slots)
        layers = {slot.name.rpartition(".")[0] for slot in slots}
        shared = sorted(layers & slots.architecture.shared_inputs)
        if shared and self.vertices > 1 and self.granularity.startswith("row"):
            raise Unsupported(
                f"rows cannot have separate points, because {shared[0]} also has inputs that all rows share: "
                "choose granularity=batch-layer"
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
            decoders = [
                self.start(slots, VertexStreams(streams, vertex), 1).decoder
                for vertex in range(self.vertices)
            ]
            start = replace(start, decoder=Decoders(filter(None, decoders)))
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


# The options of the simplex itself, in order; all others belong to its base.
SIMPLEX_OPTIONS = tuple(
    option.name
    for option in fields(Simplex)
    if option.name in Simplex.__annotations__ and option.name != "base"
)
