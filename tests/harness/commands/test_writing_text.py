"""Tasks that write text, from the command line: run, report, predict, and what is refused."""

import json
import zlib

import pytest

from harness.artefacts import restore
from harness.commands import predict
from harness.ledger import Ledger
from harness.outcome import unpack_predictions
from harness.results.runs import runs
from harness.tasks import draws
from harness.tasks.text_metrics import bleu

TABLE = "subject : anna | action : buy | object : hat | number : two | place : oslo"


@pytest.fixture(scope="module")
def study(bench, tmp_path_factory):
    """A folder with a study of two methods on tables."""
    folder = tmp_path_factory.mktemp("texts")
    ended = bench(
        folder, "run", "--methods", "zero-shot,prefix", "--tasks", "toy-table-to-text", "--model", "tiny-gpt",
        "--sizes", 50, "--draws", 1, "--steps", 100, "--test-limit", 60, "--zeroed", "--keep", "all",
        "--db", "r.db", "-j", 1,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    with Ledger(str(folder / "r.db")) as ledger:
        entries = {entry.label: entry for entry in ledger.entries()}
        blobs = {label: ledger.blobs(entry.digest) for label, entry in entries.items()}
    return folder, entries, blobs


@pytest.mark.slow
def test_a_prefix_learns_to_tell_tables(study):
    """It exceeds the floor by 10 points of BLEU, and falls to the floor without its tensors."""
    _, entries, _ = study
    floor = entries["zero-shot"].metrics["bleu"]
    assert entries["prefix"].metrics["bleu"] > floor + 0.1
    assert entries["prefix"].metrics["zeroed bleu"] == pytest.approx(floor)


@pytest.mark.slow
def test_texts_references_and_their_scores_are_stored(study):
    """A text, its references and a score for each test row; the mean of the scores is BLEU."""
    _, entries, blobs = study
    for label, entry in entries.items():
        texts = unpack_predictions(blobs[label]["predictions"])
        references = unpack_predictions(blobs[label]["labels"])
        scores = unpack_predictions(blobs[label]["row_scores"])
        assert len(texts) == len(references) == len(scores) == 60
        assert all(isinstance(text, str) for text in texts)
        assert all(isinstance(of_text, tuple) and of_text for of_text in references)
        assert sum(scores) / 60 == pytest.approx(entry.metrics["bleu"], abs=1e-6)


@pytest.mark.slow
def test_a_report_has_all_metrics_and_no_constant_row(study, bench):
    """`--full` prints BLEU, chrF and ROUGE with their settings; a text has no majority."""
    folder, _, _ = study
    shown = bench(folder, "report", "--db", "r.db", "--full", "--format", "markdown").out
    for title in ("BLEU", "chrF", "repetition ↓", "ROUGE-L", "sacrebleu", "tokens 13a"):
        assert title in shown
    assert "constant" not in shown
    assert "majority" not in shown
    assert bench(folder, "report", "--db", "r.db", "--format", "html", "-o", "r.html").code == 0


@pytest.mark.slow
def test_a_report_shows_what_each_method_wrote(study, bench):
    """For three rows spread over the test rows: the source, a reference, and the stored text of each method."""
    folder, entries, blobs = study
    shown = bench(folder, "report", "--db", "r.db", "--full", "--format", "markdown").out
    _, _, table = shown.partition("Some texts of toy-table-to-text, size 50")
    for row in (10, 30, 50):
        source = unpack_predictions(blobs["prefix"]["sources"])[row]
        references = unpack_predictions(blobs["prefix"]["labels"])[row]
        for text in (source.replace("|", "\\|"), references[0]):
            assert text in table
        for label in entries:
            text = unpack_predictions(blobs[label]["predictions"])[row]
            assert f"| {label} | {text or '(nothing)'}" in table


@pytest.mark.slow
def test_a_trained_model_writes_for_a_text_of_the_user(study, bench):
    """`predict` prints a sentence that names the facts; `db verify` trains to the same bits again."""
    folder, entries, _ = study
    digest = entries["prefix"].digest
    ended = bench(folder, "predict", digest, TABLE, "--db", "r.db", "--json")
    assert ended.code == 0, ended.err
    answer = json.loads(ended.out)["answer"]
    assert {"anna", "two"} <= set(answer.split())
    verified = bench(folder, "db", "verify", "--rerun", "100%", "--db", "r.db")
    assert verified.code == 0, verified.out + verified.err


@pytest.mark.slow
def test_a_dev_score_by_loss_does_not_stand_beside_bleu(study):
    """A run for a report has no dev score where dev texts were scored by their loss."""
    folder, entries, blobs = study
    with Ledger(str(folder / "r.db")) as ledger:
        read = runs(ledger.entries(), {entries[label].digest: blobs[label] for label in entries})
    assert [run.dev_score for run in read] == [None, None]
    assert all(entry.result["dev_score"] is not None for entry in entries.values())


@pytest.mark.slow
def test_a_checkpoint_can_be_chosen_by_the_texts_that_it_writes(bench, tmp_path):
    """With `--dev-score metric`, the dev score is the BLEU of what the selected checkpoint writes for the dev rows."""
    ended = bench(
        tmp_path, "run", "--methods", "simplex", "--tasks", "toy-table-to-text", "--model", "tiny-gpt",
        "--sizes", 20, "--draws", 1, "--steps", 60, "--eval-every", 20, "--test-limit", 10, "--keep", "all",
        "--db", "r.db", "-j", 1, "--dev-score", "metric",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    with Ledger(str(tmp_path / "r.db")) as ledger:
        (entry,) = ledger.entries()
        curve = json.loads(zlib.decompress(ledger.blobs(entry.digest)["curve"]))
    stored = restore.load(str(tmp_path / "r.db"), entry.digest)
    reader = stored.task.reader
    draw = draws.draw(
        stored.task, lambda split: reader.examples(split, reader.revision()), 20, 0, stored.recipe
    )
    answers = predict.predict_texts(stored, [row.texts for row in draw.dev])
    score = bleu([answer["answer"] for answer in answers], [row.references for row in draw.dev])
    assert score == pytest.approx(entry.result["dev_score"], abs=1e-6)
    assert score == pytest.approx(max(point[2] for point in curve), abs=1e-6)
    assert "dev texts written" in stored.recipe.line()
    with Ledger(str(tmp_path / "r.db")) as ledger:
        (run,) = runs(ledger.entries(), {})
    assert run.dev_score == entry.result["dev_score"]


def test_methods_that_cannot_write_are_named(bench, tmp_path):
    """A plan says why a method cannot write text, or cannot classify; `all` leaves it out."""
    words = ("plan", "--model", "tiny-gpt", "--sizes", 50, "--draws", 1)
    ended = bench(
        tmp_path, *words, "--methods", "head,unipelt,zero-shot,prefix", "--tasks", "toy-table-to-text,toy-sentiment"
    )  # fmt: skip
    assert "it trains only a head" in ended.out
    assert "still to be written" in ended.out
    assert "it trains no classifier" in ended.out
    everything = bench(tmp_path, *words, "--methods", "all", "--tasks", "toy-table-to-text").out
    assert "zero-shot" in everything
    assert "features" not in everything
    refused = bench(
        tmp_path, *words, "--methods", "prefix", "--tasks", "toy-table-to-text", "--per-class"
    )
    assert "needs a task with classes" in refused.err
