"""What is trained for one job: a module whose call returns the tensors for the slots.

Every tensor that is drawn at random carries a vertex axis. An ordinary method has one vertex; a
simplex has several and mixes what they become, after any decoder, so its centroid is exactly the
mean of its vertices and any point of it is an ordinary set of tensors (Falissard et al. 2023;
Wortsman et al. 2021 for the law).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from methods.core.protocols import Initialiser, Streams
from methods.core.slots import Slots

Granularity = Literal["row-layer", "row", "batch-layer", "batch"]
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class InitialParameters:
    """What a method trains, as it starts.

    Attributes:
        drawn: tensors drawn at random, `[vertices, ...]`; without a decoder their names are slots.
        given: tensors with one start, without vertex axis; their names are slots.
        decoder: maps latent tensors `{name: [vertices, ...]}` to slots `{name: [vertices, ...]}`,
            and lets others pass.
        factors: pairs of slots whose product counts: `{name of A: name of B}` for an update B A.
    """

    per_vertex: Mapping[str, Tensor] = field(default_factory=dict)
    shared: Mapping[str, Tensor] = field(default_factory=dict)
    decoder: nn.Module | None = None
    factors: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Iterable[InitialParameters]) -> InitialParameters:
        """Several methods' starts as one."""
        parts = list(parts)
        decoders = [part.decoder for part in parts if part.decoder is not None]
        return cls(
            per_vertex={name: tensor for part in parts for name, tensor in part.per_vertex.items()},
            shared={name: tensor for part in parts for name, tensor in part.shared.items()},
            decoder=None
            if not decoders
            else decoders[0]
            if len(decoders) == 1
            else nn.Sequential(*decoders),
            factors={a: b for part in parts for a, b in part.factors.items()},
        )


@dataclass(frozen=True)
class Mixture:
    """How points of a simplex are sampled, and what a mixture of vertices is.

    Attributes:
        granularity: what gets a point of its own: each row and layer, each row, each layer of a
            batch, or a batch.
        concentration: of a symmetric Dirichlet law; 1 is uniform, less goes to the vertices, more
            to the centre.
        diversity: weight of the penalty on vertices that point the same way.
        products: slots of which products are mixed rather than factors: `{name of A: name of B}`.
    """

    granularity: Granularity = "row-layer"
    concentration: float = 1.0
    diversity: float = 0.0
    products: Mapping[str, str] = field(default_factory=dict)

    def weights(self, rows: int, layers: int, vertices: int, generator: torch.Generator) -> Tensor:
        """Points `[rows, layers, vertices]` that sum to 1 over the vertices; `[1, ...]` where all rows share theirs.

        Standard exponential numbers divided by their sum are uniform on the simplex (a Dirichlet
        law with all parameters 1); gamma numbers of another shape give that concentration.
        """
        free_rows = rows if self.granularity.startswith("row") else 1
        free_layers = layers if self.granularity.endswith("layer") else 1
        shape = (free_rows, free_layers, vertices)
        if self.concentration == 1:
            uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
            parts = -torch.log1p(-uniform)  # 1 - U is never 0, so no weight is infinite
        else:
            seed = int(torch.randint(2**63 - 1, (1,), generator=generator))
            parts = _gamma(np.random.default_rng(seed), self.concentration, shape)
        points = parts / parts.sum(-1, keepdim=True)
        return points.expand(free_rows, layers, vertices).float()


def _gamma(random: np.random.Generator, concentration: float, shape: tuple[int, ...]) -> Tensor:
    """Gamma numbers up to a common factor for each last axis, also where the numbers themselves would round to 0.

    A gamma number of shape c is one of shape c + 1 times U^(1/c); the product is taken in
    logarithms.
    """
    logs = (
        np.log(random.standard_gamma(concentration + 1, shape))
        + np.log1p(-random.random(shape)) / concentration
    )
    return torch.from_numpy(np.exp(logs - logs.max(-1, keepdims=True)))


