"""Which results of a ledger a report reads."""

from dataclasses import replace

import pytest

from harness.jobs import Recipe
from harness.ledger import Ledger
from harness.results.query import ResultQuery
from harness.results.runs import runs_of


@pytest.fixture
def db(tmp_path):
    return str(tmp_path / "r.db")


@pytest.fixture
def add(db, make_outcome):
    """A function that adds jobs, and results of those that are to be done."""

    def to(jobs, *, done=True):
        with Ledger(db, write=True) as ledger:
            ledger.begin("bench run")
            ledger.add_jobs(jobs)
            if done:
                for claim in ledger.claim([job.digest for job in jobs], len(jobs)):
                    (job,) = (job for job in jobs if job.digest == claim.digest)
                    assert ledger.record(make_outcome(job), claim.number)

    return to


def test_a_recipe_without_a_result_does_not_stand_in_the_way(db, add, make_job, capsys):
    """A run that was broken off before its first result leaves the report of other results as it was."""
    jobs = [make_job(method, draw) for method in ("lora", "prefix") for draw in range(2)]
    add(jobs)
    add([replace(job, recipe=Recipe(steps=900)) for job in jobs], done=False)
    found, *_ = runs_of(ResultQuery(db=db))
    assert {run.digest for run in found} == {job.digest for job in jobs}
    assert capsys.readouterr().err == ""


def test_planned_jobs_of_a_recipe_with_results_are_missing_runs(db, add, make_job):
    """They are not left out: the report says that results are missing."""
    add([make_job("lora", 0)])
    add([make_job("lora", 1), make_job("prefix", 0)], done=False)
    found, *_ = runs_of(ResultQuery(db=db))
    assert sorted(run.status for run in found) == ["done", "missing", "missing"]


def test_new_data_without_a_result_do_not_hide_earlier_results(db, add, make_job, capsys):
    """A file that was edited becomes the task's data with the first result on it."""
    old = [make_job(method) for method in ("lora", "prefix")]
    new = [replace(job, draw=replace(job.draw, revision="g2")) for job in old]
    add(old)
    add(new, done=False)
    assert {run.digest for run in runs_of(ResultQuery(db=db))[0]} == {job.digest for job in old}
    assert capsys.readouterr().err == ""
    add(new)
    assert {run.digest for run in runs_of(ResultQuery(db=db))[0]} == {job.digest for job in new}
    assert "left out 2 results of that name on other data" in capsys.readouterr().err
