"""What is trained for one job: a module whose call returns the tensors of the slots.

Every tensor with random initial values has a vertex axis. An ordinary method has one vertex. A simplex has
several and mixes their decoded tensors, so that its centroid is exactly the mean of its vertices, and every
point is an ordinary set of tensors (Falissard et al. 2023; Wortsman et al. 2021 for the distribution).
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
    """Initial values of what a method trains.

    Attributes:
        per_vertex: tensors with random initial values, `[vertices, ...]`; without a decoder, their names are slots.
        shared: tensors that all vertices share, without vertex axis; their names are slots.
        decoder: maps latent tensors `{name: [vertices, ...]}` to slots `{name: [vertices, ...]}`,
            and returns other tensors unchanged.
        factors: pairs of slots that form a product B A: `{name of A: name of B}`.
    """

    per_vertex: Mapping[str, Tensor] = field(default_factory=dict)
    shared: Mapping[str, Tensor] = field(default_factory=dict)
    decoder: nn.Module | None = None
    factors: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Iterable[InitialParameters]) -> InitialParameters:
        """Return the initial parameters of several methods as one."""
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
    """How points of a simplex are sampled and vertices are mixed.

    Attributes:
        granularity: what gets its own point: each row and layer, each row, each layer of a batch, or each batch.
        concentration: of a symmetric Dirichlet distribution; 1 is uniform, less moves points to the
            vertices, more to the centroid.
        diversity: weight of the penalty on the squared cosine of two vertices.
        products: slots whose products are mixed instead of their factors: `{name of A: name of B}`.
    """

    granularity: Granularity = "row-layer"
    concentration: float = 1.0
    diversity: float = 0.0
    products: Mapping[str, str] = field(default_factory=dict)

    def weights(self, rows: int, layers: int, vertices: int, generator: torch.Generator) -> Tensor:
        """Sample points `[rows, layers, vertices]` that sum to 1 over the vertices; `[1, ...]` if all rows share them.

        Standard exponential variates divided by their sum are uniform on the simplex (a Dirichlet distribution
        with all parameters 1). Gamma variates of another shape give that concentration.
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
    """Sample gamma variates up to a common factor along the last axis, even if the variates would round to 0.

    A gamma variate of shape c is one of shape c + 1 times U^(1/c); the product is computed in
    logarithms.
    """
    logs = (
        np.log(random.standard_gamma(concentration + 1, shape))
        + np.log1p(-random.random(shape)) / concentration
    )
    return torch.from_numpy(np.exp(logs - logs.max(-1, keepdims=True)))