class TrainableParameters(nn.Module):
    """Trained tensors, and the way from them to the slots."""

    def __init__(
        self, slots: Slots, start: InitialParameters, mixture: Mixture | None = None
    ) -> None:
        super().__init__()
        self._per_vertex = nn.ParameterDict(
            {_key(name): nn.Parameter(tensor) for name, tensor in start.per_vertex.items()}
        )
        self._shared = nn.ParameterDict(
            {_key(name): nn.Parameter(tensor) for name, tensor in start.shared.items()}
        )
        self.decoder = start.decoder
        self.mixture = mixture
        self.vertices = next((len(tensor) for tensor in start.per_vertex.values()), 1)
        order = sorted({slot.layer for slot in slots})
        self._layer = {slot.name: order.index(slot.layer) for slot in slots}
        self.layers = len(order)

    @property
    def stochastic(self) -> bool:
        """Whether there is more than one point to sample."""
        return self.mixture is not None and self.vertices > 1

    @property
    def shared(self) -> dict[str, nn.Parameter]:
        """The slots whose tensors have no vertex axis, and these tensors."""
        return {_name(key): tensor for key, tensor in self._shared.items()}

    @property
    def products(self) -> Mapping[str, str]:
        """The slots of which products are mixed: `{name of A: name of B}`."""
        return self.mixture.products if self.stochastic and self.mixture is not None else {}

    def vertex_tensors(self) -> dict[str, Tensor]:
        """The vertices of every slot that has any: `{slot: [vertices, ...]}`."""
        tensors: dict[str, Tensor] = {
            _name(key): tensor for key, tensor in self._per_vertex.items()
        }
        return tensors if self.decoder is None else self.decoder(tensors)

    def weights(self, rows: int, generator: torch.Generator) -> Tensor | None:
        """A point for every row and layer, `[rows, layers, vertices]`, or `[1, ...]` for all rows; None: there is only one."""
        if self.mixture is None or self.vertices == 1:
            return None
        return self.mixture.weights(rows, self.layers, self.vertices, generator)

    def forward(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """The tensors of the slots: at the points given (`[rows, ...]` each), else at the centroid."""
        return self.shared | self.mix(self.vertex_tensors(), weights)

    def mix(self, corners: Tensors, weights: Tensor | None) -> dict[str, Tensor]:
        """Vertices to slots: at the points given, else at the centroid."""
        if self.vertices == 1:
            return {name: corner[0] for name, corner in corners.items()}
        points = {
            name: None if weights is None else weights[:, self._layer[name]] for name in corners
        }
        return mix(corners, points, self.products)

    def pair(self, generator: torch.Generator) -> Tensor | None:
        """Two vertices drawn at random, `[2]`, for the penalty; None: there is no penalty."""
        if self.mixture is None or self.mixture.diversity == 0 or self.vertices == 1:
            return None
        return torch.randperm(self.vertices, generator=generator)[:2]

    def penalty(self, pair: Tensor | None) -> Tensor | float:
        """What is added to the loss: of a simplex with `diversity`, the squared cosine of two vertices.

        Source: Wortsman et al. 2021, arXiv 2102.10472: all weight matrices together make one
            direction, biases are left out.
        """
        if pair is None or self.mixture is None:
            return 0.0
        corners = [corner for corner in self.vertex_tensors().values() if corner.dim() >= 3]
        matrices = [
            corner.index_select(0, pair.to(corner.device)) for corner in corners
        ]  # [2, ...] each
        dot = torch.stack([(matrix[0] * matrix[1]).sum() for matrix in matrices]).sum()
        lengths = [
            torch.stack([matrix[which].square().sum() for matrix in matrices]).sum()
            for which in (0, 1)
        ]
        return self.mixture.diversity * dot.square() / (lengths[0] * lengths[1]).clamp_min(1e-12)

    def decoded(self) -> dict[str, Tensor]:
        """The slots' tensors without decoder, as they are kept: `[vertices, ...]`, or without that axis if given."""
        given = {name: tensor.detach().clone() for name, tensor in self.shared.items()}
        return given | {
            name: corner.detach().clone() for name, corner in self.vertex_tensors().items()
        }


class DecodedParameters:
    """A source's tensors decoded once, to evaluate many batches at one moment of training."""

    def __init__(self, source: TrainableParameters) -> None:
        self._source = source
        self._shared = {name: tensor.detach() for name, tensor in source.shared.items()}
        self._vertex_tensors = {
            name: corner.detach() for name, corner in source.vertex_tensors().items()
        }

    def __call__(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """As `Source.forward`, without gradients."""
        return self._shared | self._source.mix(self._vertex_tensors, weights)


def mix(
    corners: Tensors, points: Mapping[str, Tensor | None], products: Mapping[str, str]
) -> dict[str, Tensor]:
    """Mixtures of vertices `{slot: [vertices, ...]}` at points `[rows, vertices]`; at the centroid where a point is None.

    Of `products`, the mean of B_v A_v is wanted and not the product of means. It is one product of
    longer factors: all A_v below each other `[vertices * rank, in]`, all weighted B_v side by side
    `[out, vertices * rank]`.
    """
    joined: dict[str, Tensor] = {}
    for a, b in products.items():
        first, second, point = corners[a], corners[b], points[b]
        vertices, out, rank = second.shape
        even = second.new_full((1, vertices), 1 / vertices)
        weights = even if point is None else point.to(second)  # [rows, vertices]
        wide = weights[:, None, :, None] * second.transpose(0, 1)  # [rows, out, vertices, rank]
        joined[a] = first.reshape(vertices * rank, -1)
        joined[b] = (
            wide.reshape(-1, out, vertices * rank)
            if point is not None
            else wide.reshape(out, vertices * rank)
        )
    return joined | {
        name: _at(corner, points[name]) for name, corner in corners.items() if name not in joined
    }


def _at(corner: Tensor, point: Tensor | None) -> Tensor:
    if point is None:
        return corner.mean(0)
    mixed: Tensor = point.to(corner) @ corner.flatten(1)
    return mixed.reshape(-1, *corner.shape[1:])  # [rows, ...]


class Decoders(nn.Module):
    """A decoder of its own for each vertex."""

    def __init__(self, decoders: Iterable[nn.Module]) -> None:
        super().__init__()
        self.decoders = nn.ModuleList(decoders)

    def forward(self, tensors: Tensors) -> dict[str, Tensor]:
        """Each vertex's latents through its own decoder: `{name: [vertices, ...]}` to slots of the same first axis."""
        each = [
            decoder({name: tensor[vertex : vertex + 1] for name, tensor in tensors.items()})
            for vertex, decoder in enumerate(self.decoders)
        ]
        return {name: torch.cat([one[name] for one in each]) for name in each[0]}


@dataclass(frozen=True)
class VertexStreams:
    """The streams of one vertex, for what is otherwise drawn once."""

    streams: Streams
    vertex: int

    def init(self, tensor: str, vertex: int) -> torch.Generator:
        """The generator of the tensor at `vertex` vertices further on."""
        return self.streams.init(tensor, self.vertex + vertex)


def initialise(
    streams: Streams, name: str, shape: tuple[int, ...], vertices: int, initialiser: Initialiser
) -> Tensor:
    """A tensor `[vertices, *shape]`, every vertex from a stream of its own."""
    corners = [torch.empty(shape) for _ in range(vertices)]
    for vertex, corner in enumerate(corners):
        initialiser(corner, streams.init(name, vertex))
    return torch.stack(corners)


def normal(std: float) -> Initialiser:
    """The law N(0, std^2)."""
    return lambda tensor, generator: tensor.normal_(0.0, std, generator=generator)


def uniform(bound: float) -> Initialiser:
    """The uniform law between -bound and bound."""
    return lambda tensor, generator: tensor.uniform_(-bound, bound, generator=generator)


def zeros(tensor: Tensor, generator: torch.Generator) -> object:  # noqa: ARG001  # a law like the others
    """The law that always gives 0."""
    return tensor.zero_()


def initialise_gates(slots: Slots, streams: Streams, vertices: int, part: str) -> dict[str, Tensor]:
    """New tensors for the gates of one part: weights as PyTorch draws a linear layer's, biases 0."""
    initialiser = uniform(slots.architecture.hidden**-0.5)
    gates = [slot for slot in slots if slot.name.endswith((f".{part}_gate", f".{part}_gate_bias"))]
    return {
        s.name: initialise(
            streams, s.name, s.shape, vertices, zeros if s.name.endswith("bias") else initialiser
        )
        for s in gates
    }


def with_head(
    slots: Slots, streams: Streams, vertices: int, start: InitialParameters
) -> InitialParameters:
    """A start with the head's: weights from N(0, init_range^2), biases 0, the scales of norms where the model has them."""
    head = [slot for slot in slots if slot.role == "head"]
    drawn = {}
    for slot in head:
        if slots.is_linear(slot.name):
            initialiser = normal(slots.architecture.init_range) if len(slot.shape) >= 2 else zeros
            drawn[slot.name] = initialise(streams, slot.name, slot.shape, vertices, initialiser)
    norms = {
        slot.name: slots.original(slot.name).float().clone()
        for slot in head
        if slot.name not in drawn
    }
    return replace(
        start, per_vertex=drawn | dict(start.per_vertex), shared=dict(start.shared) | norms
    )


def _key(name: str) -> str:
    return name.replace(".", "/")  # a parameter's name must not hold a dot


def _name(key: str) -> str:
    return key.replace("/", ".")
