"""Ranks, pairs, groups and wins against published numbers, other programs and laws they must keep."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.statistics import paired_tests, ranks
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


@pytest.mark.parametrize(
    ("alpha", "against", "published"),
    [(0.05, "all", 1.25), (0.10, "all", 1.12), (0.05, "baseline", 1.16), (0.10, "baseline", 1.04)],
)
def test_critical_differences(alpha, against, published):
    """F1: critical differences of four methods on 14 tasks are Demšar's, for all pairs and for one baseline."""
    assert ranks.critical_difference(14, 4, alpha=alpha, against=against) == pytest.approx(
        published, abs=0.01
    )  # printed digits are cut off


@pytest.mark.parametrize(
    ("methods", "alpha", "q"),
    [
        (2, 0.05, 1.960),
        (3, 0.05, 2.343),
        (4, 0.05, 2.569),
        (10, 0.05, 3.164),
        (2, 0.1, 1.645),
        (4, 0.1, 2.291),
        (10, 0.1, 2.920),
    ],
)
def test_nemenyi_quantiles(methods, alpha, q):
    """F1: the critical values behind Nemenyi's difference are those of Demšar's table."""
    found = ranks.critical_difference(14, methods, alpha=alpha) / ranks.rank_error(14, methods)
    assert found == pytest.approx(q, abs=0.0015)


def test_demsar_against_the_baseline():
    """F1: z of the mean ranks against C4.5, their p and Holm's verdict are as published."""
    means = ranks.mean_ranks(DEMSAR_AS_RANKED)
    z = (means[0] - means[1:]) / ranks.rank_error(14, 4)
    p = 2 * stats.norm.sf(abs(z))
    assert z == pytest.approx([2.342, 0.512, 2.416], abs=0.001)
    assert p == pytest.approx([0.019, 0.607, 0.016], abs=0.0015)
    assert paired_tests.holm(p) == pytest.approx([0.0472, 0.6084, 0.0472], abs=0.0003)


def test_nemenyi_on_demsar():
    """F1: Nemenyi's p are as another program gave them once."""
    p = ranks.nemenyi(DEMSAR_AS_RANKED)
    assert [p[0, 1], p[0, 3], p[1, 2]] == pytest.approx([0.0887, 0.0742, 0.2592], abs=5e-5)


def test_nemenyi_agrees():
    """All of Nemenyi's p are those of scikit-posthocs."""
    p = ranks.nemenyi(DEMSAR_AS_RANKED)
    oracle = pytest.importorskip(
        "scikit_posthocs", reason="scikit-posthocs comes with the extra `test`"
    )
    assert p == pytest.approx(
        oracle.posthoc_nemenyi_friedman(DEMSAR_AS_RANKED).to_numpy(), abs=1e-9
    )


def test_autorank():
    """F5: mean ranks and the critical difference of autorank's example are its own."""
    means = ranks.mean_ranks(autorank_example())
    assert means == pytest.approx([5.40, 4.71, 3.95, 2.47, 2.29, 2.18], abs=1e-9)
    assert ranks.critical_difference(50, 6) == pytest.approx(1.06626, abs=1e-5)


def test_autorank_agrees():
    """Autorank itself finds the same mean ranks and critical difference."""
    scores = autorank_example()
    oracle = pytest.importorskip("autorank", reason="autorank comes with the extra `test`")
    pandas = pytest.importorskip("pandas")
    result = oracle.autorank(pandas.DataFrame(scores), alpha=0.05, verbose=False)
    assert result.rankdf["meanrank"].sort_index().to_numpy() == pytest.approx(
        ranks.mean_ranks(scores)
    )
    assert result.cd == pytest.approx(ranks.critical_difference(50, 6), abs=1e-4)


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
@settings(max_examples=40, deadline=None)
def test_names_do_not_matter(table, random):
    """Methods in another order have the same p, ranks and wins, in that order."""
    order = random.sample(range(table.shape[1]), table.shape[1])
    for matrix in (
        lambda t: ranks.pairwise(t).adjusted,
        lambda t: ranks.pairwise(t).raw,
        ranks.nemenyi,
        ranks.win_rates,
    ):
        assert matrix(table[:, order]) == pytest.approx(
            matrix(table)[np.ix_(order, order)], nan_ok=True
        )
    assert ranks.mean_win_rates(table[:, order]) == pytest.approx(
        ranks.mean_win_rates(table)[order]
    )


@given(tables(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_a_task_may_be_easier(table, random):
    """A constant added to all scores of a task changes no rank, no p and no win."""
    moved = table + np.array([[random.randint(-50, 50) / 7] for _ in table])
    assert ranks.average_ranks(moved).tolist() == ranks.average_ranks(table).tolist()
    assert ranks.pairwise(moved).adjusted.tolist() == ranks.pairwise(table).adjusted.tolist()
    assert ranks.win_rates(moved) == pytest.approx(ranks.win_rates(table), nan_ok=True)


@given(tables())
@settings(max_examples=40, deadline=None)
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


@pytest.mark.parametrize(
    ("by_method", "rates"),
    [
        ([[1, 3], [2, 1], [3, 2], [4, 5], [5, 4]], [0.25, 0.125, 0.375, 0.875, 0.875]),
        ([[1], [1], [1], [4], [5]], [0.25, 0.25, 0.25, 0.75, 1]),
        ([[1, 3], [2, 1], [3, math.nan], [4, math.nan], [5, math.nan]], [0.5, 0.125, 0.5, 0.75, 1]),
    ],
)
def test_win_rates_of_helm(by_method, rates):
    """F7: mean win rates are HELM's, with ties at one half and with scores missing."""
    assert ranks.mean_win_rates(np.array(by_method).T) == pytest.approx(rates)


@given(tables())
def test_wins_and_losses(table):
    """Two methods' win rates add to one, and with a full table the mean win rate is the mean over rivals."""
    rates = ranks.win_rates(table)
    off = ~np.eye(table.shape[1], dtype=bool)
    assert (rates + rates.T)[off] == pytest.approx(1)
    assert np.nanmean(rates, axis=1) == pytest.approx(ranks.mean_win_rates(table))


def test_winners_without():
    """One task can decide the winner by mean and not by rank; a tie names both."""
    table = np.array([[90.0, 10.0], [50.0, 51.0], [60.0, 61.0]])
    assert ranks.winners(table) == (0,)
    assert ranks.winners(table, by="rank") == (1,)
    assert ranks.winners_without(table) == [(1,), (0,), (0,)]
    assert ranks.winners_without(table, by="rank") == [(1,), (0, 1), (0, 1)]
    assert ranks.winners_without(table[:1]) == []


@pytest.mark.parametrize("methods", [2, 3, 5, 10, 40])
@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.001])
def test_the_range_of_normal_values_is_scipys(methods, alpha):
    """The critical difference is the studentized range's quantile with infinite degrees of freedom, and so is its tail."""
    from scipy.stats import studentized_range

    expected = (
        studentized_range.ppf(1 - alpha, methods, np.inf) / 2**0.5 * ranks.rank_error(9, methods)
    )
    assert ranks.critical_difference(9, methods, alpha=alpha) == pytest.approx(expected, rel=1e-6)
