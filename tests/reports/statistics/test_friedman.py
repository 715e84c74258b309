"""Friedman's test against published numbers, scipy, and laws it must keep."""

import math
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.statistics import friedman, paired_tests
from tests.reports.published import DEMSAR, DEMSAR_AS_RANKED
from tests.reports.statistics.test_ranks import autorank_example, tables


def with_sums(*sums):
    """Four tasks of three methods whose rank sums are these."""
    orders = list(permutations((1, 2, 3)))
    return next(
        -np.array(rows)
        for rows in product(orders, repeat=4)
        if np.sum(rows, axis=0).tolist() == list(sums)
    )


@pytest.mark.parametrize(
    ("sums", "chi", "p"),
    [
        ((5, 8, 11), 4.5, 0.125),
        ((5, 7, 12), 6.5, 0.041667),
        ((4, 8, 12), 8.0, 0.004630),
        ((6, 6, 12), 6.0, 0.069444),
    ],
)
def test_classical_table(sums, chi, p):
    """F9: three methods on four tasks have the exact chances of the classical table."""
    scores = with_sums(*sums)
    assert friedman.omnibus(scores).chi_squared == pytest.approx(chi)
    result = friedman.friedman(scores)
    assert result.exact
    assert result.p == pytest.approx(p, abs=1e-6)


def test_demsar():
    """F1: chi-squared and F without a correction for ties are Demšar's; with it, scipy's."""
    plain, tied = friedman.omnibus(DEMSAR_AS_RANKED, ties=False), friedman.omnibus(DEMSAR_AS_RANKED)
    assert (plain.chi_squared, plain.f) == pytest.approx((9.2786, 3.6863), abs=5e-5)
    assert (plain.chi_squared_p, plain.f_p) == pytest.approx((0.025807, 0.019823), abs=5e-7)
    assert plain.df == (3, 39)
    assert (tied.chi_squared, tied.chi_squared_p) == pytest.approx((10.2283, 0.016722), abs=5e-5)
    printed = friedman.omnibus(DEMSAR, ties=False)
    assert (printed.chi_squared, printed.f) == pytest.approx((9.8571, 3.9867), abs=5e-5)
    assert friedman.omnibus(DEMSAR).chi_squared == pytest.approx(10.9524, abs=5e-5)


def test_demsar_by_permutation():
    """F1: the permutation p on Demšar's table is that of a hundred thousand draws, and is counted exactly here."""
    result = friedman.friedman(DEMSAR_AS_RANKED)
    assert result.exact
    assert result.p == pytest.approx(0.0140, abs=3 * 0.0004)


def test_autorank():
    """F5: the tie-corrected statistic of autorank's example is its own."""
    result = friedman.omnibus(autorank_example())
    assert result.chi_squared == pytest.approx(139.450614, abs=5e-7)
    assert result.chi_squared_p == pytest.approx(2.3412212612346733e-28, rel=1e-9)


@given(tables(methods=(3, 5), tasks=(2, 7)))
def test_agrees_with_scipy(table):
    """The corrected chi-squared is scipy's."""
    ours = friedman.omnibus(table)
    if math.isnan(ours.chi_squared):
        assert (np.ptp(table, axis=1) == 0).all()
        return
    theirs = stats.friedmanchisquare(*table.T)
    assert (ours.chi_squared, ours.chi_squared_p) == pytest.approx(
        (theirs.statistic, theirs.pvalue)
    )


@given(tables(methods=(2, 4), tasks=(1, 3)))
@settings(max_examples=30, deadline=None)
def test_counting_is_complete(table):
    """The exact p is that of walking through all orders, ties included."""
    ranks = np.array([stats.rankdata(-row) for row in table])
    centre = len(table) * (table.shape[1] + 1) / 2
    observed = ((ranks.sum(axis=0) - centre) ** 2).sum()
    walks = [
        ((np.sum(rows, axis=0) - centre) ** 2).sum()
        for rows in product(*(permutations(row) for row in ranks))
    ]
    result = friedman.friedman(table)
    assert result.exact
    assert result.statistic == pytest.approx(observed)
    assert result.p == pytest.approx(np.mean(np.array(walks) >= observed - 1e-9))


@given(tables(), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_laws(table, random):
    """The order of methods, the order of tasks, and a constant added to a task leave p as it is."""
    methods, tasks = (random.sample(range(n), n) for n in reversed(table.shape))
    moved = table + np.array([[random.randint(-50, 50) / 7] for _ in table])
    p = friedman.friedman(table).p
    assert friedman.friedman(table[:, methods]).p == pytest.approx(p, abs=1e-12)
    assert friedman.friedman(table[tasks]).p == pytest.approx(p, abs=1e-12)
    assert friedman.friedman(moved).p == pytest.approx(p, abs=1e-12)


def test_drawn_orders():
    """Too many orders are drawn from a fixed stream: the same p for the same data in any order, and never zero."""
    rng = np.random.default_rng(5)
    table = rng.normal(size=(9, 8)) + np.linspace(0, 1.2, 8)
    result = friedman.friedman(table)
    assert not result.exact
    assert repr(friedman.friedman(table)) == repr(result)
    assert friedman.friedman(table[::-1, ::-1]) == result
    assert friedman.friedman(np.tile(np.arange(8.0), (9, 1))).p == 1 / (paired_tests.FLIPS + 1)


def test_drawn_agree_with_counted(monkeypatch):
    """Drawing gives the p of counting within four standard errors."""
    exact = friedman.friedman(DEMSAR)
    monkeypatch.setattr(friedman, "ORDERS", 1)
    drawn = friedman.friedman(DEMSAR)
    assert exact.exact
    assert not drawn.exact
    assert drawn.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p / paired_tests.FLIPS))


def test_nothing_to_tell():
    """Tasks that tie everything have p = 1 and no approximation; tasks that all agree have no p for F."""
    flat = friedman.omnibus(np.ones((4, 3)))
    assert friedman.friedman(np.ones((4, 3))).p == 1
    assert math.isnan(flat.chi_squared)
    agreed = friedman.omnibus(np.tile([1.0, 2.0, 3.0], (4, 1)))
    assert math.isinf(agreed.f)
    assert math.isnan(agreed.f_p)
