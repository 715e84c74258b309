"""The model for use: the best method of a study, trained on all labelled rows."""

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from harness.artefacts import restore
from harness.commands import predict
from harness.commands.fit import fit
from harness.ledger import Ledger
from harness.study.grid_options import GridOptions
from methods import suitable

pytestmark = pytest.mark.slow  # every test trains

STUDY = ("--model", "tiny", "--sizes", "16,32", "--draws", "2", "--steps", "8", "--eval-every", "4")
OWN = ("--data", "rows.csv", "--text", "text", "--label", "label")
TEXTS = [("visit 3 was good and nice",), ("visit 4 was bad and dull",)]


def write_rows(path, cells, header=("text", "label")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *cells])


def reviews(count=80):
    """Rows of two classes, a quarter of which have a word of the other class."""
    return [
        (
            f"visit {n} was {('bad', 'good')[n % 2]} and {('dull', 'nice')[(n + (n % 8 > 5)) % 2]}",
            ("no", "yes")[n % 2],
        )
        for n in range(count)
    ]


@pytest.fixture
def study(bench, tmp_path):
    """Return a function that runs a study of methods on a file in a folder, and its model's folder."""

    def run(names, *words, cells=None, data=OWN, folder="model"):
        if not (tmp_path / "rows.csv").exists():
            write_rows(tmp_path / "rows.csv", cells or reviews())
        options = (*STUDY, *data, "--methods", names, *words, "--db", "r.db")
        ended = bench(tmp_path, "run", *options, "--yes", "-j", 1)
        assert ended.code == 0, ended.err
        return bench(tmp_path, "fit", folder, *options), tmp_path / folder

    return run


