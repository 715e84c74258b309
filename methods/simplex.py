"""A simplex of models: its vertices are several models of one base method, trained together."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, ClassVar, Final

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


# The built-in methods that can be the base of a simplex.
BASES: Final = ("prefix", "lora", "adapter", "prompt", "head", "unipelt")
VERTEX_DECODERS = ("shared", "per-vertex")


@dataclass(frozen=True, kw_only=True)
class Simplex(Method):
    """Train `vertices` models of the base method at once, at sampled points of the simplex between them.

    By default each example of a step has its own point in each layer (`granularity`). The dev examples are scored
    several times, each time at other points. The centroid is tested. With one vertex, the method equals its base, bit
    for bit.

    Sources: Falissard, Guigue & Soulier 2023, arXiv 2310.15793 (six vertices, each a prefix and a classification head;
    a point for each example and layer); Wortsman et al. 2021, arXiv 2102.10472, for the uniform distribution, the
    coarser granularities and the penalty `diversity`. docs/simplex.md lists the choices made where the sources are
    silent.
    """

    name: ClassVar[str] = "simplex"
    summary: ClassVar[str] = (
        "a simplex of models (prefixes and heads) trained together; its centroid is tested"
    )
    paper: ClassVar[str] = "Falissard et al. 2023, arXiv 2310.15793"

    base: Method = field(
        default_factory=Prefix,
        metadata={
            "help": f"The method whose tensors are the vertices: {', '.join(BASES[:-1])} or {BASES[-1]}."
        },
    )
    vertices: int = option(6, "Number of vertices; 1 is the base method itself.", least=1)
    granularity: str = option(
        "row-layer",
        "What gets its own point: row-layer (each example and layer), row (each example), batch-layer (each layer) "
        "or batch.",
        choices=("row-layer", "row", "batch-layer", "batch"),
    )
    validation: str = option(
        "stochastic",
        "Score dev examples at sampled points (stochastic) or at the centroid.",
        choices=("stochastic", "centroid"),
    )
    copies: int = option(
        0,
        "Copies of each dev example in stochastic validation; 0: as many as make about 300 scored rows, but at "
        "least 2.",
        least=0,
    )
    concentration: float = added_option(
        1.0,
        "Concentration of the points' Dirichlet distribution; 1: uniform, less: near vertices, more: near centroid.",
    )
    diversity: float = added_option(
        0.0, "Weight, in the loss, of the squared cosine between two vertices.", least=0
    )
    decoders: str = added_option(
        "shared",
        "shared: the vertices share the base's MLP; per-vertex: one MLP for each vertex.",
        choices=VERTEX_DECODERS,
    )
    head: bool = added_option(
        True, "Whether the classification head has vertices; false: one head for the whole simplex."
    )
    mix: str = added_option(
        "factors",
        "For base=lora. factors: mix A and mix B; product: mix the updates B A.",
        choices=("factors", "product"),
    )
    test: str = added_option(
        "centroid",
        "centroid: test the centroid; mean-of-samples: test the mean prediction of sampled models.",
        choices=("centroid", "mean-of-samples"),
    )
    samples: int = added_option(10, "Number of sampled models for test=mean-of-samples.", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.concentration > 0, f"concentration must be above 0, got {self.concentration}")
        for is_problem, reason in (
            (isinstance(self.base, Simplex), "it is a simplex itself"),
            (self.base.closed_form is not None, "it is fitted in closed form"),
            (
                not self.base.starts_at_random,
                "its initial values are not random, so all vertices would start equal",
            ),
        ):
            require(
                not is_problem,
                f"base={self.base.name} cannot be the base of a simplex: {reason}; "
                f"choose base={', '.join(BASES[:-1])} or {BASES[-1]}"
                + ", without init=words"
                * (self.base.name in BASES),
            )
        # The base `head` is fine-tuning with layers=none; no other fine-tuning starts at random.
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
        return self.VERSION + self.base.resolved_version - 1  # both count from 1

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
        """Score at sampled points by default, at several for each dev example."""
        return DevScoring(stochastic=self.validation == "stochastic", copies=self.copies)

    @property
    def test_samples(self) -> int:
        """Number of sampled models with test=mean-of-samples and several vertices, else 0."""
        return self.samples if self.test == "mean-of-samples" and self.vertices > 1 else 0

    @property
    def unused(self) -> frozenset[str]:
        """With one vertex, all other options of the simplex.

        Otherwise `copies` with validation=centroid, `samples` with test=centroid, and `decoders` if the base
        trains no MLP.
        """
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
        # Fine-tuning as a base is `head`: see `__post_init__`.
        return (
            self.base.options()
            | own
            | {"base": "head" if self.base.name == "fine-tuning" else self.base.name}
        )

    def resolved(self) -> dict[str, Scalar]:
        # The options of the base that are part of a job's identity, then those of the simplex.
        own = super().resolved()
        return self.base.resolved() | {
            name: own[name] for name in (*SIMPLEX_OPTIONS, "base") if name in own
        }

    def place(self, slots: Slots) -> None:
        self.base.place(slots)
        modules = {slot.name.rpartition(".")[0] for slot in slots}
        shared = sorted(modules & slots.architecture.shared_inputs)
        if shared and self.vertices > 1 and self.granularity.startswith("row"):
            raise Unsupported(
                f"rows cannot have separate points, because {shared[0]} also has inputs that all rows share: "
                "choose granularity=batch-layer"
            )

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:
        return self.base.start(slots, streams, vertices)

    def trainable_parameters(self, slots: Slots, streams: Streams) -> TrainableParameters:
        from methods.core.parameters import Decoders, TrainableParameters, VertexStreams, with_head
        from methods.core.simplex_points import Mixture

        initial = with_head(
            slots, streams, self.vertices, self.start(slots, streams, self.vertices)
        )
        # With decoder=simple-share, the decoder is the backbone's own frozen projections: all vertices get equal
        # copies, so that per-vertex decoders change nothing.
        if self.decoders == "per-vertex" and initial.decoder is not None and self.vertices > 1:
            decoders = [
                self.start(slots, VertexStreams(streams, vertex), 1).decoder
                for vertex in range(self.vertices)
            ]
            # The filter is for the type checker: each vertex has a decoder, since `initial` has one.
            initial = replace(
                initial,
                decoder=Decoders(decoder for decoder in decoders if decoder is not None),
            )
        if not self.head:
            heads = {slot.name for slot in slots if slot.role == "head"} & initial.per_vertex.keys()
            initial = replace(
                initial,
                per_vertex={
                    name: tensor for name, tensor in initial.per_vertex.items() if name not in heads
                },
                shared={name: initial.per_vertex[name][0] for name in heads} | dict(initial.shared),
            )
        return TrainableParameters(
            slots,
            initial,
            Mixture(
                self.granularity,  # type: ignore[arg-type]  # checked
                self.concentration,
                self.diversity,
                products=initial.factors if self.mix == "product" else {},
            ),
        )


# The options of the simplex itself, in order; all others belong to its base.
SIMPLEX_OPTIONS = tuple(
    entry.name
    for entry in fields(Simplex)
    if entry.name in Simplex.__annotations__ and entry.name != "base"
)
