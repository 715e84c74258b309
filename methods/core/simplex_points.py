"""The mixture of a simplex: how its points are sampled, and what is mixed at a point.

Points come from a symmetric Dirichlet distribution; by default it is uniform, as in Wortsman et al. 2021.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Granularity = Literal["row-layer", "row", "batch-layer", "batch"]


@dataclass(frozen=True)
class Mixture:
    """How points of a simplex are sampled and vertices are mixed.

    Attributes:
        granularity: what gets its own point: each row and layer, each row, each layer of a batch, or each batch.
        concentration: parameter of a symmetric Dirichlet distribution; 1 is uniform, lower values move points to the
            vertices, higher values to the centroid.
        diversity: weight of the penalty on the squared cosine of two vertices.
        products: slots whose products are mixed instead of their factors: `{name of A: name of B}`.
    """

    granularity: Granularity = "row-layer"
    concentration: float = 1.0
    diversity: float = 0.0
    products: Mapping[str, str] = field(default_factory=dict)

    def sample_points(
        self, rows: int, layers: int, vertices: int, generator: torch.Generator
    ) -> Tensor:
        """Sample points of the simplex, whose weights sum to 1 over the vertices.

        Standard exponential variates divided by their sum are uniform on the simplex (a Dirichlet distribution
        with all parameters 1). Gamma variates with the concentration as shape give the other Dirichlet distributions.

        Returns:
            `[rows, layers, vertices]`, or `[1, layers, vertices]` if all rows share their points.
        """
        rows_sampled = rows if self.granularity.startswith("row") else 1
        layers_sampled = layers if self.granularity.endswith("layer") else 1
        shape = (rows_sampled, layers_sampled, vertices)
        if self.concentration == 1:
            uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
            variates = -torch.log1p(-uniform)  # 1 - U is never 0, so no weight is infinite
        else:
            seed = int(torch.randint(2**63 - 1, (1,), generator=generator))
            variates = _gamma(np.random.default_rng(seed), self.concentration, shape)
        points = variates / variates.sum(-1, keepdim=True)
        return points.expand(rows_sampled, layers, vertices).float()


def _gamma(random: np.random.Generator, concentration: float, shape: tuple[int, ...]) -> Tensor:
    """Sample gamma variates up to a common factor along the last axis, which keeps small variates from rounding to 0.

    A gamma variate of shape c is one of shape c + 1 times U^(1/c), with U uniform. The product is
    computed in logarithms.
    """
    logs = (
        np.log(random.standard_gamma(concentration + 1, shape))
        + np.log1p(-random.random(shape)) / concentration
    )
    return torch.from_numpy(np.exp(logs - logs.max(-1, keepdims=True)))
