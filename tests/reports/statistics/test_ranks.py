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


def test_pairwise_on_demsar():
    """All pairs by sign flip: C4.5 against m is 120 of 16384, and is the one pair that Holm lets through."""
    result = ranks.pairwise(DEMSAR)
    assert result.raw[0, 1] == 120 / 16384
    assert result.difference[1, 0] == pytest.approx(0.0155)
    assert [(i, j) for i, j in combinations(range(4), 2) if result.adjusted[i, j] <= 0.05] == [
        (0, 1)
    ]
    assert (result.m, result.smallest) == (6, 6 * 2 / 2**14)
    assert ranks.cliques(result.adjusted) == [(0, 2, 3), (1, 2, 3)]


def test_pairwise_agrees_with_statsmodels():
    """Holm over all pairs is that of statsmodels."""
    oracle = pytest.importorskip(
        "statsmodels.stats.multitest", reason="statsmodels comes with the extra `test`"
    )
    result = ranks.pairwise(DEMSAR)
    upper = np.triu_indices(4, 1)
    assert result.adjusted[upper] == pytest.approx(
        oracle.multipletests(result.raw[upper], method="holm")[1]
    )


@given(tables(), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_names_do_not_matter(table, random):
    """Methods in another order have the same p, ranks and wins, in that order."""
    order = random.sample(range(table.shape[1]), table.shape[1])
    for matrix in (
        lambda t: ranks.pairwise(t).adjusted,
        lambda t: ranks.pairwise(t).raw,
    ):
        assert matrix(table[:, order]) == pytest.approx(matrix(table)[np.ix_(order, order)])
    assert ranks.mean_ranks(table[:, order]) == pytest.approx(ranks.mean_ranks(table)[order])


@given(tables(), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_a_task_may_be_easier(table, random):
    """A constant added to all scores of a task changes no rank, no p and no win."""
    moved = table + np.array([[random.randint(-50, 50) / 7] for _ in table])
    assert ranks.average_ranks(moved).tolist() == ranks.average_ranks(table).tolist()
    assert ranks.pairwise(moved).adjusted.tolist() == ranks.pairwise(table).adjusted.tolist()


@given(tables())
@settings(max_examples=40)
def test_pairs_keep_their_limits(table):
    """Adjusted p are at least the raw ones and at least the smallest possible, the same both ways, 1 for oneself."""
    result = ranks.pairwise(table)
    off = ~np.eye(table.shape[1], dtype=bool)
    assert np.all(result.adjusted >= result.raw)
    assert np.all(result.adjusted[off].min() >= result.smallest - 1e-12)
    assert np.array_equal(result.adjusted, result.adjusted.T)
    assert np.all(np.diag(result.adjusted) == 1)
    assert np.array_equal(result.difference, -result.difference.T)


@pytest.mark.parametrize(
    ("tasks", "comparisons", "p"),
    [(8, 10, 0.078), (8, 4, 0.031), (8, 6, 0.047), (9, 10, 0.039), (9, 21, 0.082), (3, 10, 1.0)],
)
def test_feasible(tasks, comparisons, p):
    """Five methods pairwise over eight tasks cannot reach .05; against one baseline they can."""
    assert ranks.smallest_adjusted(tasks, comparisons) == pytest.approx(p, abs=0.0005)


@given(st.integers(2, 7), st.randoms(use_true_random=False))
def test_cliques_are_maximal(methods, random):
    """Groups are all sets of undecided pairs that no method can join, against a search of all sets."""
    p = np.ones((methods, methods))
    for i, j in combinations(range(methods), 2):
        p[i, j] = p[j, i] = random.choice([0.01, 0.05, 0.2])
    sets = [
        set(group)
        for size in range(2, methods + 1)
        for group in combinations(range(methods), size)
        if all(p[i, j] > 0.05 for i, j in combinations(group, 2))
    ]
    largest = sorted(tuple(sorted(one)) for one in sets if not any(one < other for other in sets))
    assert ranks.cliques(p) == largest


def test_cliques_are_not_neighbours():
    """First and last undecided, with one between that differs from the first, share a bar without it."""
    assert ranks.cliques([[1, 0.01, 0.5], [0.01, 1, 0.5], [0.5, 0.5, 1]]) == [(0, 2), (1, 2)]
    assert ranks.cliques([[1, math.nan], [math.nan, 1]]) == [(0, 1)]
    assert ranks.cliques([[1, 0.001], [0.001, 1]]) == []


def test_winners_without():
    """One task can decide the winner by mean and not by rank; a tie names both."""
    table = np.array([[90.0, 10.0], [50.0, 51.0], [60.0, 61.0]])
    assert ranks.winners(table) == (0,)
    assert ranks.winners(table, by="rank") == (1,)
    assert ranks.winners_without(table) == [(1,), (0,), (0,)]
    assert ranks.winners_without(table[:1]) == []
