"""F15: a damaged database never gives a wrong number: the damage is found, or all values are the recorded ones."""

import random
from dataclasses import replace

import pytest

from harness.commands.report import write_report
from harness.errors import BenchError
from harness.ledger import Ledger
from harness.results.integrity import ledger_problems
from harness.results.query import ResultQuery
from harness.results.runs import runs
from harness.study import preregistration
from reports.analysis.hypothesis import Hypothesis
from tests.support import fake_training

pytestmark = pytest.mark.fault
HYPOTHESIS = Hypothesis("lora", "prefix", 2.0)  # a report has this baseline only if it is declared


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """The bytes of a database with a hypothesis and sixty results, thirty of each method."""
    path = tmp_path_factory.mktemp("intact") / "r.db"
    jobs = [
        replace(fake_training.job(number), method=name, label=name)
        for number in range(30)
        for name in ("lora", "prefix")
    ]
    with Ledger(str(path), write=True) as ledger:
        preregistration.declare(ledger, HYPOTHESIS)
        ledger.add_jobs(jobs)
        ledger.begin("fake")
        for claim in ledger.claim([job.digest for job in jobs], 60):
            assert ledger.record(fake_training.outcome(claim.digest), claim.number)
    return path.read_bytes()


def contents(path):
    """Return everything that a report shows, or None if damage was found."""
    try:
        with Ledger(str(path)) as ledger:
            if list(ledger_problems(ledger)):
                return None
            hypothesis = preregistration.declared_hypothesis(ledger)
            found = runs(ledger.entries(), ledger.all_blobs())
            return [repr(hypothesis), *map(repr, found)]
    # The commands report all of these as damage.
    except (BenchError, ValueError, TypeError, LookupError, ArithmeticError):
        return None


def report(path, folder):
    """Return the report in full precision, or None if it ended with an error message."""
    query = ResultQuery(db=str(path), methods=None, tasks=None, sizes=None, model=None, recipe=None)
    try:
        write_report(query, "json", None, folder / "report.json")
    except BenchError:
        return None
    return (folder / "report.json").read_text()


@pytest.mark.parametrize("count", [25, pytest.param(200, marks=pytest.mark.slow)])
def test_no_corruption_gives_a_wrong_number(intact, tmp_path, count):
    """After 64 bytes are overwritten, damage is found or no value has changed; a report is the same or fails."""
    path = tmp_path / "r.db"
    path.write_bytes(intact)
    expected, expected_report = contents(path), report(path, tmp_path)
    assert expected is not None
    assert expected[0] == repr(HYPOTHESIS)
    rng, detected = random.Random(0), 0  # noqa: S311
    for _ in range(count):
        damaged = bytearray(intact)
        start = rng.randrange(len(intact) - 64)
        damaged[start : start + 64] = rng.randbytes(64)
        path.write_bytes(damaged)
        shown = contents(path)
        detected += shown is None
        assert shown in (None, expected)
        assert report(path, tmp_path) in (None, expected_report)
        assert path.read_bytes() == damaged
    # The others hit unused space: each small table has a page of its own.
    assert detected > count / 4


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_no_change_of_the_hypothesis_goes_unnoticed(intact, tmp_path, step):
    """A report with another baseline or region of equivalence would answer another question than the declared one."""
    path = tmp_path / "r.db"
    start = intact.index(b'{"baseline"')
    end = intact.index(b"}", start) + 1
    for position in range(start - len(preregistration.KEY), end, step):
        damaged = bytearray(intact)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        assert report(path, tmp_path) is None
        assert contents(path) is None


@pytest.mark.parametrize("length", [0, 15, 100, 4096, 20_000])
def test_a_truncated_database_is_reported_and_not_changed(intact, tmp_path, length):
    """A file without its end is damaged, or an empty one; reading it does not change it."""
    path = tmp_path / "r.db"
    path.write_bytes(intact[:length])
    assert contents(path) is None
    assert path.read_bytes() == intact[:length]