class TrainableParameters(nn.Module):
    """Trained tensors; a call returns the tensors of the slots."""

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
        """Whether points are sampled: there are several vertices."""
        return self.mixture is not None and self.vertices > 1

    @property
    def shared(self) -> dict[str, nn.Parameter]:
        """Tensors without vertex axis, by slot."""
        return {_name(key): tensor for key, tensor in self._shared.items()}

    @property
    def products(self) -> Mapping[str, str]:
        """Slots whose products are mixed: `{name of A: name of B}`."""
        return self.mixture.products if self.stochastic and self.mixture is not None else {}

    def vertex_tensors(self) -> dict[str, Tensor]:
        """Return the decoded tensors with a vertex axis: `{slot: [vertices, ...]}`."""
        tensors: dict[str, Tensor] = {
            _name(key): tensor for key, tensor in self._per_vertex.items()
        }
        return tensors if self.decoder is None else self.decoder(tensors)

    def weights(self, rows: int, generator: torch.Generator) -> Tensor | None:
        """Sample a point for every row and layer, `[rows, layers, vertices]`, or `[1, ...]`; None with one vertex."""
        if self.mixture is None or self.vertices == 1:
            return None
        return self.mixture.weights(rows, self.layers, self.vertices, generator)

    def forward(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Return the tensors of the slots at the points `weights` (`[rows, ...]` each), or at the centroid."""
        return self.shared | self.mix(self.vertex_tensors(), weights)

    def mix(self, corners: Tensors, weights: Tensor | None) -> dict[str, Tensor]:
        """Mix the vertices at the points `weights`, or at the centroid."""
        if self.vertices == 1:
            return {name: corner[0] for name, corner in corners.items()}
        points = {
            name: None if weights is None else weights[:, self._layer[name]] for name in corners
        }
        return mix(corners, points, self.products)

    def pair(self, generator: torch.Generator) -> Tensor | None:
        """Sample two vertices, `[2]`, for the penalty; None without a penalty."""
        if self.mixture is None or self.mixture.diversity == 0 or self.vertices == 1:
            return None
        return torch.randperm(self.vertices, generator=generator)[:2]

    def penalty(self, pair: Tensor | None) -> Tensor | float:
        """Return what is added to the loss: with `diversity`, the weighted squared cosine of two vertices.

        Source: Wortsman et al. 2021, arXiv 2102.10472: all weight matrices together form one
            direction; biases are excluded.
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
        """Return the decoded tensors as they are stored: `[vertices, ...]`, or without that axis if shared."""
        given = {name: tensor.detach().clone() for name, tensor in self.shared.items()}
        return given | {
            name: corner.detach().clone() for name, corner in self.vertex_tensors().items()
        }


class DecodedParameters:
    """Tensors decoded once, to evaluate many batches at one step of training."""

    def __init__(self, source: TrainableParameters) -> None:
        self._source = source
        self._shared = {name: tensor.detach() for name, tensor in source.shared.items()}
        self._vertex_tensors = {
            name: corner.detach() for name, corner in source.vertex_tensors().items()
        }

    def __call__(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Return the tensors of the slots as `TrainableParameters.forward` does, without gradients."""
        return self._shared | self._source.mix(self._vertex_tensors, weights)


def mix(
    corners: Tensors, points: Mapping[str, Tensor | None], products: Mapping[str, str]
) -> dict[str, Tensor]:
    """Mix vertices `{slot: [vertices, ...]}` at points `[rows, vertices]`, or at the centroid if a point is None.

    For `products`, the result is the mean of B_v A_v and not the product of the means. It is one product of
    longer factors: all A_v stacked `[vertices * rank, in]`, all weighted B_v side by side
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
    """A separate decoder for each vertex."""

    def __init__(self, decoders: Iterable[nn.Module]) -> None:
        super().__init__()
        self.decoders = nn.ModuleList(decoders)

    def forward(self, tensors: Tensors) -> dict[str, Tensor]:
        """Decode each vertex by its own decoder: `{name: [vertices, ...]}` to slots with the same first axis."""
        each = [
            decoder({name: tensor[vertex : vertex + 1] for name, tensor in tensors.items()})
            for vertex, decoder in enumerate(self.decoders)
        ]
        return {name: torch.cat([one[name] for one in each]) for name in each[0]}


@dataclass(frozen=True)
class VertexStreams:
    """Random streams of one vertex, for parameters that vertices otherwise share."""

    streams: Streams
    vertex: int

    def init(self, tensor: str, vertex: int) -> torch.Generator:
        """Return the generator of the tensor, `vertex` vertices after this one."""
        return self.streams.init(tensor, self.vertex + vertex)


def initialise(
    streams: Streams, name: str, shape: tuple[int, ...], vertices: int, initialiser: Initialiser
) -> Tensor:
    """Return a tensor `[vertices, *shape]` with each vertex initialised from its own random stream."""
    corners = [torch.empty(shape) for _ in range(vertices)]
    for vertex, corner in enumerate(corners):
        initialiser(corner, streams.init(name, vertex))
    return torch.stack(corners)


def normal(std: float) -> Initialiser:
    """Return an initialiser with the distribution N(0, std^2)."""
    return lambda tensor, generator: tensor.normal_(0.0, std, generator=generator)


def uniform(bound: float) -> Initialiser:
    """Return an initialiser with the uniform distribution on [-bound, bound]."""
    return lambda tensor, generator: tensor.uniform_(-bound, bound, generator=generator)


def zeros(tensor: Tensor, generator: torch.Generator) -> object:  # noqa: ARG001  # an initialiser has both
    """Initialise a tensor with 0."""
    return tensor.zero_()


def initialise_gates(slots: Slots, streams: Streams, vertices: int, part: str) -> dict[str, Tensor]:
    """Return initial values for the gates of one part: weights as in `nn.Linear`, biases 0."""
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
    """Add the head: weights from N(0, init_range^2), biases 0, norms at the values of the model."""
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