def test_every_method_is_trained_on_all_rows_and_answers_in_a_new_process(bench, tmp_path):
    """A card has the rows and an expectation; a folder gives equal chances and class names, without a database."""
    write_rows(tmp_path / "rows.csv", reviews())
    names, db = suitable(writes=False), tmp_path / "r.db"
    words = (*STUDY, *OWN, "--methods", ",".join(names), "--db", "r.db")
    ended = bench(tmp_path, "run", *words, "--yes", "-j", 1)
    assert ended.code == 0, ended.err
    grid = GridOptions(data=tmp_path / "rows.csv", text="text", label="label", model="tiny", sizes="16,32",
                       draws="2", steps="8", eval_every="4")  # fmt: skip
    for name in names:
        fit(replace(grid, methods=name), str(db), tmp_path / name)
        card = (tmp_path / name / "README.md").read_text()
        assert re.search(r"Trained on (all 80|64 of 80) labelled rows", card)  # 4 steps read 64
        assert re.search(
            r"Expect [\d.]+ to [\d.]+ \(accuracy; 95 % interval for this one model\)", card
        )
        assert "on the test rows of 2 draws" in card
    db.unlink()
    answers = {
        name: predict.predict_texts(restore.load_folder(tmp_path / name), TEXTS) for name in names
    }
    code = (
        "import json, sys; from pathlib import Path; from harness.artefacts import restore; "
        "from harness.commands import predict; texts = [tuple(one) for one in json.loads(sys.argv[2])]; "
        "print(json.dumps({folder.name: predict.predict_texts(restore.load_folder(folder), texts) "
        "for folder in Path(sys.argv[1]).iterdir() if (folder / 'job.json').exists()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path, json.dumps(TEXTS)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == answers
    assert all(
        set(one["probabilities"]) == {"no", "yes"} for rows in answers.values() for one in rows
    )


def test_labels_of_test_rows_change_nothing(study, tmp_path):
    """With other labels of the test rows, the same method is chosen and trained to the same tensors."""
    models = []
    for turn in (0, 1):
        (tmp_path / "r.db").unlink(missing_ok=True)
        write_rows(
            tmp_path / "test.csv",
            [(text, ("no", "yes")[(label == "yes") ^ turn]) for text, label in reviews(40)],
        )
        ended, folder = study("features,lora,head", "--test", "test.csv", folder=f"model{turn}")
        assert ended.code == 0, ended.err
        models.append((ended.out.split()[0], (folder / "model.safetensors").read_bytes()))
        with Ledger(str(tmp_path / "r.db")) as ledger:
            scores = {entry.metrics["score"] for entry in ledger.entries()}
        models[-1] += (scores,)
    assert models[0][:2] == models[1][:2]
    assert models[0][2] != models[1][2]  # the test scores are others


def test_numbers_and_sets_of_classes_and_texts(study, bench, tmp_path):
    """A model of each kind of label; sets of classes have the threshold that dev rows chose."""
    for kind, name, cells, answer in (
        ("number", "lora", [(text, str(n % 7)) for n, (text, _) in enumerate(reviews())], float),
        (
            "multilabel",
            "features",
            [(text, json.dumps([label])) for text, label in reviews()],
            list,
        ),
    ):
        write_rows(tmp_path / "rows.csv", cells)
        (tmp_path / "r.db").unlink(missing_ok=True)
        ended, folder = study(name, "--kind", kind, folder=kind)
        assert ended.code == 0, ended.err
        stored = restore.load_folder(folder)
        assert all(
            isinstance(one["answer"], answer) for one in predict.predict_texts(stored, TEXTS)
        )
        if kind == "multilabel":
            thresholds = set()
            with Ledger(str(tmp_path / "r.db")) as ledger:
                for entry in ledger.entries():
                    if entry.size == 32:
                        model = restore.load(str(tmp_path / "r.db"), entry.digest)
                        thresholds.add(model.metadata["scale"]["threshold"])
            assert min(thresholds) <= stored.metadata["scale"]["threshold"] <= max(thresholds)
    (tmp_path / "r.db").unlink()  # of errors, less is better
    write_rows(tmp_path / "rows.csv", [(text, str(n % 7)) for n, (text, _) in enumerate(reviews())])
    ended, folder = study("features", "--kind", "number", "--metrics", "rmse", folder="errors")
    assert ended.code == 0, ended.err
    low, high = re.search(
        r"Expect ([-\d.]+) to ([-\d.]+) \(", (folder / "README.md").read_text()
    ).groups()
    assert 0 <= float(low) < float(high)
    assert not low.startswith("-")
    words = ("--model", "tiny-gpt", "--tasks", "toy-table-to-text", "--methods", "prefix", "--sizes", "16",
             "--draws", "2", "--steps", "4", "--test-limit", "10", "--db", "t.db")  # fmt: skip
    assert bench(tmp_path, "run", *words, "--yes", "-j", 1).code == 0
    ended = bench(tmp_path, "fit", "texts", *words)
    assert ended.code == 0, ended.err
    (written,) = predict.predict_texts(
        restore.load_folder(tmp_path / "texts"), [("subject : anna",)]
    )
    assert isinstance(written["answer"], str)


def test_other_forms_are_exported_from_the_folder(study, bench, tmp_path):
    """`bench export FOLDER` takes a model of `fit`; a form that cannot hold it is refused with those that can."""
    ended, folder = study("lora", "--pooling", "model")
    assert ended.code == 0, ended.err
    assert bench(tmp_path, "export", folder, "merged", "--format", "transformers").code == 0
    card = (tmp_path / "merged" / "README.md").read_text()
    assert re.search(r"Trained on (all 80|64 of 80) labelled rows", card)
    assert "pipeline(" in card
    assert bench(tmp_path, "export", folder, "adapted").code == 0  # PEFT's format
    refused = bench(tmp_path, "export", folder, "more", "--at", "1")
    assert (refused.code, "holds one point" in refused.err) == (2, True)


def test_what_cannot_be_fitted_is_refused(study, bench, tmp_path):
    """A folder that exists, two tasks, other options than those that ran, and methods that all diverged."""
    ended, _ = study("head")
    assert ended.code == 0, ended.err
    same = (*STUDY, *OWN, "--methods", "head", "--db", "r.db")
    for words, code, why in (
        (("model", *same), 2, "model exists"),
        (("new", *same[:-4], "--methods", "bitfit", "--db", "r.db"), 69, "no such finished job"),
        (("new", *same, "--tasks", "toy-sentiment"), 2, "fit trains on one task"),
        (("new", *STUDY, "--tasks", "toy-sentiment", "--db", "none.db"), 69, "none.db"),
    ):
        refused = bench(tmp_path, "fit", *words)
        assert (refused.code, why in refused.err) == (code, True), refused.err
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "none.db").exists()
