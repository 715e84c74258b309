"""Trained models leave the ledger and work elsewhere."""

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from harness.artefacts import restore
from harness.commands import export, predict
from harness.errors import UsageError
from harness.ledger import Ledger
from tests.support.hub_server import hub_server, repository_requests
from tests.support.stored_models import as_task

pytestmark = pytest.mark.slow  # every test trains or loads a model

# A process that knows nothing of this program: stock transformers and PEFT. Reads folders and
# numbers of outputs.
LOAD = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer
texts, found = json.loads(sys.argv[1]), {}
for folder, outputs in json.loads(sys.argv[2]).items():
    name = json.load(open(folder + "/adapter_config.json"))["base_model_name_or_path"]
    base = AutoModelForSequenceClassification.from_pretrained(name, num_labels=outputs, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(name)
    with torch.no_grad():
        found[folder] = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits.tolist()
print(json.dumps(found))
assert "harness" not in sys.modules
"""
TEXTS = [
    "the film was clever",
    "although the play was not dull the concert was really weak",
    "anna smiled",
]
PAIRS = ["a film", "the play was dull"]


@pytest.fixture(scope="module")
def trained(bench, tmp_path_factory):
    """A ledger with trained models of several methods, on classes and on a number."""
    folder = tmp_path_factory.mktemp("trained")
    plain = ("--methods", "prefix,lora,adapter,simplex,fine-tuning", "--set", "lr=5e-3")
    more = (
        *(
            "--methods",
            "prefix,prompt,simplex-prompt,lora,simplex-lora,head,features",
            "--set",
            "prefix.decoder=simple-share",
        ),
        *(
            "--set",
            "pool=prompt,text",
            "--set",
            "lora.rslora=true",
            "--set",
            "simplex-lora.mix=product",
        ),
    )
    words = ("--tasks", "toy-sentiment,toy-similarity", "--draws", 1, "-j", 1)
    for one in (plain, more):
        ended = bench.run(folder, "r.db", *words, *one)
        assert ended.code == 0, ended.err
    return folder


def digest(folder, label, task):
    """The digest of the one job of a method on a task, by the method's label without its rate."""
    with Ledger(str(folder / "r.db")) as ledger:
        labels = {
            e.digest: re.sub(r"\(lr=0.005\)|, lr=0.005|lr=0.005, ", "", e.label)
            for e in ledger.entries()
            if e.task == task
        }
    (found,) = (digest for digest, other in labels.items() if other == label)
    return found


def ours(folder, name, texts, at=None):
    """Logits by this program; of a regression the answers in the labels' own units."""
    one = restore.load(str(folder / "r.db"), name)
    found = predict.predict_texts(one, [(text,) for text in texts], at)
    return [list(f["probabilities"].values()) if one.labels else [f["answer"]] for f in found]


EXPORTS = [
    ("prefix", None),
    ("lora", None),
    ("simplex", None),
    ("simplex", "2"),
    ("simplex", ".5,.5,0,0,0,0"),
    ("prefix(decoder=simple-share)", None),
    ("prompt(pool=prompt)", None),
    ("simplex(base=prompt, pool=prompt)", "3"),
    ("lora(rslora=true)", None),
    ("simplex(base=lora, mix=product)", None),
    ("simplex(base=lora, mix=product)", "5"),
    ("simplex(base=lora, mix=product)", ".1,.2,.3,.4,0,0"),
]
NUMBERED = [
    (*case, task, outputs)
    for case in EXPORTS
    for task, outputs in (("toy-sentiment", 2), ("toy-similarity", 1))
]


@pytest.fixture(scope="module")
def in_peft(trained, tmp_path_factory):
    """What `PeftModel.from_pretrained` makes of every export, in one process of its own; and the cards."""
    where, folders = tmp_path_factory.mktemp("exports"), {}
    for number, (label, at, task, outputs) in enumerate(NUMBERED):
        folder = where / str(number)
        export.export_job(str(trained / "r.db"), digest(trained, label, task), folder, "peft", at)
        folders[str(folder)] = outputs
    words = [sys.executable, "-c", LOAD, json.dumps(TEXTS), json.dumps(folders)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    logits = list(json.loads(done.stdout).values())
    cards = [(where / str(number) / "README.md").read_text() for number in range(len(NUMBERED))]
    return dict(zip(NUMBERED, zip(logits, cards, strict=True), strict=True))


@pytest.mark.parametrize("case", NUMBERED, ids=str)
def test_an_export_gives_the_same_answers_in_peft(trained, in_peft, case):
    """`PeftModel.from_pretrained` in a new process gives the same logits at the centroid, a vertex and a point."""
    import torch

    label, at, task, outputs = case
    logits, card = in_peft[case]
    theirs = torch.tensor(logits).softmax(1) if outputs == 2 else torch.tensor(logits)
    name = digest(trained, label, task)
    assert torch.allclose(torch.tensor(ours(trained, name, TEXTS, at)), theirs, rtol=0, atol=1e-5)
    assert task in card
    assert name in card


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("prompt", "trained with pool=text"),
        ("fine-tuning(layers=none)", "not fine-tuning"),
        ("features", "not features"),
    ],
)
def test_what_peft_would_compute_otherwise_is_refused(bench, trained, tmp_path, label, why):
    """The reason and the way out; nothing is written."""
    name = digest(trained, label, "toy-sentiment")
    ended = bench(trained, "export", name, tmp_path / "out", "--db", "r.db")
    assert (ended.code, why in ended.err, "--format safetensors" in ended.err) == (2, True, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "label", ["features", "fine-tuning(layers=none)", "prompt", "simplex(base=lora, mix=product)"]
)
def test_what_was_trained_answers_as_it_was_tested(trained, label):
    """Read back, each model answers the test rows as it did after its training."""
    from harness.tasks import draws

    one = restore.load(str(trained / "r.db"), digest(trained, label, "toy-sentiment"))
    read = draws.draw(
        one.task,
        lambda split: one.task.reader.examples(split, one.entry.setting["task"]["revision"]),
        20,
        0,
        one.recipe,
    )
    found = predict.predict_texts(one, [row.texts for row in read.tests[""]])
    assert [one.labels.index(answer["answer"]) for answer in found] == list(one.predictions)


