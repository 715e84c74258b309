"""The interval that the sign flip does not reject, by the definition: means of all subsets."""

import itertools

import numpy as np


def subset_interval(values, rejecting):
    """The k-th smallest and largest mean of all subsets, where k sign vectors per side may reject."""
    subsets = itertools.chain.from_iterable(
        itertools.combinations(values, n) for n in range(1, len(values) + 1)
    )
    means = np.sort([np.mean(subset) for subset in subsets])
    return means[rejecting - 1], means[-rejecting]
