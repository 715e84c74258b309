"""The trained model with the best dev scores."""

from dataclasses import replace

import pytest

from harness.errors import Unavailable, UsageError
from harness.ledger import Ledger
from harness.results import best_model, expected_score
from harness.results.query import ResultQuery


@pytest.fixture(scope="module")
def stored(bench, tmp_path_factory):
    """A ledger of two methods on two draws of two sizes, and on one more draw that one method lacks."""
    folder = tmp_path_factory.mktemp("best")
    words = ("--tasks", "toy-sentiment", "--sizes", "20,40", "--keep", "all", "-j", 1)
    for methods, draws in (("lora,features", 2), ("features", 3)):
        ended = bench.run(folder, "r.db", *words, "--methods", methods, "--draws", draws)
        assert ended.code == 0, ended.err
    return folder


def entries_of(folder):
    with Ledger(str(folder / "r.db")) as ledger:
        return ledger.entries()


def chosen(monkeypatch, folder, entries, **query):
    """The entry that is chosen if these are the entries of the ledger."""
    monkeypatch.setattr(Ledger, "entries", lambda _, **__: entries)
    choice = best_model.choose(ResultQuery(db=str(folder / "r.db"), **query))
    return next(entry for entry in entries if entry.digest == choice.digest), choice.reason


def with_dev_scores(entries, score):
    """The entries with other dev scores."""
    return [
        replace(entry, result=dict(entry.result) | {"dev_score": score(entry)}) for entry in entries
    ]


def test_the_method_with_the_best_mean_dev_score_is_chosen(stored, monkeypatch):
    """Only draws of the greatest size count that all methods finished; of these, the best is exported."""
    entries = entries_of(stored)
    good = {("lora", 0): 0.5, ("lora", 1): 0.8, ("features", 0): 0.7, ("features", 1): 0.4}
    scores = with_dev_scores(
        entries, lambda e: good.get((e.label, e.draw), 1.0) if e.size == 40 else 1.0
    )
    entry, reason = chosen(monkeypatch, stored, scores)
    assert (entry.label, entry.size, entry.draw) == ("lora", 40, 1)
    assert "over 2 draws of 40: 65.0 (features 55.0)" in reason
    entry, reason = chosen(monkeypatch, stored, scores, methods="features")
    assert (entry.label, entry.draw) == ("features", 2)
    assert chosen(monkeypatch, stored, scores, sizes="20")[0].size == 20


def test_a_run_that_diverged_counts(stored, monkeypatch):
    """A method that diverged on one of two draws does not win by its better draw, and that draw is not exported."""
    entries = with_dev_scores(entries_of(stored), lambda e: 0.9 if e.label == "lora" else 0.6)
    assert chosen(monkeypatch, stored, entries)[0].label == "lora"
    lost = [
        replace(e, state="diverged") if (e.label, e.draw) == ("lora", 0) else e for e in entries
    ]
    assert chosen(monkeypatch, stored, lost)[0].label == "features"


def test_a_run_that_diverged_is_no_perfect_error(stored, monkeypatch):
    """Of errors, which are negated, 0 would be the best score: a run that diverged has the worst of all."""
    entries = with_dev_scores(entries_of(stored), lambda e: -0.3 if e.label == "lora" else -0.5)
    lost = [
        replace(e, state="diverged") if (e.label, e.draw) == ("features", 0) else e for e in entries
    ]
    entry, reason = chosen(monkeypatch, stored, lost)
    assert entry.label == "lora"
    assert "-30.0 (features -50.0)" in reason


def test_what_to_expect_rests_on_two_draws_at_least(stored):
    """Two seeds of one draw are one draw; a run that diverged, or another kind of test, gives no interval."""
    db = str(stored / "r.db")
    choice = best_model.choose(ResultQuery(db=db, methods="features"))
    found = expected_score.of_all_rows(db, choice, 400, interval=True)
    assert found.draws == 3
    assert 0 <= found.low < found.mean < found.high <= 1
    assert expected_score.of_all_rows(db, choice, 400, interval=False).low is None
    alone = [job for job in choice.best.jobs if job.draw == 0]
    single = replace(choice, best=replace(choice.best, jobs=alone), smaller=None)
    assert expected_score.of_all_rows(db, single, 400, interval=True).low is None
    seeds = replace(choice, best=replace(choice.best, jobs=[*alone, replace(alone[0], seed=1)]))
    assert expected_score.of_all_rows(db, seeds, 400, interval=True).low is None
    first, *rest = choice.best.jobs
    lost = [replace(first, state="diverged"), *rest]
    diverged = replace(choice, best=replace(choice.best, jobs=lost))
    assert expected_score.of_all_rows(db, diverged, 400, interval=True).low is None


def test_scores_that_cannot_be_compared_are_refused(stored, monkeypatch):
    """Dev scores of other recipes, or of another version of a method."""
    entries = entries_of(stored)
    other = dict(entries[0].setting) | {"recipe": dict(entries[0].setting["recipe"]) | {"steps": 7}}
    with pytest.raises(UsageError, match="2 recipes: choose one with --recipe"):
        chosen(monkeypatch, stored, [*entries[1:], replace(entries[0], setting=other)])
    method = dict(entries[0].setting["method"]) | {"version": 99}
    newer = replace(entries[0], setting=dict(entries[0].setting) | {"method": method})
    with pytest.raises(UsageError, match=r"--method-version .*:99"):
        chosen(monkeypatch, stored, [*entries[1:], newer])


def test_test_scores_change_no_choice(stored, monkeypatch):
    """Whatever the test scores are, the same job is chosen."""
    entries = entries_of(stored)
    first, _ = chosen(monkeypatch, stored, entries)
    for seed in range(5):
        other = [
            replace(entry, metrics={name: hash((seed, number)) % 97 / 97 for name in entry.metrics})
            for number, entry in enumerate(entries)
        ]
        assert chosen(monkeypatch, stored, other)[0].digest == first.digest


def test_what_cannot_be_chosen_is_said(stored, monkeypatch):
    """Several tasks, no such task, no common draw, and tensors that were not kept."""
    entries = entries_of(stored)
    with pytest.raises(Unavailable, match="no such finished job"):
        chosen(monkeypatch, stored, entries, tasks="toy-entailment")
    two = [*entries, replace(entries[0], task="other")]
    with pytest.raises(UsageError, match="--tasks: other, toy-sentiment"):
        chosen(monkeypatch, stored, two)
    apart = [replace(entry, fingerprint=entry.fingerprint + entry.label) for entry in entries]
    with pytest.raises(Unavailable, match="no draw was finished by all methods"):
        chosen(monkeypatch, stored, apart)
    dropped = [replace(entry, result=dict(entry.result) | {"artefact": None}) for entry in entries]
    with pytest.raises(Unavailable, match="were not kept"):
        chosen(monkeypatch, stored, dropped)


def test_the_best_model_is_exported_in_a_form_that_holds_it(stored, bench):
    """`bench export --best FOLDER` says what it chose and why; one that is named otherwise is refused."""
    out = stored / "out"
    ended = bench(stored, "export", "--best", out, "--db", "r.db", "--methods", "features")
    assert ended.code == 0, ended.err
    assert "features has the best mean dev score over 3 draws of 40" in ended.out
    assert (out / "model.safetensors").exists()
    assert bench(stored, "export", "--best", "ab12", stored / "x", "--db", "r.db").code == 2
    assert bench(stored, "export", "ab12", "--db", "r.db").code == 2
    ended = bench(stored, "export", "ab12", stored / "x", "--sizes", "40", "--db", "r.db")
    assert (ended.code, "are for --best" in ended.err) == (2, True)
