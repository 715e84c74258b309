"""A short run of the simulation in `tests.benchmarks.coverage`."""

import pytest

from tests.benchmarks.coverage import PROCEDURES

RUNS = 1_500


@pytest.mark.parametrize(
    "procedure", [procedure for procedure in PROCEDURES if procedure.cost < 20], ids=str
)
def test_rates(procedure):
    """The rate over a fixed stream is the nominal one, within four standard errors and an approximation's slack."""
    runs = RUNS // min(procedure.cost, 5)
    rate, _ = procedure.measure(runs)
    assert procedure.kept(rate, runs)