def test_vertices_answer_differently(trained):
    """The points of a simplex are different models."""
    name = digest(trained, "simplex", "toy-sentiment")
    answers = [ours(trained, name, TEXTS, at) for at in (None, "1", "6")]
    assert answers[0] != answers[1] != answers[2]


def test_what_peft_has_no_place_for_is_refused_with_the_way_out(bench, trained, tmp_path):
    """Adapters go out as safetensors; PEFT's folder for them is refused, and nothing is written."""
    name = digest(trained, "adapter", "toy-sentiment")
    ended = bench(trained, "export", name, tmp_path / "out", "--db", "r.db")
    assert (ended.code, "--format safetensors" in ended.err) == (2, True)
    assert not (tmp_path / "out").exists()
    assert (
        bench(
            trained, "export", name, tmp_path / "out", "--db", "r.db", "--format", "safetensors"
        ).code
        == 0
    )
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_a_backbone_that_was_not_kept_is_named(bench, trained, tmp_path):
    """Whole backbones are not kept by default; the message says how they would be."""
    name = digest(trained, "fine-tuning", "toy-sentiment")
    ended = bench(trained, "export", name, tmp_path / "out", "--db", "r.db")
    assert (ended.code, "--keep all" in ended.err) == (69, True)


def test_changed_tensors_are_never_used(bench, trained):
    """A byte of the file changed: the export refuses it and leaves it as it is."""
    name = digest(trained, "lora", "toy-similarity")
    path = trained / "r.db.artefacts" / f"{name}.safetensors"
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        assert bench(trained, "predict", name, "a text", "--db", "r.db").code == 65
    finally:
        path.write_bytes(before)


def test_predict_answers_with_classes_or_a_number(bench, trained):
    """One text gives a class with its chances; a pair on a task of values gives a number."""
    sentiment = bench(
        trained,
        "predict",
        digest(trained, "lora", "toy-sentiment"),
        TEXTS[0],
        "--db",
        "r.db",
        "--json",
    )
    found = json.loads(sentiment.out)
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    assert found["answer"] == max(found["probabilities"], key=found["probabilities"].get)
    similarity = bench(
        trained,
        "predict",
        digest(trained, "simplex", "toy-similarity"),
        *PAIRS,
        "--db",
        "r.db",
        "--at",
        "3",
    )
    assert similarity.code == 0
    float(similarity.out)


