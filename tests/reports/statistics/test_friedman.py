"""Friedman's test against published numbers, scipy, and laws it must keep."""

import math
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.statistics import friedman
from reports.statistics.sign_flip import SIGN_VECTORS
from tests.reports.published import DEMSAR, DEMSAR_AS_RANKED
from tests.reports.statistics.test_ranks import tables


def with_sums(*sums):
    """Four tasks of three methods whose rank sums are these."""
    orders = list(permutations((1, 2, 3)))
    return next(
        -np.array(rows)
        for rows in product(orders, repeat=4)
        if np.sum(rows, axis=0).tolist() == list(sums)
    )


@pytest.mark.parametrize(
    ("sums", "p"),
    [
        ((5, 8, 11), 0.125),
        ((5, 7, 12), 0.041667),
        ((4, 8, 12), 0.004630),
        ((6, 6, 12), 0.069444),
    ],
)
def test_classical_table(sums, p):
    """F9: three methods on four tasks have the exact chances of the classical table."""
    scores = with_sums(*sums)
    result = friedman.friedman(scores)
    assert result.exact
    assert result.p == pytest.approx(p, abs=1e-6)


def test_demsar_by_permutation():
    """F1: the permutation p on Demšar's table is that of a hundred thousand draws, and is counted exactly here."""
    result = friedman.friedman(DEMSAR_AS_RANKED)
    assert result.exact
    assert result.p == pytest.approx(0.0140, abs=3 * 0.0004)


@given(tables(methods=(2, 4), tasks=(1, 3)))
@settings(max_examples=30)
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
@settings(max_examples=30)
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
    assert friedman.friedman(np.tile(np.arange(8.0), (9, 1))).p == 1 / (SIGN_VECTORS + 1)


def test_drawn_agree_with_counted(monkeypatch):
    """Drawing gives the p of counting within four standard errors."""
    exact = friedman.friedman(DEMSAR)
    monkeypatch.setattr(friedman, "ORDERS", 1)
    drawn = friedman.friedman(DEMSAR)
    assert exact.exact
    assert not drawn.exact
    assert drawn.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p / SIGN_VECTORS))


def test_no_difference():
    """Tasks on which all methods tie give p = 1."""
    assert friedman.friedman(np.ones((4, 3))).p == 1
