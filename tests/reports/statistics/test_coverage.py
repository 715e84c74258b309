"""A short run of the simulation in `tests.benchmarks.coverage`."""

import pytest

from tests.benchmarks.coverage import PROCEDURES, VERDICTS

RUNS = 1_500
WHOLE = 300  # of arranged runs, up to the verdict


@pytest.mark.parametrize(
    "procedure", [procedure for procedure in PROCEDURES if procedure not in VERDICTS], ids=str
)
def test_rates(procedure):
    """The rate over a fixed stream is the nominal one, within four standard errors and an approximation's slack."""
    runs = RUNS // min(procedure.cost, 4)
    rate, _ = procedure.measure(runs)
    assert procedure.kept(rate, runs)


@pytest.mark.slow
@pytest.mark.parametrize("procedure", VERDICTS, ids=str)
def test_rates_of_verdicts(procedure):
    """The same for whole verdicts: intervals cover, and false claims are as rare as is allowed."""
    rate, _ = procedure.measure(WHOLE)
    assert procedure.kept(rate, WHOLE)
