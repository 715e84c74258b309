"""Trained models leave the ledger and work elsewhere."""

import json
import subprocess
import sys

import pytest

# A process that knows nothing of this program: stock transformers and PEFT.
LOAD = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder, texts = sys.argv[1], json.loads(sys.argv[2])
config = json.load(open(folder + "/adapter_config.json"))
weights = int(sys.argv[3])
name = config["base_model_name_or_path"]
base = AutoModelForSequenceClassification.from_pretrained(name, num_labels=weights, dtype=torch.float32)
model = PeftModel.from_pretrained(base, folder).eval()
tokenizer = AutoTokenizer.from_pretrained(name)
with torch.no_grad():
    print(json.dumps(model(**tokenizer(texts, return_tensors="pt", padding=True)).logits.tolist()))
assert "harness" not in sys.modules
"""
TEXTS = ["the film was clever", "although the play was not dull the concert was really weak", "anna smiled"]
PAIRS = ["a film", "the play was dull"]


@pytest.fixture(scope="module")
def trained(bench, tmp_path_factory):
    """A ledger with trained models of several methods, on classes and on a number."""
    folder = tmp_path_factory.mktemp("trained")
    words = ("--methods", "prefix,lora,adapter,simplex,fine-tuning", "--tasks", "toy-sentiment,toy-similarity", "--draws", 1)
    assert bench.run(folder, "r.db", *words, "--set", "lr=5e-3", "-j", 1).code == 0
    return folder


def digest(bench, folder, method, task):
    plan = json.loads(
        bench(folder, "plan", "--json", "--methods", method, "--tasks", task, "--draws", 1, "--set", "lr=5e-3", *bench.grid).out
    )
    return plan["jobs"][0]["digest"]


def ours(folder, name, texts, at=None):
    """Logits by this program; of a regression the answers in the labels' own units."""
    code = (
        "import json, sys\nfrom harness import stored, exporting\n"
        "one = stored.load(sys.argv[1], sys.argv[2]); at = sys.argv[4] or None\n"
        "found = exporting.answer(one, [(text,) for text in json.loads(sys.argv[3])], at)\n"
        "print(json.dumps([list(f['probabilities'].values()) if one.labels else [f['answer']] for f in found]))"
    )
    words = [sys.executable, "-c", code, str(folder / "r.db"), name, json.dumps(texts), at or ""]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("task", ["toy-sentiment", "toy-similarity"])
@pytest.mark.parametrize(
    ("method", "at"), [("prefix", None), ("lora", None), ("simplex", None), ("simplex", "2"), ("simplex", ".5,.5,0,0,0,0")]
)
def test_an_export_gives_the_same_answers_in_peft(bench, trained, tmp_path, method, at, task):
    """`PeftModel.from_pretrained` in a new process computes what this program computes: at the centre, a vertex, a point."""
    import torch

    name = digest(bench, trained, method, task)
    point = ("--at", at) if at else ()
    ended = bench(trained, "export", name, tmp_path / "out", "--db", "r.db", *point)
    assert ended.code == 0, ended.err
    outputs = 2 if task == "toy-sentiment" else 1
    words = [sys.executable, "-c", LOAD, str(tmp_path / "out"), json.dumps(TEXTS), str(outputs)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = torch.tensor(json.loads(done.stdout))
    theirs = theirs.softmax(1) if outputs == 2 else theirs
    assert torch.allclose(torch.tensor(ours(trained, name, TEXTS, at)), theirs, rtol=0, atol=1e-5)
    card = (tmp_path / "out" / "README.md").read_text()
    assert task in card
    assert name in card


def test_vertices_answer_differently(bench, trained):
    """The points of a simplex are different models."""
    name = digest(bench, trained, "simplex", "toy-sentiment")
    answers = [ours(trained, name, TEXTS, at) for at in (None, "1", "6")]
    assert answers[0] != answers[1] != answers[2]


def test_what_peft_has_no_place_for_is_refused_with_the_way_out(bench, trained, tmp_path):
    """Adapters go out as safetensors; PEFT's folder for them is refused, and nothing is written."""
    name = digest(bench, trained, "adapter", "toy-sentiment")
    ended = bench(trained, "export", name, tmp_path / "out", "--db", "r.db")
    assert (ended.code, "--format safetensors" in ended.err) == (2, True)
    assert not (tmp_path / "out").exists()
    assert bench(trained, "export", name, tmp_path / "out", "--db", "r.db", "--format", "safetensors").code == 0
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_a_backbone_that_was_not_kept_is_named(bench, trained, tmp_path):
    """Whole backbones are not kept by default; the message says how they would be."""
    name = digest(bench, trained, "fine-tuning", "toy-sentiment")
    ended = bench(trained, "export", name, tmp_path / "out", "--db", "r.db")
    assert (ended.code, "--keep all" in ended.err) == (69, True)


def test_changed_tensors_are_never_used(bench, trained):
    """A byte of the file changed: the export refuses it and leaves it as it is."""
    name = digest(bench, trained, "lora", "toy-similarity")
    path = trained / "r.db.artefacts" / f"{name}.safetensors"
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        assert bench(trained, "predict", name, "a text", "--db", "r.db").code == 65
    finally:
        path.write_bytes(before)


def test_predict_answers_with_classes_or_a_number(bench, trained):
    """One text gives a class with its chances; a pair on a task of values gives a number."""
    sentiment = bench(trained, "predict", digest(bench, trained, "lora", "toy-sentiment"), TEXTS[0], "--db", "r.db", "--json")
    found = json.loads(sentiment.out)
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    assert found["answer"] == max(found["probabilities"], key=found["probabilities"].get)
    similarity = bench(
        trained, "predict", digest(bench, trained, "simplex", "toy-similarity"), *PAIRS, "--db", "r.db", "--at", "3"
    )
    assert similarity.code == 0
    float(similarity.out)


@pytest.mark.parametrize("at", ["7", "0", "x", ".5,.5", "2,-1,0,0,0,0"])
def test_points_that_do_not_exist_are_refused(bench, trained, at):
    """A vertex that is not there, weights that do not fit or do not sum to 1."""
    name = digest(bench, trained, "simplex", "toy-sentiment")
    ended = bench(trained, "predict", name, "a text", "--db", "r.db", "--at", at)
    assert (ended.code, "--at" in ended.err) == (2, True)
