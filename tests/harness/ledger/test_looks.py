"""Looks: methods that were complete and are given more runs were compared before."""

import pytest

from harness.commands.database import merge as merge_databases
from harness.errors import CorruptData
from harness.ledger import Ledger, looks
from harness.ledger.merging import merge, record_looks, runs_of
from harness.study import preregistration
from reports.analysis.hypothesis import Hypothesis


@pytest.fixture
def finish(make_job, make_outcome):
    """Add jobs to a ledger and give a result to those of some draws."""

    def finish(
        ledger, methods=("prefix", "lora"), planned=2, done=None, seeds=1, size=20, draws=None
    ):
        jobs = [
            make_job(method, draw, size=size, seed=seed)
            for method in methods
            for draw in draws or range(planned)
            for seed in range(seeds)
        ]
        ledger.add_jobs(jobs)
        ended = [job for job in jobs if done is None or job.draw.number < done]
        for claim in ledger.claim([job.digest for job in ended], len(ended)):
            job = next(job for job in ended if job.digest == claim.digest)
            ledger.record(make_outcome(job), claim.number)
        return jobs

    return finish


@pytest.fixture
def ledger(tmp_path):
    with Ledger(str(tmp_path / "r.db"), write=True) as opened:
        opened.begin("bench run")
        yield opened


def counts(ledger):
    """Return the numbers of runs of each method at each look, one list per comparison."""
    return numbers(ledger, draws=False)


def numbers(ledger, *, draws):
    """Return the numbers of draws, or of runs, of each method at each look, one list per comparison."""
    stored = looks.parse(ledger.meta_values().get(looks.KEY))
    return [
        [
            sorted(n for key, n in look.items() if key.endswith(looks.DRAWS) == draws)
            for look in found
        ]
        for found in stored.values()
    ]


def test_draws_added_to_complete_methods_are_a_look(ledger, finish):
    """Each number of runs at which methods were complete is recorded once."""
    finish(ledger, planned=2)
    assert counts(ledger) == []
    finish(ledger, planned=5)
    assert counts(ledger) == [[[2, 2]]]
    finish(ledger, planned=5)
    finish(ledger, planned=9)
    assert counts(ledger) == [[[2, 2], [5, 5]]]


def test_seeds_added_to_complete_methods_are_a_look(ledger, finish):
    """More training seeds of the same draws are more data for the same question."""
    finish(ledger, planned=2)
    finish(ledger, planned=2, seeds=3)
    finish(ledger, planned=4, seeds=3)
    assert numbers(ledger, draws=True) == [[[2, 2], [2, 2]]]
    finish(ledger, planned=4, seeds=3)
    assert counts(ledger) == [[[2, 2], [6, 6]]]


def test_an_unfinished_method_does_not_hide_the_look_of_others(ledger, finish):
    """The look records the methods that were complete; the third method has none."""
    finish(ledger, planned=3)
    finish(ledger, methods=("simplex",), planned=3, done=1)
    finish(ledger, planned=5)
    assert counts(ledger) == [[[3, 3]]]


def test_a_method_that_catches_up_was_compared_at_its_own_number_of_runs(ledger, finish):
    """The look has the runs of all complete methods, whichever of them is given more."""
    finish(ledger, planned=6)
    finish(ledger, methods=("simplex",), planned=2)
    finish(ledger, methods=("simplex",), planned=6)
    assert counts(ledger) == [[[2, 6, 6]]]


def test_what_is_not_complete_starts_no_look(ledger, finish):
    """A plan that is resumed or enlarged before its end, and a method that is added, start none."""
    finish(ledger, planned=3, done=2)
    finish(ledger, planned=5, done=2)
    assert counts(ledger) == []
    finish(ledger, planned=5)
    finish(ledger, methods=("simplex",), planned=5)
    assert counts(ledger) == []


def test_a_single_method_is_no_comparison(ledger, finish):
    """More draws of the only method compare nothing."""
    finish(ledger, methods=("prefix",), planned=2)
    finish(ledger, methods=("prefix",), planned=4)
    assert counts(ledger) == []


def test_a_merge_that_adds_draws_is_a_look_and_copies_those_of_the_source(tmp_path, ledger, finish):
    """Both ledgers' looks stay, and the target's methods were compared before the merge."""
    finish(ledger, planned=3)
    with Ledger(str(tmp_path / "other.db"), write=True) as other:
        other.begin("bench run")
        finish(other, planned=2)
        finish(other, planned=6)
        record_looks(ledger, [runs_of(other)])
        merge(ledger, other)
    assert sorted(*counts(ledger)) == [[2, 2], [3, 3]]


@pytest.mark.parametrize("into_first", [False, True])
def test_shards_that_one_command_merges_are_no_looks(tmp_path, finish, into_first):
    """Three shards in a new ledger were never compared; added to another ledger, they are one look."""
    names = [str(tmp_path / f"{number}.db") for number in range(3)]
    for number, name in enumerate(names):
        with Ledger(name, write=True) as shard:
            shard.begin("bench run")
            finish(shard, draws=range(2 * number, 2 * number + 2))
    target = names.pop(0) if into_first else str(tmp_path / "all.db")
    assert merge_databases(target, names) == 0
    with Ledger(target) as merged:
        assert counts(merged) == ([[[2, 2]]] if into_first else [])
        assert len(merged.entries()) == 12


def test_changed_looks_are_detected(ledger, finish):
    """They carry a hash, as the hypothesis does."""
    finish(ledger, planned=2)
    finish(ledger, planned=4)
    text = ledger.meta_values()[looks.KEY]
    with pytest.raises(CorruptData, match="recorded looks"):
        looks.parse(text.replace(": 2", ": 1"))


@pytest.mark.parametrize("has_results", [False, True])
def test_a_hypothesis_is_not_merged_into_a_ledger_with_results(
    tmp_path, ledger, finish, has_results
):
    """It would have been declared after them; an empty ledger takes it over. What was said of data is always copied."""
    finish(ledger, done=None if has_results else 0)
    with Ledger(str(tmp_path / "other.db"), write=True) as other:
        other.begin("bench run")
        preregistration.declare(other, Hypothesis("prefix", "lora"))
        other.set_once("data mine 1", "said")
        merge(ledger, other)
    assert ledger.meta_values()["data mine 1"] == "said"
    assert (preregistration.declared_hypothesis(ledger) is None) == has_results


def test_sizes_are_looked_at_apart(ledger, finish):
    """More draws of one size are a look, whatever number of draws another size has."""
    finish(ledger, planned=9)
    finish(ledger, planned=2, size=10)
    finish(ledger, planned=3, size=10)
    assert counts(ledger) == [[[2, 2]]]