@pytest.mark.parametrize("at", ["7", "0", "x", ".5,.5", "2,-1,0,0,0,0"])
def test_points_that_do_not_exist_are_refused(bench, trained, at):
    """A vertex that is not there, weights that do not fit or do not sum to 1."""
    name = digest(trained, "simplex", "toy-sentiment")
    ended = bench(trained, "predict", name, "a text", "--db", "r.db", "--at", at)
    assert (ended.code, "--at" in ended.err) == (2, True)


# -- files of rows
# -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(bench, tmp_path_factory):
    """A ledger with a model trained on a file of the user's own, whose class names begin like formulas."""
    folder = tmp_path_factory.mktemp("own")
    rows = [
        (f"the film was {word} {number}", name)
        for number in range(40)
        for word, name in (("fine", "=good"), ("dull", "+bad"))
    ]
    with (folder / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("review", "verdict"), *rows])
    description = """
name = "reviews"
data = "reviews.csv"
text = "review"
label = "verdict"
metrics = ["accuracy", "macro-f1"]
"""
    (folder / "task.toml").write_text(description)
    words = (
        "--task-file",
        "task.toml",
        "--methods",
        "lora",
        "--draws",
        1,
        "--set",
        "lr=5e-3",
        "-j",
        1,
    )
    assert bench.run(folder, "r.db", *words).code == 0
    return folder


def predicted(bench, folder, name, *words):
    """The rows that `predict --csv` gives, as a spreadsheet's reader sees them."""
    ended = bench(folder, "predict", name, "--db", "r.db", *words)
    assert ended.code == 0, ended.err
    return list(csv.DictReader(ended.out.splitlines()))


