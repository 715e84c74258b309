"""F15: a damaged database gives no wrong number: damage is found, or every value that is shown still verifies."""

import random
from dataclasses import replace

import pytest

from harness.commands import stored_runs
from harness.commands.report import write_report
from harness.commands.stored_runs import ResultQuery
from harness.commands.verify import ledger_problems
from harness.errors import BenchError
from harness.ledger import Ledger
from harness.study import preregistration
from reports.analysis.hypothesis import Hypothesis
from tests.support import fake_training

pytestmark = pytest.mark.fault
SAID = Hypothesis("lora", "prefix", 2.0)  # against a baseline that nothing else would make one


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A database of sixty results, thirty of each method, and of what they are for; as bytes."""
    path = tmp_path_factory.mktemp("whole") / "r.db"
    jobs = [
        replace(fake_training.job(number), method=name, label=name)
        for number in range(30)
        for name in ("lora", "prefix")
    ]
    with Ledger(str(path), write=True) as ledger:
        preregistration.declare(ledger, SAID)
        ledger.add_jobs(jobs)
        ledger.begin("fake")
        for claim in ledger.claim([job.digest for job in jobs], 60):
            assert ledger.record(fake_training.outcome(claim.digest), claim.epoch)
    return path.read_bytes()


def shown(path):
    """Everything that a report is made of; None where damage was found."""
    try:
        with Ledger(str(path)) as ledger:
            if list(ledger_problems(ledger)):
                return None
            return [
                repr(preregistration.kept(ledger)),
                *map(repr, stored_runs.runs(ledger.entries(), ledger.all_blobs())),
            ]
    except (
        BenchError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
    ):  # `reading._opened` calls these damage
        return None


def report(path, folder):
    """The report in full precision; None where it broke off in words."""
    selection = ResultQuery(
        db=str(path), methods=None, tasks=None, sizes=None, model=None, recipe=None
    )
    try:
        write_report(selection, "json", None, folder / "report.json")
    except BenchError:
        return None
    return (folder / "report.json").read_text()


def test_two_hundred_corruptions_give_no_wrong_number(whole, tmp_path):
    """Sixty-four random bytes anywhere: found, or what is shown is what was recorded; a report of it breaks off in words."""
    path = tmp_path / "r.db"
    path.write_bytes(whole)
    expected = shown(path)
    assert expected is not None
    assert expected[0] == repr(SAID)
    text = report(path, tmp_path)
    chance, found = random.Random(0), 0  # noqa: S311
    for _ in range(200):
        damaged = bytearray(whole)
        start = chance.randrange(len(whole) - 64)
        damaged[start : start + 64] = chance.randbytes(64)
        path.write_bytes(damaged)
        now = shown(path)
        found += now is None
        assert now is None or now == expected
        assert report(path, tmp_path) in (None, text)
        assert path.read_bytes() == damaged
    assert found > 50  # the rest hit space that nothing uses: small tables have a page each


def test_no_byte_of_the_hypothesis_changes_unnoticed(whole, tmp_path):
    """A report with another baseline, or another region of equivalence, would answer another question than was asked."""
    path = tmp_path / "r.db"
    start = whole.index(b'{"baseline"')
    end = whole.index(b"}", start) + 1
    for place in range(start - len(preregistration.KEY), end):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert report(path, tmp_path) is None
        assert shown(path) is None


@pytest.mark.parametrize("end", [0, 15, 100, 4096, 20_000])
def test_a_database_cut_short_is_left_as_it_is(whole, tmp_path, end):
    """A file of which the end is missing is damage, or was never begun."""
    path = tmp_path / "r.db"
    path.write_bytes(whole[:end])
    assert shown(path) is None
    assert path.read_bytes() == whole[:end]
