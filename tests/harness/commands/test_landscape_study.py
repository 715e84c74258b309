"""What lies around many kept models, job by job and through the command."""

import json
from dataclasses import replace
from statistics import fmean

import pytest

from harness.artefacts import restore
from harness.commands import landscape_study
from harness.commands.landscape_study import around, selected
from harness.commands.stored_runs import ResultQuery


@pytest.fixture(scope="module")
def folder(bench, tmp_path_factory):
    """A ledger with a simplex of three vertices, the same one tested by its samples' mean, and a prefix."""
    folder = tmp_path_factory.mktemp("surroundings")
    words = [
        "--methods",
        "simplex,prefix",
        "--set",
        "simplex.vertices=3",
        "--set",
        "simplex.test=centroid,mean-of-samples",
    ]
    ended = bench.run(folder, "r.db", *words, "--tasks", "toy-sentiment", "--draws", 1, "-j", 1)
    assert ended.code == 0, ended.err
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    """Its runs by method."""
    query = ResultQuery(db=str(folder / "r.db"))
    return {run.method: run for run in selected(query, None).all()}


def test_places_score_what_runs_recorded(folder, runs):
    """The centre has the run's own score; the mean answer of samples that of the run which is tested by it."""
    centred = next(
        run for name, run in runs.items() if name.startswith("simplex") and "mean" not in name
    )
    averaged = next(run for name, run in runs.items() if "mean-of-samples" in name)
    found = around(restore.load(str(folder / "r.db"), centred.digest), centred, 10_000, 2)
    assert found.centre == centred.score
    assert found.ensemble == averaged.score
    assert len(found.vertices) == 3
    assert len(found.samples) == 10
    assert found.barrier is not None


def test_a_single_model_has_no_vertices_and_dev_rows_will_do(folder, runs):
    """Only how flat it lies is seen of a prefix; without test rows scores are of the dev rows."""
    one = restore.load(str(folder / "r.db"), runs["prefix"].digest)
    found = around(one, runs["prefix"], 0, 2)
    assert found == around(one, runs["prefix"], 0, 2)
    assert (found.vertices, found.samples, found.ensemble, found.barrier) == ((), (), None, None)
    assert found.centre == runs["prefix"].dev_score
    assert found.rise != 0


def test_the_command_tells_of_all_kept_models(bench, folder, runs):
    """Tables on the terminal and numbers in a file; a model that is not at hand is left out, and that is said."""
    kept = folder / "r.db.artefacts" / f"{runs['prefix'].digest}.safetensors"
    kept.rename(kept.with_suffix(".away"))
    words = [
        "--methods",
        "prefix,simplex",
        "--directions",
        1,
        "--test-rows",
        10,
        "-o",
        "around.json",
    ]
    ended = bench(folder, "landscape", "--db", folder / "r.db", *words)
    kept.with_suffix(".away").rename(kept)
    assert ended.code == 0, ended.err
    assert "Centre against vertices and sampled models" in ended.out
    assert "2 looked at" in ended.out
    assert "Left out" in ended.out
    models = json.loads((folder / "around.json").read_text("utf-8"))["models"]
    assert len(models) == 2
    assert all(0 <= fmean(model["samples"]) <= 1 for model in models)


def test_runs_that_failed_are_told_of(folder, monkeypatch, capsys):
    """They left no model to look at, but are not left out in silence."""
    query = ResultQuery(db=str(folder / "r.db"), methods="prefix,simplex")
    frame = selected(query, None)
    index = {
        key: replace(run, status="failed", score=None) if key[0] == "prefix" else run
        for key, run in frame.index.items()
    }
    monkeypatch.setattr(landscape_study, "selected", lambda *_: replace(frame, index=index))
    landscape_study.show_surroundings(query, None, 10, 1, None)
    shown = capsys.readouterr().out
    assert "1 runs, which failed or diverged: their pairs are lost" in shown
    assert "2 looked at" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "digest"),
        (("--methods", "lora"), "no run is left"),
        (("--methods", "prefix", "-o", "figure.svg"), ".json"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(bench, folder, words, said):
    """Nothing chosen, nothing of that name, or a figure of many models."""
    ended = bench(folder, "landscape", "--db", folder / "r.db", *words)
    assert ended.code == 2
    assert said in ended.err


def test_without_tensors_there_is_nothing_to_see(bench, tmp_path):
    """The example's results come without their models, and that is said."""
    from tests.conftest import ROOT

    ended = bench(
        tmp_path,
        "landscape",
        "--db",
        ROOT / "results.db.example",
        "--methods",
        "simplex",
        "--tasks",
        "toy-sentiment",
    )
    assert ended.code == 2
    assert "none of the selected models can be looked at" in ended.err
