"""What a study is for is said once, before its first result, and kept."""

import json

import pytest

from harness.commands.verify import ledger_problems
from harness.errors import CorruptData, UsageError
from harness.ledger import Ledger
from harness.ledger.merging import merge
from harness.study import preregistration
from harness.study.preregistration import KEY, Hypothesis
from tests.support import fake_training

LABELS = ["prefix", "simplex(vertices=2)", "lora(rank=4)", "lora(rank=8)"]


def test_it_is_read_by_name_or_by_full_name():
    """A bare name stands for the one method that has it; the region is one point unless said otherwise."""
    assert preregistration.read("simplex:prefix", None, LABELS) == Hypothesis(
        "simplex(vertices=2)", "prefix", 1.0
    )
    assert preregistration.read(" lora(rank=4) : prefix ", "0.5", LABELS) == Hypothesis(
        "lora(rank=4)", "prefix", 0.5
    )


@pytest.mark.parametrize(
    ("text", "rope", "said"),
    [
        ("simplex", None, "such as simplex:prefix"),
        ("prefix:prefix", None, "such as simplex:prefix"),
        ("lora:prefix", None, "could be any of"),
        ("ia3:prefix", None, "is not among"),
        ("simplex:prefix", "0", "between 0 and 100"),
        ("simplex:prefix", "much", "between 0 and 100"),
    ],
)
def test_what_cannot_be_meant_is_refused(text, rope, said):
    """No two methods, a name that several have or none, or no number of points."""
    with pytest.raises(UsageError, match=said):
        preregistration.read(text, rope, LABELS)


def test_the_first_one_is_kept_and_another_is_refused(tmp_path):
    """The same again changes nothing; a second one would have been chosen with results in sight."""
    first = Hypothesis("simplex", "prefix", 2.0)
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        preregistration.declare(ledger, first)
        preregistration.declare(ledger, first)
        with pytest.raises(
            UsageError, match="begun with the hypothesis simplex over prefix, 2 points"
        ):
            preregistration.declare(ledger, first._replace(rope=1.0))
        assert preregistration.kept(ledger) == first


def test_one_that_was_changed_breaks_off(tmp_path):
    """Its seal is asked whenever it is read, and the error is that of damaged data."""
    text = json.dumps(
        {"method": "simplex", "baseline": "prefix", "rope": 2.0, "late": False, "seal": "0" * 64}
    )
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.remember(KEY, text)
        for read in (
            preregistration.kept,
            lambda one: preregistration.declare(one, Hypothesis("simplex", "prefix", 2.0)),
        ):
            with pytest.raises(CorruptData, match="not the one that was declared") as caught:
                read(ledger)
            assert caught.value.exit_code == 65
        assert list(ledger_problems(ledger)) == [str(caught.value)]


def test_one_of_an_earlier_version_has_no_seal(tmp_path):
    """It holds as it is, and the same may be declared again."""
    first = Hypothesis("simplex", "prefix", 2.0)
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.remember(KEY, json.dumps(first._asdict()))
        preregistration.declare(ledger, first)
        assert preregistration.kept(ledger) == first


def test_a_fact_that_nobody_wrote_is_damage(tmp_path):
    """A hypothesis whose name lost a letter would else be gone without a word."""
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.remember("hypothesjs", "{}")
        with pytest.raises(CorruptData, match="'hypothesjs'"):
            preregistration.kept(ledger)


def test_one_that_comes_after_results_is_marked(tmp_path):
    """It is kept, with the mark that results were there; and it goes along when ledgers are merged."""
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.enter([fake_training.job(1)])
        ledger.begin("fake")
        (claim,) = ledger.claim([fake_training.job(1).digest], 1)
        ledger.record(fake_training.outcome(claim.digest), claim.epoch)
        preregistration.declare(ledger, Hypothesis("simplex", "prefix"))
        with Ledger(str(tmp_path / "other.db"), write=True) as other:
            merge(other, ledger)
            assert preregistration.kept(other) == Hypothesis("simplex", "prefix", late=True)
