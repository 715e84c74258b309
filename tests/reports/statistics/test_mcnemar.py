"""McNemar's test against published numbers, scipy and statsmodels."""

import pytest
from scipy import stats

from reports.statistics.mcnemar import mcnemar

PAIRS = [(0, 1), (3, 3), (0, 6), (12, 4), (40, 61)]


def test_published_example():
    """F12: 25 against 15 test rows give an exact p of .153860."""
    assert mcnemar(25, 15) == pytest.approx(0.153860, abs=5e-7)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_mcnemar_is_binomial(first, second):
    """The exact p equals the binomial test, and does not depend on the order of the models."""
    assert mcnemar(first, second) == pytest.approx(stats.binomtest(first, first + second).pvalue)
    assert mcnemar(second, first) == mcnemar(first, second)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_mcnemar_agrees_with_statsmodels(first, second):
    """The exact p equals the one of statsmodels."""
    oracle = pytest.importorskip(
        "statsmodels.stats.contingency_tables", reason="statsmodels comes with the extra `test`"
    )
    table = [[9, first], [second, 9]]
    assert mcnemar(first, second) == pytest.approx(oracle.mcnemar(table, exact=True).pvalue)


def test_no_discordant_row():
    """Without a row that only one model answers correctly, p is 1."""
    assert mcnemar(0, 0) == 1