def test_rows_of_a_file_come_back_with_their_answers(bench, trained, tmp_path):
    """Every cell stays as it was, in its order, and each row has the class and the chances that its text alone gets."""
    name = digest(trained, "lora", "toy-sentiment")
    path, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    texts = [*TEXTS, 'a "quoted", long\nfilm']
    rows = [{"id": f"=1+{number}", "said": text, "more": "-5"} for number, text in enumerate(texts)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    ended = bench(
        trained, "predict", name, "--db", "r.db", "--csv", path, "--text", "said", "-o", out
    )
    assert ended.code == 0, ended.err
    with out.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["id", "said", "more", "answer", "p(negative)", "p(positive)"]
    assert [{name: row[name] for name in rows[0]} for row in found] == rows
    for row, chances in zip(found, ours(trained, name, texts), strict=True):
        assert [float(row["p(negative)"]), float(row["p(positive)"])] == pytest.approx(
            chances, abs=1e-5
        )
        assert row["answer"] == ("negative", "positive")[chances[1] > chances[0]]
    assert [file.name for file in tmp_path.iterdir() if file not in (path, out)] == []


@pytest.mark.parametrize("task", ["toy-sentiment", "toy-similarity"])
def test_every_exported_folder_answers_as_its_job_does(trained, tmp_path, task):
    """Of every method, and of a vertex: the folder alone gives equal answers and chances."""
    db = str(trained / "r.db")
    texts = [tuple(PAIRS)] if task == "toy-similarity" else [(text,) for text in TEXTS[:2]]
    with Ledger(db) as ledger:
        digests = [e.digest for e in ledger.entries() if e.task == task and e.result["artefact"]]
    assert len(digests) > 9  # all methods but fine-tuning, whose weights were not kept
    points = [(one, None) for one in digests] + [(digest(trained, "simplex", task), "2")]
    for name, at in points:
        folder = tmp_path / f"{name}-{at}"
        export.export_job(db, name, folder, "safetensors", at)
        alone = predict.predict_texts(restore.load_folder(folder), texts)
        assert alone == predict.predict_texts(restore.load(db, name), texts, at)
        assert "bench predict FOLDER" in (folder / "README.md").read_text()


def test_a_folder_is_read_where_no_database_is(bench, trained, tmp_path):
    """`bench predict FOLDER` prints what `bench predict DIGEST` prints."""
    name = digest(trained, "lora", "toy-sentiment")
    bench(trained, "export", name, tmp_path / "out", "--db", "r.db", "--format", "safetensors")
    asked = bench(trained, "predict", name, TEXTS[0], "--db", "r.db")
    found = bench(tmp_path, "predict", "out", TEXTS[0])
    assert (found.code, found.out) == (0, asked.out)


def test_a_folder_that_holds_no_model_is_refused(bench, trained, tmp_path):
    """Another format, a damaged description, and a point, which was chosen at the export."""
    (tmp_path / "empty").mkdir()
    ended = bench(tmp_path, "predict", "empty", "a text")
    assert (ended.code, "--format safetensors" in ended.err) == (2, True)
    name = digest(trained, "simplex", "toy-sentiment")
    out = tmp_path / "out"
    bench(trained, "export", name, out, "--db", "r.db", "--format", "safetensors", "--at", "2")
    ended = bench(tmp_path, "predict", "out", "a text", "--at", "1")
    assert (ended.code, "bench export --at" in ended.err) == (2, True)
    for damaged in ("{", "[]", '{"entry": {}, "metadata": {}}'):
        (out / "job.json").write_text(damaged)
        ended = bench(tmp_path, "predict", "out", "a text")
        assert (ended.code, "export the model again" in ended.err) == (65, True)


def test_an_existing_file_is_replaced_on_request_only(bench, trained, tmp_path):
    """Without `--force`, the file stays as it is and the message names the option."""
    name = digest(trained, "lora", "toy-sentiment")
    path, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    path.write_text("said\na film\n")
    out.write_text("mine\n")
    words = ("predict", name, "--db", "r.db", "--csv", path, "-o", out)
    refused = bench(trained, *words)
    assert (refused.code, out.read_text()) == (2, "mine\n")
    assert "--force" in refused.err
    assert bench(trained, *words, "--force").code == 0
    assert out.read_text().startswith("said,answer")


def test_pairs_and_numbers_are_answered_at_any_point(bench, trained, tmp_path):
    """Two columns make a pair, a task of values gets one column, and `--at` chooses the point.

    Two columns need no name.
    """
    name = digest(trained, "simplex", "toy-similarity")
    path = tmp_path / "pairs.tsv"
    path.write_text("b\ta\nthe play was dull\ta film\n")
    one = bench(trained, "predict", name, *PAIRS, "--db", "r.db", "--at", "3", "--json")
    (row,) = predicted(bench, trained, name, "--csv", path, "--text", "a,b", "--at", "3")
    assert list(row) == ["b", "a", "answer"]
    assert float(row["answer"]) == pytest.approx(json.loads(one.out)["answer"], rel=1e-4)
    (turned,) = predicted(bench, trained, name, "--csv", path, "--at", "3")
    assert turned["answer"] != row["answer"]


def test_class_names_that_look_like_formulas_are_made_harmless(bench, own):
    """An answer that a spreadsheet would take for a formula gets an apostrophe."""
    path = own / "one.jsonl"
    path.write_text(
        "".join(
            json.dumps({"review": f"the film was {word} {n}"}) + "\n"
            for n in range(9)
            for word in ("fine", "dull")
        )
    )
    found = predicted(bench, own, digest(own, "lora", "reviews"), "--csv", path)
    assert list(found[0]) == ["review", "answer", "p(+bad)", "p(=good)"]
    assert {row["answer"] for row in found} <= {"'+bad", "'=good"}


def test_the_columns_and_texts_of_own_data_are_remembered(bench, own):
    """A model of one text refuses two; its column is found among others, in any delimiter and encoding."""
    name = digest(own, "lora", "reviews")
    path = own / "more.csv"
    path.write_bytes("id;review;stars\n1;déjà vu;+bad\n".encode("cp1252"))
    (row,) = predicted(bench, own, name, "--csv", path)
    assert (row["review"], row["answer"]) == (
        "déjà vu",
        predicted(bench, own, name, "--csv", path, "--text", "review")[0]["answer"],
    )
    noted = bench(own, "predict", name, "--db", "r.db", "--csv", path).err
    assert "separated by semicolons" in noted
    assert "read as cp1252, a guess (for example 'déjà')" in noted
    overruled = predicted(bench, own, name, "--csv", path, "--encoding", "cp1251")
    assert overruled[0]["review"] != "déjà vu"
    for words in (("a text", "another"), ("--csv", path, "--text", "id,review")):
        ended = bench(own, "predict", name, "--db", "r.db", *words)
        assert ended.code == 2
        assert "an example of reviews has one text, got 2" in ended.err
    path.write_text("id,said\n1,a film\n")
    refused = bench(own, "predict", name, "--db", "r.db", "--csv", path).err
    assert "cannot tell which columns hold the texts (the model was trained on review)" in refused


def test_rows_without_text_get_an_empty_answer(bench, trained, tmp_path):
    """Blank cells and a repeated header cost their rows only; a note counts them, and no cell is lost."""
    path = tmp_path / "holes.csv"
    path.write_text("id,said,,\n1,a film,x,y\n2, ,,\nid,said,,\n4,\u200b,,\n5,a play,,\n")
    name = digest(trained, "lora", "toy-sentiment")
    found = predicted(bench, trained, name, "--csv", path, "--text", "said")
    assert [bool(row["answer"]) for row in found] == [True, False, False, False, True]
    assert [row["id"] for row in found] == ["1", "2", "id", "4", "5"]
    assert [found[0][column] for column in ("column 3", "column 4")] == ["x", "y"]
    noted = bench(trained, "predict", name, "--db", "r.db", "--csv", path, "--text", "said").err
    assert "3 rows without text or repeating the header (row 2 (line 3)" in noted


def test_a_blank_line_of_a_single_column_is_a_row(bench, trained, tmp_path):
    """Answers stand beside the lines that they belong to; blank lines at the end are none."""
    path = tmp_path / "one.csv"
    path.write_text("said\na film\n\na play\n\n\n")
    name = digest(trained, "lora", "toy-sentiment")
    found = predicted(bench, trained, name, "--csv", path, "--text", "said")
    assert [bool(row["answer"]) for row in found] == [True, False, True]


def test_a_carriage_return_in_a_cell_does_not_end_a_row(bench, trained, tmp_path):
    """Text and other cells come back as they were, one row for each; Python's reader ends a row at a bare one."""
    path = tmp_path / "returns.csv"
    cells = [("great film", "a"), ("awful\rplay", "b"), ("superb\r\nsong", "c\r")]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("said", "id"), *cells])
    name = digest(trained, "lora", "toy-sentiment")
    out = tmp_path / "answered.csv"
    words = ("--csv", path, "--text", "said", "-o", out, "--db", "r.db")
    assert bench(trained, "predict", name, *words).code == 0
    with out.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [(row["said"], row["id"]) for row in found] == cells
    assert all(row["answer"] for row in found)


