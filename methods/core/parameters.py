"""What is trained for one job: a module whose call returns the tensors of the slots.

Every tensor with random initial values has a vertex axis. An ordinary method has one vertex. A simplex has
several and mixes their decoded tensors, so that its centroid is exactly the mean of its vertices, and every
point is an ordinary set of tensors (Falissard et al. 2023; Wortsman et al. 2021 for the distribution).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from methods.core.protocols import Initialiser, Streams
from methods.core.simplex_points import Mixture
from methods.core.slots import Slots

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
    def joined(cls, parts: Iterable["InitialParameters"]) -> "InitialParameters":
        """Return the initial parameters of several methods as one."""
        parts = list(parts)
        decoders = [part.decoder for part in parts if part.decoder is not None]
        return cls(
            per_vertex={name: tensor for part in parts for name, tensor in part.per_vertex.items()},
            shared={name: tensor for part in parts for name, tensor in part.shared.items()},
            decoder=nn.Sequential(*decoders) if len(decoders) > 1 else next(iter(decoders), None),
            factors={a: b for part in parts for a, b in part.factors.items()},
        )


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
        self._layer_index = {slot.name: order.index(slot.layer) for slot in slots}
        self.layers = len(order)

    @property
    def stochastic(self) -> bool:
        """Whether models can be sampled: whether there are several vertices."""
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

    def sample_points(self, rows: int, generator: torch.Generator) -> Tensor | None:
        """Sample points of the simplex as `Mixture.sample_points` does; None with one vertex."""
        if self.mixture is None or self.vertices == 1:
            return None
        return self.mixture.sample_points(rows, self.layers, self.vertices, generator)

    def forward(self, points: Tensor | None = None) -> dict[str, Tensor]:
        """Return the tensors of the slots.

        Args:
            points: points of the simplex, `[rows or 1, layers, vertices]`; None: the centroid.

        Returns:
            `{slot: tensor}`. At points of the simplex, tensors may have a leading row axis, of length rows or 1.
        """
        return self.shared | self.mix(self.vertex_tensors(), points)

    def mix(self, vertex_tensors: Tensors, points: Tensor | None) -> dict[str, Tensor]:
        """Mix the vertices at points of the simplex: see `forward`."""
        if self.vertices == 1:
            return {name: tensor[0] for name, tensor in vertex_tensors.items()}
        points_of_slots = {
            name: None if points is None else points[:, self._layer_index[name]]
            for name in vertex_tensors
        }
        return mix(vertex_tensors, points_of_slots, self.products)

    def sample_pair(self, generator: torch.Generator) -> Tensor | None:
        """Sample two vertices, `[2]`, for the penalty; None without a penalty."""
        if self.mixture is None or self.mixture.diversity == 0 or self.vertices == 1:
            return None
        return torch.randperm(self.vertices, generator=generator)[:2]

    def penalty(self, pair: Tensor | None) -> Tensor | float:
        """Return the term that `diversity` adds to the loss: the weighted squared cosine of two vertices.

        Source: Wortsman et al. 2021, arXiv 2102.10472. The cosine is that of all weight matrices of a
            vertex, joined to one vector; biases are excluded.
        """
        if pair is None or self.mixture is None:
            return 0.0
        matrices = [
            tensor.index_select(0, pair.to(tensor.device))  # [2, ...]
            for tensor in self.vertex_tensors().values()
            if tensor.dim() >= 3
        ]
        dot = torch.stack([(first * second).sum() for first, second in matrices]).sum()
        squared_norms = [
            torch.stack([matrix[vertex].square().sum() for matrix in matrices]).sum()
            for vertex in (0, 1)
        ]
        return (
            self.mixture.diversity
            * dot.square()
            / (squared_norms[0] * squared_norms[1]).clamp_min(1e-12)
        )

    def decoded(self) -> dict[str, Tensor]:
        """Return the decoded tensors as they are stored: `[vertices, ...]`, or without that axis if shared."""
        tensors = self.shared | self.vertex_tensors()
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}


class DecodedParameters:
    """The tensors of `TrainableParameters`, decoded once to evaluate many batches between two updates."""

    def __init__(self, trainable: TrainableParameters) -> None:
        self._trainable = trainable
        self._shared = {name: tensor.detach() for name, tensor in trainable.shared.items()}
        self._vertex_tensors = {
            name: tensor.detach() for name, tensor in trainable.vertex_tensors().items()
        }

    def __call__(self, points: Tensor | None = None) -> dict[str, Tensor]:
        """Return the tensors of the slots as `TrainableParameters.forward` does, without gradients."""
        return self._shared | self._trainable.mix(self._vertex_tensors, points)


def mix(
    vertex_tensors: Tensors, points: Mapping[str, Tensor | None], products: Mapping[str, str]
) -> dict[str, Tensor]:
    """Mix vertices.

    Args:
        vertex_tensors: `{slot: [vertices, ...]}`.
        points: for each slot, the weights of the vertices, `[rows, vertices]`; None: the centroid.
        products: pairs of slots whose products are mixed, `{name of A: name of B}`. The result is the weighted
            mean of the products B_v A_v and not the product of the means. It is one product of longer factors: all
            A_v stacked, `[vertices * rank, in]`, and all weighted B_v side by side, `[out, vertices * rank]`.
    """
    mixed: dict[str, Tensor] = {}
    for a, b in products.items():
        factor_a, factor_b, point = vertex_tensors[a], vertex_tensors[b], points[b]
        vertices, out, rank = factor_b.shape
        centroid = factor_b.new_full((1, vertices), 1 / vertices)
        weights = centroid if point is None else point.to(factor_b)  # [rows, vertices]
        # [rows, out, vertices, rank]
        weighted = weights[:, None, :, None] * factor_b.transpose(0, 1)
        rows = () if point is None else (-1,)
        mixed[a] = factor_a.reshape(vertices * rank, -1)
        mixed[b] = weighted.reshape(*rows, out, vertices * rank)
    return mixed | {
        name: _weighted_mean(tensor, points[name])
        for name, tensor in vertex_tensors.items()
        if name not in mixed
    }


def _weighted_mean(tensor: Tensor, point: Tensor | None) -> Tensor:
    """Return the mean of vertices `[vertices, ...]` with weights `[rows, vertices]`, or their plain mean."""
    if point is None:
        return tensor.mean(0)
    return (point.to(tensor) @ tensor.flatten(1)).reshape(-1, *tensor.shape[1:])  # [rows, ...]


class Decoders(nn.Module):
    """A separate decoder for each vertex."""

    def __init__(self, decoders: Iterable[nn.Module]) -> None:
        super().__init__()
        self.decoders = nn.ModuleList(decoders)

    def forward(self, tensors: Tensors) -> dict[str, Tensor]:
        """Decode each vertex by its own decoder: `{name: [vertices, ...]}` to `{slot: [vertices, ...]}`."""
        decoded = [
            decoder({name: tensor[vertex : vertex + 1] for name, tensor in tensors.items()})
            for vertex, decoder in enumerate(self.decoders)
        ]
        return {name: torch.cat([slots[name] for slots in decoded]) for name in decoded[0]}


@dataclass(frozen=True)
class VertexStreams:
    """Random streams that start at one vertex, to initialise a decoder for each vertex."""

    streams: Streams
    vertex: int

    def init(self, tensor: str, vertex: int) -> torch.Generator:
        """Return the generator of a tensor for the vertex `self.vertex + vertex`."""
        return self.streams.init(tensor, self.vertex + vertex)


def initialise(
    streams: Streams, name: str, shape: tuple[int, ...], vertices: int, initialiser: Initialiser
) -> Tensor:
    """Return a tensor `[vertices, *shape]` with each vertex initialised from its own random stream."""
    tensor = torch.empty(vertices, *shape)
    for vertex in range(vertices):
        initialiser(tensor[vertex], streams.init(name, vertex))
    return tensor


def normal(std: float) -> Initialiser:
    """Return an initialiser with the distribution N(0, std^2)."""
    return lambda tensor, generator: tensor.normal_(0.0, std, generator=generator)


def uniform(bound: float) -> Initialiser:
    """Return an initialiser with the uniform distribution on [-bound, bound]."""
    return lambda tensor, generator: tensor.uniform_(-bound, bound, generator=generator)


def zeros(tensor: Tensor, generator: torch.Generator) -> object:  # noqa: ARG001  # an initialiser has both
    """Set a tensor to 0."""
    return tensor.zero_()


def initialise_gates(slots: Slots, streams: Streams, vertices: int, part: str) -> dict[str, Tensor]:
    """Return initial values for the gates of one part: weights as in `nn.Linear`, biases 0."""
    initialiser = uniform(slots.architecture.hidden**-0.5)
    return {
        s.name: initialise(
            streams, s.name, s.shape, vertices, zeros if s.name.endswith("bias") else initialiser
        )
        for s in slots
        if s.name.endswith((f".{part}_gate", f".{part}_gate_bias"))
    }


def with_head(
    slots: Slots, streams: Streams, vertices: int, start: InitialParameters
) -> InitialParameters:
    """Add the initial values of the head: weights from N(0, init_range^2), biases 0, norms as in the model."""
    head = [slot for slot in slots if slot.role == "head"]
    per_vertex, shared = {}, {}
    for slot in head:
        if slots.is_linear(slot.name):
            initialiser = normal(slots.architecture.init_range) if len(slot.shape) >= 2 else zeros
            per_vertex[slot.name] = initialise(
                streams, slot.name, slot.shape, vertices, initialiser
            )
        else:
            shared[slot.name] = slots.original(slot.name).float().clone()
    return replace(
        start,
        per_vertex=per_vertex | dict(start.per_vertex),
        shared=dict(start.shared) | shared,
    )


def _key(name: str) -> str:
    return name.replace(".", "/")  # names of parameters must not contain a dot


def _name(key: str) -> str:
    return key.replace("/", ".")
