"""How probable it is that a method is better, worse, or not worth telling apart, given its differences over tasks.

A region of practical equivalence (rope) is declared before the data are seen: differences within it
do not matter.
"""

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.paired_tests import DIGITS, Array

DRAWS: Final = 50_000  # a standard error of .002 at most
CHUNK: Final = 5_000
NODES: Final = 200


class Posterior(NamedTuple):
    """The chances that a difference on one more task is most likely below, within or above the rope."""

    left: float
    rope: float
    right: float


def signed_rank(
    values: ArrayLike, *, rope: float, prior: float = 0.5, draws: int = DRAWS
) -> Posterior:
    """The Bayesian signed-rank test (Benavoli et al. 2017) of differences (tasks,), first minus second.

    A Dirichlet process whose prior weight lies on a difference of zero; pairs on the edge are
    within. Drawn from a fixed stream, so that the same data give the same report and the two
    methods can change places.
    """
    array = _finite(values)
    points = np.concatenate(([0.0], array))
    sums = np.round(points[:, None] + points[None, :], DIGITS)  # twice the Walsh averages
    edge = round(2 * rope, DIGITS)
    left, right = (sums < -edge).astype(np.float64), (sums > edge).astype(np.float64)
    rng = np.random.default_rng(0)
    concentration = np.array([prior, *[1.0] * array.size])
    counts = np.zeros(3)
    for start in range(0, draws, CHUNK):
        weights = rng.dirichlet(concentration, size=min(CHUNK, draws - start))  # (chunk, 1 + tasks)
        below, above = _mass(weights, left), _mass(weights, right)
        counts += _largest(np.stack((below, 1 - below - above, above)))
    return Posterior(*(float(count) for count in counts / draws))


def _finite(values: ArrayLike) -> Array:
    """The differences as they are; one that is missing would count as equivalence."""
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a difference is not a number; leave tasks out that not both methods have")
    return array


def _mass(weights: Array, inside: Array) -> Array:
    """The weight (draws,) of the pairs `inside`, each pair weighing the product of its two weights."""
    mass: Array = ((weights @ inside) * weights).sum(axis=1)
    return mass


def _largest(shares: Array) -> Array:
    """How many draws each of (3, draws) is the largest in; those that tie share the draw."""
    best = shares >= shares.max(axis=0) - 1e-12
    counts: Array = (best / best.sum(axis=0)).sum(axis=1)
    return counts


def sign(values: ArrayLike, *, rope: float, prior: float = 1.0) -> Posterior:
    """The Bayesian sign test (Benavoli et al. 2017) of differences (tasks,), first minus second, by integration.

    Chances of the three regions have a Dirichlet posterior: the counts of differences, and the
    prior weight on the rope.
    """
    array, edge = np.round(_finite(values), DIGITS), round(rope, DIGITS)
    below, above = int((array < -edge).sum()), int((array > edge).sum())
    counts = (float(below), prior + array.size - below - above, float(above))
    return Posterior(
        *(_leads(counts[i], [counts[j] for j in range(3) if j != i]) for i in range(3))
    )


def _leads(own: float, others: list[float]) -> float:
    """The chance that one share of a Dirichlet is the largest: a gamma variable above independent others."""
    from scipy.special import gammainc, gammaincinv

    if own == 0:
        return 0.0 if any(others) else 1 / 3
    chances, weights = _quadrature()
    at = gammaincinv(own, chances)
    lower = np.prod([gammainc(other, at) for other in others if other > 0], axis=0)
    return min(1.0, float((weights * lower).sum()))


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Array, Array]:
    """Places and weights (NODES,) of an integral from 0 to 1, crowded at both ends, where quantiles run away."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    place = (nodes + 1) / 2
    return place**2 * (3 - 2 * place), 3 * place * (1 - place) * weights