def test_values_of_json_are_written_as_json(bench, trained, tmp_path):
    """Numbers, lists, objects, truth values and null in other columns come back in a form that others read."""
    path = tmp_path / "rows.jsonl"
    values = {"a": 1, "b": [1, "é"], "c": {"d": None}, "e": True, "f": None, "g": 0.5}
    path.write_text(json.dumps(values | {"said": "a film"}) + "\n")
    name = digest(trained, "lora", "toy-sentiment")
    (row,) = predicted(bench, trained, name, "--csv", path, "--text", "said")
    written = {key: json.loads(row[key]) for key in "abceg"}
    assert written == {key: values[key] for key in "abceg"}
    assert row["f"] == ""


@pytest.mark.parametrize(
    "name", ["=1", "+x", "-x", "@x", " =x", "\t=x", "'=x", "\uff1dx", "\u00a0@x", "x=1", "", "good"]
)
def test_the_rule_for_formulas_is_that_of_the_reports(name):
    """What the reports escape in CSV is escaped here, and nothing else."""
    from reports import escape

    assert predict.escape_formula(name).startswith("'" + name) == (
        escape.csv(name).strip() != name.replace("\t", " ").strip()
    )


@pytest.mark.parametrize("name", ["-1", "+2.5", "-1e3"])
def test_class_names_that_are_numbers_stay_numbers(name):
    """A class called -1 is written as -1."""
    assert predict.escape_formula(name) == name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), ["pass one text"]),
        (("a text", "--csv", "rows.csv"), ["not both"]),
        (("a text", "--text", "said", "-o", "x.csv"), ["require --csv"]),
        (("--csv", "rows.csv", "--json", "-o", "x.txt"), ["--json", "must end in .csv, got x.txt"]),
        (("--csv", "rows.csv", "-o", "./rows.csv"), ["is the file of --csv"]),
        (("--csv", "none.csv"), ["no file none.csv"]),
        (("--csv", "rows.csv"), ["--text COLUMN", "id, said"]),
        (("--csv", "rows.csv", "--text", "sayd"), ["no column 'sayd'", "did you mean 'said'"]),
        (
            ("--csv", "rows.csv", "--text", "id,said"),
            ["an example of toy-sentiment has one text, got 2"],
        ),
        (("\u200b \u00a0",), ["text 1: no text"]),
        (("a film\udcff",), ["text 1: half of a surrogate pair"]),
        (("one text", "and another"), ["an example of toy-sentiment has one text, got 2"]),
        (("--csv", "rows.csv", "--text", ""), ["--text names no column"]),
        (("--csv", "rows.csv", "--text", "said", "--encoding", "cp0"), ["no encoding 'cp0'"]),
        (
            ("a text", "--delimiter", ";"),
            ["--delimiter, --encoding and --model-column require --csv"],
        ),
        (
            ("--csv", "half.jsonl", "--text", "said"),
            ["row 1 (line 1), column 'said': half of a surrogate pair"],
        ),
        (("--csv", "taken.csv", "--text", "said"), ["already has a column 'answer'"]),
        (("--csv", "rows.txt", "--text", "said"), [".csv, .tsv, .jsonl, .ndjson, .json, .parquet"]),
    ],
)
def test_questions_that_cannot_be_answered_are_refused_in_words(bench, trained, words, said):
    """All that is wrong is said, with rows and columns by name, and nothing is written."""
    (trained / "rows.csv").write_text("id,said\n1,a film\n")
    (trained / "rows.txt").write_text("id,said\n1,a film\n")
    (trained / "half.jsonl").write_text('{"said": "a \\ud800 film"}\n')
    (trained / "taken.csv").write_text("answer,said\n1,a film\n")
    before = sorted(trained.iterdir())
    ended = bench(
        trained, "predict", digest(trained, "lora", "toy-sentiment"), *words, "--db", "r.db"
    )
    assert (ended.code, ended.out) == (2, "")
    assert all(one in ended.err for one in said), ended.err
    assert sorted(trained.iterdir()) == before
    assert (trained / "rows.csv").read_text() == "id,said\n1,a film\n"


