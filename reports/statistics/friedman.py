"""Friedman's test: whether the mean ranks of several methods differ over tasks.

By permutation, because with eight or nine tasks the chi-squared approximation is poor.
"""

import math
from itertools import permutations
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reports.statistics.ranks import average_ranks
from reports.statistics.sign_flip import SIGN_VECTORS

Whole = NDArray[np.int64]

ORDERS: Final = 720  # orders of one task up to which all are counted: six methods
STATES: Final = 500_000  # rank sums held at once in counting; above, orders are drawn
CHUNK: Final = 10_000


class FriedmanTest(NamedTuple):
    """The result of permuting methods within tasks."""

    statistic: float  # the squared distances of the rank sums from their mean
    p: float
    exact: bool  # every order counted, or a fixed stream of them drawn


def friedman(scores: ArrayLike) -> FriedmanTest:
    """Test whether the methods of the scores (tasks, methods) differ, by permutation within tasks.

    Every order within each task is equally likely if the methods do not differ. Counted exactly
    where that is small, else (b + 1) / (B + 1) over B draws. Neither the order of the methods nor
    that of the tasks changes the p.
    """
    doubled = np.rint(2 * average_ranks(scores)).astype(np.int64)  # ties give halves
    doubled -= doubled.shape[1] + 1  # every task sums to zero
    observed = int((doubled.sum(axis=0) ** 2).sum())
    blocks = np.sort(
        doubled, axis=1
    )  # which method had which rank is what the hypothesis makes arbitrary
    blocks = blocks[np.lexsort(blocks.T)]
    exact = _counted(blocks, observed)
    p = _drawn(blocks, observed) if exact is None else exact
    return FriedmanTest(statistic=observed / 4, p=p, exact=exact is not None)


def _counted(blocks: Whole, observed: int) -> float | None:
    """Return the exact chance of `observed` or more, or None if there are too many orders to count.

    Rank sums that are permutations of each other lead to the same statistics, so only sorted ones
    are kept, each with its chance: a few thousand instead of (methods!)^tasks.
    """
    tasks, methods = blocks.shape
    if math.factorial(methods) > ORDERS or (4 * tasks * methods) ** methods >= 2**63:
        return None
    sums, chances = blocks[:1], np.ones(1)
    for block in blocks[1:]:
        orders, counts = np.unique(np.array(list(permutations(block))), axis=0, return_counts=True)
        if len(sums) * len(orders) > STATES:
            return None
        grown = np.sort(sums[:, None, :] + orders[None, :, :], axis=2).reshape(-1, methods)
        weights = np.outer(chances, counts / counts.sum()).ravel()
        sums, chances = _merged(grown, weights, base=4 * tasks * methods)
    return min(1.0, float(chances[(sums**2).sum(axis=1) >= observed].sum()))


def _merged(
    rows: Whole, weights: NDArray[np.float64], *, base: int
) -> tuple[Whole, NDArray[np.float64]]:
    """Return the distinct rows, each with the sum of its weights."""
    keys = (rows + base // 2) @ base ** np.arange(rows.shape[1], dtype=np.int64)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    merged = np.bincount(inverse, weights=weights).astype(
        np.float64
    )  # as it is, which its type does not say
    return rows[first], merged


def _drawn(blocks: Whole, observed: int) -> float:
    rng = np.random.default_rng(0)  # fixed: the same data give the same report
    extreme = 0
    for start in range(0, SIGN_VECTORS, CHUNK):
        shape = (min(CHUNK, SIGN_VECTORS - start), blocks.shape[1])
        sums = np.zeros(shape, dtype=np.int64)
        for block in blocks:
            sums += rng.permuted(np.broadcast_to(block, shape), axis=1)
        extreme += int(((sums**2).sum(axis=1) >= observed).sum())
    return (extreme + 1) / (SIGN_VECTORS + 1)
