"""A short run of the simulation in `tests.benchmarks.coverage`."""

import pytest

from tests.benchmarks.coverage import CLAIMS

RUNS = 1_500


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim.cost < 20], ids=str)
def test_rates(claim):
    """The rate over a fixed stream is the nominal one, within four standard errors and an approximation's slack."""
    runs = RUNS // min(claim.cost, 4)
    rate, _ = claim.measure(runs)
    assert claim.kept(rate, runs)