def test_the_columns_of_the_tasks_own_data_are_found(trained, tmp_path):
    """Of a known dataset the text columns need not be named; a file that lacks one of them must say."""
    one = restore.load(str(trained / "r.db"), digest(trained, "lora", "toy-sentiment"))
    mrpc = as_task(one, "mrpc", ["accuracy", "f1"])
    path = tmp_path / "rows.csv"
    asked = predict.PredictRequest(texts=(), file=path, columns=None, output=None)
    path.write_text("id,sentence2,sentence1\n7,second,first\n")
    assert predict.read_texts(mrpc, asked, predict._read(asked, mrpc.columns))[1] == [
        ("first", "second")
    ]
    path.write_text("id,sentence2,other\n7,second,first\n")
    with pytest.raises(UsageError, match="id, sentence2, other"):
        predict.read_texts(mrpc, asked, predict._read(asked, mrpc.columns))


# -- cards
# -------------------------------------------------------------------------------------------------------------


def card(bench, folder, name, out, *words):
    """The card of an export: each score, the ends of its interval and how it was made, and the whole text."""
    ended = bench(folder, "export", name, out, "--db", "r.db", "--format", "safetensors", *words)
    assert ended.code == 0, ended.err
    text = (out / "README.md").read_text()
    lines = re.findall(r"^- (.+?) ([-\d.]+)(?: \(([-\d.]+) to ([-\d.]+); (.*)\))?$", text, re.M)
    return {
        name: (float(value), float(low or "nan"), float(high or "nan"), how)
        for name, value, low, high, how in lines
    }, text


def test_a_card_gives_accuracy_with_wilsons_interval(bench, trained, tmp_path):
    """The card says task, size, draw, rows, score, an interval that scipy computes as well, and what it is over."""
    from scipy.stats import binomtest

    name = digest(trained, "lora", "toy-sentiment")
    found, text = card(bench, trained, name, tmp_path / "out")
    value, low, high, how = found["accuracy"]
    ends = binomtest(round(value * 30 / 100), 30).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((100 * ends.low, 100 * ends.high), abs=0.051)
    assert (list(found), how) == (["accuracy"], "Wilson")
    for said in (
        "# lora",
        "on toy-sentiment",
        "Size 20, draw 0",
        "On 30 test rows",
        "over test rows",
        "not over draws",
        name,
    ):
        assert said in text


