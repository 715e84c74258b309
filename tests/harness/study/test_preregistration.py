"""A study declares its hypothesis once, before its first result, and keeps it."""

import json

import pytest

from harness.errors import CorruptData, UsageError
from harness.ledger import Ledger
from harness.ledger.merging import merge
from harness.results.integrity import ledger_problems
from harness.study import preregistration
from harness.study.preregistration import KEY, Hypothesis
from tests.support import fake_training

LABELS = ["prefix", "simplex(vertices=2)", "lora(rank=4)", "lora(rank=8)"]


def test_a_hypothesis_names_methods_by_name_or_by_label():
    """A name stands for the only method that has it; the region is one point by default."""
    assert preregistration.read("simplex:prefix", None, LABELS) == Hypothesis(
        "simplex(vertices=2)", "prefix", 1.0
    )
    assert preregistration.read(" lora(rank=4) : prefix ", "0.5", LABELS) == Hypothesis(
        "lora(rank=4)", "prefix", 0.5
    )


@pytest.mark.parametrize(
    ("text", "rope", "message"),
    [
        ("simplex", None, "such as simplex:prefix"),
        ("prefix:prefix", None, "such as simplex:prefix"),
        ("lora:prefix", None, "could be several of"),
        ("ia3:prefix", None, "is not among"),
        ("simplex:prefix", "0", "between 0 and 100"),
        ("simplex:prefix", "much", "between 0 and 100"),
    ],
)
def test_invalid_hypotheses_are_refused(text, rope, message):
    """A hypothesis needs two of the methods, each named unambiguously, and a number of points."""
    with pytest.raises(UsageError, match=message):
        preregistration.read(text, rope, LABELS)


def test_the_first_hypothesis_stays_and_another_is_refused(tmp_path):
    """Declaring the same hypothesis again changes nothing; another one may have been chosen after seeing results."""
    first = Hypothesis("simplex", "prefix", 2.0)
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        preregistration.declare(ledger, first)
        preregistration.declare(ledger, first)
        with pytest.raises(
            UsageError, match="hypothesis of this database is simplex over prefix, 2 points"
        ):
            preregistration.declare(ledger, first._replace(rope=1.0))
        assert preregistration.declared_hypothesis(ledger) == first


def test_a_changed_hypothesis_is_an_error(tmp_path):
    """Every read checks the seal, and the error is that of damaged data."""
    text = json.dumps(
        {"method": "simplex", "baseline": "prefix", "rope": 2.0, "late": False, "seal": "0" * 64}
    )
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.set_once(KEY, text)
        for read in (
            preregistration.declared_hypothesis,
            lambda one: preregistration.declare(one, Hypothesis("simplex", "prefix", 2.0)),
        ):
            with pytest.raises(CorruptData, match="not the one that was declared") as caught:
                read(ledger)
            assert caught.value.exit_code == 65
        assert list(ledger_problems(ledger)) == [str(caught.value)]


def test_a_hypothesis_of_an_earlier_version_has_no_seal(tmp_path):
    """It is accepted, and may be declared again."""
    first = Hypothesis("simplex", "prefix", 2.0)
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.set_once(KEY, json.dumps(first._asdict()))
        preregistration.declare(ledger, first)
        assert preregistration.declared_hypothesis(ledger) == first


def test_unknown_metadata_is_damage(tmp_path):
    """Otherwise a hypothesis with a damaged key would disappear unnoticed."""
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.set_once("hypothesjs", "{}")
        with pytest.raises(CorruptData, match="'hypothesjs'"):
            preregistration.declared_hypothesis(ledger)


def test_a_hypothesis_after_results_is_marked_as_late(tmp_path):
    """It is stored with this mark, also when ledgers are merged."""
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.add_jobs([fake_training.job(1)])
        ledger.begin("fake")
        (claim,) = ledger.claim([fake_training.job(1).digest], 1)
        ledger.record(fake_training.outcome(claim.digest), claim.number)
        preregistration.declare(ledger, Hypothesis("simplex", "prefix"))
        with Ledger(str(tmp_path / "other.db"), write=True) as other:
            merge(other, ledger)
            assert preregistration.declared_hypothesis(other) == Hypothesis(
                "simplex", "prefix", late=True
            )
