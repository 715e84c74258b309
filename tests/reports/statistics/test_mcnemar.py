"""Two models on the same items against published numbers, scipy, and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from reports.statistics import mcnemar


def test_mcnemar():
    """F12: 25 against 15 items give 81 / 40, and an exact p of .153860."""
    result = mcnemar.mcnemar(25, 15)
    assert result.chi_squared == pytest.approx(81 / 40)
    assert result.p == pytest.approx(0.153860, abs=5e-7)


PAIRS = [(0, 1), (3, 3), (0, 6), (12, 4), (40, 61)]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_mcnemar_is_binomial(first, second):
    """The exact p is the binomial test, and the order of the models is nothing to it."""
    result = mcnemar.mcnemar(first, second)
    assert result.p == pytest.approx(stats.binomtest(first, first + second).pvalue)
    assert mcnemar.mcnemar(second, first) == result


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_mcnemar_agrees(first, second):
    """P and statistic are those of statsmodels, but for no statistic below zero."""
    result = mcnemar.mcnemar(first, second)
    oracle = pytest.importorskip(
        "statsmodels.stats.contingency_tables", reason="statsmodels comes with the extra `test`"
    )
    table = [[9, first], [second, 9]]
    assert result.p == pytest.approx(oracle.mcnemar(table, exact=True).pvalue)
    if first != second:
        assert result.chi_squared == pytest.approx(
            oracle.mcnemar(table, exact=False, correction=True).statistic
        )


def test_no_item_tells():
    """Models that are right on the same items do not differ."""
    result = mcnemar.mcnemar(0, 0)
    assert result.p == 1
    assert math.isnan(result.chi_squared)


@pytest.mark.parametrize(
    ("first", "second", "agreement", "count", "power", "exaggeration"),
    [
        (0.80, 0.82, 0.975, 500, 0.800, 1.118),
        (0.70, 0.72, 0.42, 1000, 0.119, 3.00),
        (0.70, 0.72, 0.98, 1000, 1.000, 1.00),
    ],
)
def test_card(first, second, agreement, count, power, exaggeration):
    """F8: power and Type-M error are those of Card's notebook, which simulates."""
    found = mcnemar.design(first, second, agreement=agreement, items=count)
    assert found.power == pytest.approx(power, abs=0.015)
    assert found.exaggeration == pytest.approx(exaggeration, abs=0.03)


def test_design_agrees_with_simulation():
    """Counting all outcomes gives what ten thousand simulated test sets give, within four standard errors."""
    rng = np.random.default_rng(0)
    outcomes = rng.multinomial(100, [0.15, 0.05, 0.8], size=10_000)
    found = np.array(
        [mcnemar.mcnemar(int(better), int(worse)).p <= 0.05 for better, worse, _ in outcomes]
    )
    design = mcnemar.design(0.7, 0.8, agreement=0.8, items=100)
    assert design.power == pytest.approx(found.mean(), abs=4 * math.sqrt(0.25 / 10_000))
    gaps = np.abs(outcomes[found, 0] - outcomes[found, 1]) / 100
    assert design.exaggeration == pytest.approx(
        gaps.mean() / 0.1, abs=4 * gaps.std() / 0.1 / math.sqrt(len(gaps))
    )


def test_agreement():
    """Accuracies bound how often models can agree, and a design outside the bounds is refused."""
    assert mcnemar.agreement(0.7, 0.72, largest=True) == pytest.approx(0.98)
    assert mcnemar.agreement(0.7, 0.72, largest=False) == pytest.approx(0.42)
    with pytest.raises(ValueError, match="do not allow"):
        mcnemar.design(0.7, 0.72, agreement=0.99, items=10)
    with pytest.raises(ValueError, match="do not allow"):
        mcnemar.design(0.7, 0.72, agreement=0.41, items=10)


def test_no_difference():
    """Equal models are told apart no more often than allowed, and there is nothing to exaggerate."""
    found = mcnemar.design(0.8, 0.8, agreement=0.9, items=300)
    assert 0 < found.power <= 0.05
    assert math.isnan(found.exaggeration)
    assert mcnemar.design(0.8, 0.8, agreement=1.0, items=300).power == 0