def test_a_card_gives_other_scores_with_a_bootstraps_interval(bench, trained, tmp_path):
    """Correlations lie inside their intervals, the interval of each is its own, and the card is the same each time."""
    name = digest(trained, "lora", "toy-similarity")
    found, text = card(bench, trained, name, tmp_path / "a")
    assert list(found) == ["pearson", "spearman", "score"]
    for value, low, high, how in found.values():
        assert -100 <= low <= value <= high <= 100
        assert low < high
        assert "bootstrap" in how
    assert len({(low, high) for _, low, high, _ in found.values()}) == 3
    assert card(bench, trained, name, tmp_path / "b")[1] == text


def test_the_bootstrap_agrees_with_scipys(trained):
    """The interval of a correlation is that of an independent implementation on the same rows, within its noise."""
    import numpy as np
    from scipy.stats import bootstrap, pearsonr

    from harness.artefacts import model_card as cards
    from harness.tasks import REGISTRY, draws

    one = restore.load(str(trained / "r.db"), digest(trained, "lora", "toy-similarity"))
    task = REGISTRY["toy-similarity"]
    drawn = draws.draw(
        task, lambda split: task.reader.examples(split, task.reader.revision()), 20, 0, one.recipe
    )
    labels = np.array([row.label for row in drawn.tests[""]])
    sample = (np.array(one.predictions), labels)
    theirs = bootstrap(
        sample,
        lambda x, y: pearsonr(x, y).statistic,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=2000,
        rng=1,
    ).confidence_interval
    mine = cards.intervals(one)[0]["pearson"]
    assert (mine.low, mine.high) == pytest.approx(
        (theirs.low, theirs.high), abs=0.1 * (theirs.high - theirs.low)
    )


def test_a_card_of_a_users_file_has_all_intervals(bench, own, tmp_path):
    """They follow from the labels in the database, so the file is not read again."""
    found, _ = card(bench, own, digest(own, "lora", "reviews"), tmp_path / "out")
    assert found["accuracy"][3] == "Wilson"
    for name in ("macro-F1", "score"):
        value, low, high, _ = found[name]
        assert low <= value <= high


def test_a_card_says_why_a_score_has_no_interval(own):
    """Results of old versions have no labels: accuracy needs none, the other scores say so."""
    from harness.artefacts import model_card as cards

    one = restore.load(str(own / "r.db"), digest(own, "lora", "reviews"))
    text = cards.text(replace(one, test_labels={}), "peft", None)
    assert "No interval for macro-F1, score: the labels of the test rows are not stored" in text


ASK = """
import sys
from harness.artefacts import model_card, restore
from tests.support.stored_models import as_task
model = as_task(restore.load(sys.argv[1], sys.argv[2]), "mrpc", ["accuracy", "f1"])
print(model_card.text(model, "peft", None))
print(len(sys.argv) > 3 and model.task.reader.revision())
"""


def test_nothing_is_fetched_for_a_card(bench, trained, tmp_path):
    """Nothing is fetched for a card, whose intervals follow from what the database holds."""
    name = digest(trained, "lora", "toy-sentiment")
    with hub_server() as (endpoint, hub):
        online = {
            "HF_HUB_OFFLINE": "0",
            "HF_ENDPOINT": endpoint,
            "NO_PROXY": "127.0.0.1",
            "HF_HOME": str(tmp_path),
        }
        env = {**os.environ, **bench.env, **online}
        words = [sys.executable, "-c", ASK, str(trained / "r.db"), name]
        text = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
        assert hub.requests == []
        subprocess.run([*words, "ask"], env=env, capture_output=True, text=True, check=True)
        assert repository_requests(hub) != []  # afterwards it is asked as ever
    assert re.search(r"F1 of positive .*bootstrap", text)
    assert re.search(r"accuracy 50.0 \(\d.* Wilson\)", text)
    assert not re.search("zeroed|rule", text)
