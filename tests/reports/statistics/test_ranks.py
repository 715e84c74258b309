"""Ranks, pairs, groups and wins against published numbers, other programs and laws they must keep."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.statistics import ranks
from tests.reports.published import DEMSAR, DEMSAR_AS_RANKED


def tables(methods=(2, 5), tasks=(1, 7)):
    """Small tables of whole scores (tasks, methods), with ties."""
    shape = st.tuples(st.integers(*tasks), st.integers(*methods))
    return shape.flatmap(
        lambda s: st.lists(
            st.lists(st.integers(0, 6), min_size=s[1], max_size=s[1]), min_size=s[0], max_size=s[0]
        )
    ).map(lambda rows: np.array(rows, dtype=float))


def autorank_example():
    """The six populations of autorank's readme (F5)."""
    rng = np.random.RandomState(42)
    return np.column_stack(
        [rng.normal(mean, 0.3, 50).clip(0, 1) for mean in (0.2, 0.3, 0.5, 0.8, 0.85, 0.9)]
    )


def test_demsar_ranks():
    """F1: mean ranks are Demšar's as he ranked, and differ where his printed digits tie."""
    assert ranks.mean_ranks(DEMSAR_AS_RANKED).round(3).tolist() == [3.143, 2.000, 2.893, 1.964]
    assert ranks.mean_ranks(DEMSAR) == pytest.approx([3.1429, 2.0, 2.9286, 1.9286], abs=5e-5)


def test_autorank():
    """F5: the mean ranks of autorank's example equal its own."""
    means = ranks.mean_ranks(autorank_example())
    assert means == pytest.approx([5.40, 4.71, 3.95, 2.47, 2.29, 2.18], abs=1e-9)


@given(tables())
def test_ranks_agree_with_scipy(table):
    """Ranks are average ranks with the best score first."""
    assert ranks.average_ranks(table) == pytest.approx(stats.rankdata(-table, axis=1))


def test_ranks_ignore_the_last_bits():
    """Scores that are equal but for rounding tie."""
    assert ranks.average_ranks([[0.1 + 0.2, 0.3]]).tolist() == [[1.5, 1.5]]


@pytest.mark.parametrize(
    "scores", [[[1.0, math.nan]], [1.0, 2.0], [[1.0], [2.0]], np.empty((0, 3))]
)
def test_ranks_refuse_holes(scores):
    """A table with a hole, or no table, is refused rather than ranked."""
    with pytest.raises(ValueError, match=r"expected|need"):
        ranks.average_ranks(scores)


@given(tables(), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_names_do_not_matter(table, random):
    """Methods in another order have the same ranks, in that order."""
    order = random.sample(range(table.shape[1]), table.shape[1])
    assert ranks.mean_ranks(table[:, order]) == pytest.approx(ranks.mean_ranks(table)[order])


@given(tables(), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_a_task_may_be_easier(table, random):
    """A constant added to all scores of a task changes no rank."""
    moved = table + np.array([[random.randint(-50, 50) / 7] for _ in table])
    assert ranks.average_ranks(moved).tolist() == ranks.average_ranks(table).tolist()


@given(st.integers(2, 7), st.randoms(use_true_random=False))
def test_cliques_are_maximal(methods, random):
    """Groups are all sets of undecided pairs that no method can join, against a search of all sets."""
    differ = np.zeros((methods, methods), dtype=bool)
    for i, j in combinations(range(methods), 2):
        differ[i, j] = differ[j, i] = random.random() < 0.6
    sets = [
        set(group)
        for size in range(2, methods + 1)
        for group in combinations(range(methods), size)
        if not any(differ[i, j] for i, j in combinations(group, 2))
    ]
    largest = sorted(tuple(sorted(one)) for one in sets if not any(one < other for other in sets))
    assert ranks.cliques(differ) == largest


def test_cliques_are_not_neighbours():
    """First and last undecided, with one between that differs from the first, share a bar without it."""
    assert ranks.cliques([[0, 1, 0], [1, 0, 0], [0, 0, 0]]) == [(0, 2), (1, 2)]
    assert ranks.cliques([[0, 1], [1, 0]]) == []


def test_winners_without():
    """One task can decide the winner by mean and not by rank; a tie names both."""
    table = np.array([[90.0, 10.0], [50.0, 51.0], [60.0, 61.0]])
    assert ranks.winners(table) == (0,)
    assert ranks.winners(table, by="rank") == (1,)
    assert ranks.winners_without(table) == [(1,), (0,), (0,)]
    assert ranks.winners_without(table[:1]) == []
