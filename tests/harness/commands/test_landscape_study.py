"""`bench landscape` without a digest: the points of many trained models."""

import json
from dataclasses import replace
from statistics import fmean

import pytest

from harness.artefacts import restore
from harness.commands import landscape_study
from harness.commands.landscape_study import evaluate_model, paired_runs_of
from harness.results.query import ResultQuery

pytestmark = pytest.mark.slow  # every test trains or loads a model


@pytest.fixture(scope="module")
def folder(bench, tmp_path_factory):
    """The folder of a ledger with a prefix and a simplex of three vertices, tested at its centre and by samples."""
    folder = tmp_path_factory.mktemp("study")
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
    """The ledger's runs by method."""
    query = ResultQuery(db=str(folder / "r.db"))
    return {run.method: run for run in paired_runs_of(query, None).all()}


def test_centre_and_ensemble_have_the_recorded_scores(folder, runs):
    """The ensemble's score is that of the run with `test=mean-of-samples`."""
    centred = next(
        run for name, run in runs.items() if name.startswith("simplex") and "mean" not in name
    )
    averaged = next(run for name, run in runs.items() if "mean-of-samples" in name)
    stored = restore.load(str(folder / "r.db"), centred.digest)
    result = evaluate_model(stored, centred, 10_000, 2)
    assert result.centre == centred.score
    assert result.ensemble == averaged.score
    assert len(result.vertices) == 3
    assert len(result.samples) == 10
    assert result.barrier is not None


def test_a_prefix_has_a_flatness_but_no_vertices(folder, runs):
    """Without test rows, the scores are dev scores; a second evaluation is equal."""
    stored = restore.load(str(folder / "r.db"), runs["prefix"].digest)
    result = evaluate_model(stored, runs["prefix"], 0, 2)
    assert result == evaluate_model(stored, runs["prefix"], 0, 2)
    assert (result.vertices, result.samples, result.ensemble, result.barrier) == (
        (),
        (),
        None,
        None,
    )
    assert result.centre == runs["prefix"].dev_score
    assert result.rise != 0


def test_the_command_evaluates_all_kept_models(bench, folder, runs):
    """It prints tables and writes numbers; a model without tensors is left out, and the page says so."""
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
        "study.json",
    ]
    ended = bench(folder, "landscape", "--db", folder / "r.db", *words)
    kept.with_suffix(".away").rename(kept)
    assert ended.code == 0, ended.err
    assert "Centre against vertices and sampled models" in ended.out
    assert "2 evaluated" in ended.out
    assert "Skipped" in ended.out
    models = json.loads((folder / "study.json").read_text("utf-8"))["models"]
    assert len(models) == 2
    assert all(0 <= fmean(model["samples"]) <= 1 for model in models)


def test_failed_runs_are_reported(folder, monkeypatch, capsys):
    """They have no model to evaluate; the page gives their number."""
    query = ResultQuery(db=str(folder / "r.db"), methods="prefix,simplex")
    paired_runs = paired_runs_of(query, None)
    index = {
        key: replace(run, status="failed", score=None) if key[0] == "prefix" else run
        for key, run in paired_runs.index.items()
    }
    monkeypatch.setattr(
        landscape_study, "paired_runs_of", lambda *_: replace(paired_runs, index=index)
    )
    landscape_study.show_study(query, None, 10, 1, None)
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "1 run failed, diverged or without a finite score; the pairs of these runs are lost"
        in shown
    )
    assert "2 evaluated" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "digest"),
        (("--methods", "lora"), "no run matches"),
        (("--methods", "prefix", "-o", "figure.svg"), ".json"),
    ],
)
def test_an_invalid_request_is_refused(bench, folder, words, message):
    """No query, a query without a match, or a figure of several models."""
    ended = bench(folder, "landscape", "--db", folder / "r.db", *words)
    assert ended.code == 2
    assert message in ended.err


def test_results_without_tensors_are_refused(bench, tmp_path):
    """The example's results come without tensors, and the message says so."""
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
    assert "none of the requested models can be evaluated" in ended.err
