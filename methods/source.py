"""What is trained for one job: a module whose call returns the tensors for the slots.

Every tensor that is drawn at random carries a vertex axis. An ordinary method has one vertex; a simplex has several and
mixes what they become, after any decoder, so its centroid is exactly the mean of its vertices and any point of it is an
ordinary set of tensors (Falissard et al. 2023; Wortsman et al. 2021 for the law).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from methods.base import Law, Streams
from methods.sites import Slots

Granularity = Literal["row-layer", "row", "batch-layer", "batch"]


@dataclass(frozen=True)
class Mixture:
    """The law of the points that are sampled from a simplex: uniform, drawn anew per row or batch, per layer or for all."""

    granularity: Granularity = "row-layer"

    def weights(self, rows: int, layers: int, vertices: int, generator: torch.Generator) -> Tensor:
        """Points `[rows, layers, vertices]` that sum to 1 over the vertices.

        Standard exponential numbers divided by their sum are uniform on the simplex (a Dirichlet law with all parameters 1).
        """
        free_rows = rows if self.granularity.startswith("row") else 1
        free_layers = layers if self.granularity.endswith("layer") else 1
        uniform = torch.rand(free_rows, free_layers, vertices, generator=generator, dtype=torch.float64)
        exponential = -torch.log1p(-uniform)  # 1 - U is never 0, so no weight is infinite
        points = exponential / exponential.sum(-1, keepdim=True)
        return points.expand(rows, layers, vertices).float()


class Source(nn.Module):
    """Trained tensors, and the way from them to the slots.

    Args:
        slots: the slots to fill.
        drawn: tensors drawn at random, `[vertices, ...]`; without a decoder their names are slots.
        given: tensors that start from the checkpoint, without vertex axis; their names are slots.
        decoder: maps latent tensors `{name: [vertices, ...]}` to slots `{name: [vertices, ...]}`; one serves all vertices.
        mixture: how points are sampled; None for a method of one vertex.
    """

    def __init__(
        self,
        slots: Slots,
        drawn: Mapping[str, Tensor],
        given: Mapping[str, Tensor] | None = None,
        decoder: nn.Module | None = None,
        mixture: Mixture | None = None,
    ) -> None:
        super().__init__()
        self._drawn = nn.ParameterDict({_key(name): nn.Parameter(tensor) for name, tensor in drawn.items()})
        # The scales of a norm in the head start where the model has them, like everything that is not drawn.
        norms = [slot.name for slot in slots if slot.role == "head" and slot.name not in drawn]
        given = dict(given or {}) | {name: slots.held(name).float().clone() for name in norms}
        self._given = nn.ParameterDict({_key(name): nn.Parameter(tensor) for name, tensor in given.items()})
        self.decoder = decoder
        self.mixture = mixture
        self.vertices = next(iter(drawn.values())).shape[0]
        order = sorted({slot.layer for slot in slots})
        self._layer = {slot.name: order.index(slot.layer) for slot in slots}
        self.layers = len(order)

    @property
    def stochastic(self) -> bool:
        """Whether there is more than one point to sample."""
        return self.mixture is not None and self.vertices > 1

    @property
    def given_names(self) -> list[str]:
        """The slots whose tensors have no vertex axis."""
        return [_name(key) for key in self._given]

    def corners(self) -> dict[str, Tensor]:
        """The vertices of every slot that has any: `{slot: [vertices, ...]}`."""
        tensors: dict[str, Tensor] = {_name(key): tensor for key, tensor in self._drawn.items()}
        if self.decoder is not None:
            tensors = self.decoder(tensors)
        return tensors

    def weights(self, rows: int, generator: torch.Generator) -> Tensor | None:
        """A point for every row and layer, `[rows, layers, vertices]`; None where there is only one point."""
        if self.mixture is None or self.vertices == 1:
            return None
        return self.mixture.weights(rows, self.layers, self.vertices, generator)

    def forward(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """The tensors of the slots: at the points given (`[rows, ...]` each), else at the centroid."""
        given: dict[str, Tensor] = {_name(key): tensor for key, tensor in self._given.items()}
        return given | {name: self._at(name, corner, weights) for name, corner in self.corners().items()}

    def _at(self, name: str, corner: Tensor, weights: Tensor | None) -> Tensor:
        if self.vertices == 1:
            return corner[0]
        if weights is None:
            return corner.mean(0)
        point = weights[:, self._layer[name]].to(corner)  # [rows, vertices]
        mixed: Tensor = point @ corner.flatten(1)
        return mixed.reshape(-1, *corner.shape[1:])  # [rows, ...]

    def folded(self) -> dict[str, Tensor]:
        """The slots' tensors without decoder, as they are kept: `[vertices, ...]`, or without that axis from a checkpoint."""
        given = {_name(key): tensor.detach().clone() for key, tensor in self._given.items()}
        return given | {name: corner.detach().clone() for name, corner in self.corners().items()}


class Folded:
    """A source's tensors decoded once, to evaluate many batches at one moment of training."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._given = {_name(key): tensor.detach() for key, tensor in source._given.items()}
        self._corners = {name: corner.detach() for name, corner in source.corners().items()}

    def __call__(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """As `Source.forward`, without gradients."""
        mixed = {name: self._source._at(name, corner, weights) for name, corner in self._corners.items()}
        return self._given | mixed


def draw(streams: Streams, name: str, shape: tuple[int, ...], vertices: int, law: Law) -> Tensor:
    """A tensor `[vertices, *shape]`, every vertex from a stream of its own."""
    corners = [torch.empty(shape) for _ in range(vertices)]
    for vertex, corner in enumerate(corners):
        law(corner, streams.init(name, vertex))
    return torch.stack(corners)


def normal(std: float) -> Law:
    """The law N(0, std^2)."""
    return lambda tensor, generator: tensor.normal_(0.0, std, generator=generator)


def uniform(bound: float) -> Law:
    """The uniform law between -bound and bound."""
    return lambda tensor, generator: tensor.uniform_(-bound, bound, generator=generator)


def zeros(tensor: Tensor, generator: torch.Generator) -> object:  # noqa: ARG001  # a law like the others
    """The law that always gives 0."""
    return tensor.zero_()


def draw_head(slots: Slots, streams: Streams, vertices: int, init_range: float) -> dict[str, Tensor]:
    """New tensors for the head's linear layers: weights from N(0, init_range^2), biases 0."""
    head = [slot for slot in slots if slot.role == "head" and slots.is_linear(slot.name)]
    laws = {slot.name: normal(init_range) if len(slot.shape) >= 2 else zeros for slot in head}
    return {slot.name: draw(streams, slot.name, slot.shape, vertices, laws[slot.name]) for slot in head}


def _key(name: str) -> str:
    return name.replace(".", "/")  # a parameter's name must not hold a dot


def _name(key: str) -> str:
    return key.replace("/", ".")
