"""Trained models merged into plain weights, or as PEFT reads them, with the names of their classes."""

import json
import subprocess
import sys

import pytest

from harness.artefacts import restore
from harness.backbones import checkpoints
from harness.commands import predict
from harness.ledger import Ledger

pytestmark = pytest.mark.slow  # every test trains or loads a model

TEXTS = ["the film was clever", "although the play was not dull the concert was really weak"]
# A process that knows nothing of this program. Reads folders; a pipeline adds no rounding of its own.
PIPELINE = """
import json, sys
from transformers import pipeline
texts, found = json.loads(sys.argv[1]), {}
for folder, kind in json.loads(sys.argv[2]).items():
    answers = pipeline("text-classification", model=folder, truncation=True, top_k=None, function_to_apply=kind)
    found[folder] = [{one["label"]: one["score"] for one in row} for row in answers(texts)]
print(json.dumps(found))
assert "harness" not in sys.modules
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The embedded encoder, and a GPT-2 of random weights, which computes queries, keys and values in one layer."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("models") / "gpt2"
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        checkpoints.locate("tiny", checkpoints.revision_of("tiny"))
    )
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=128,
        bos_token_id=2,
        eos_token_id=3,
        initializer_range=0.2,
    )
    transformers.GPT2Model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"tiny": "tiny", "gpt2": str(folder)}


METHODS = {
    "tiny": "fine-tuning,head,bitfit,lora,ia3,simplex-lora",
    "gpt2": "fine-tuning,lora,ia3",
}
POINTS = {"simplex(base=lora)": (None, ".5,.5,0,0,0,0")}


@pytest.fixture(scope="module")
def trained(bench, models, tmp_path_factory):
    """A ledger for each model, with every method that can be merged."""
    folder = tmp_path_factory.mktemp("trained")
    for name, model in models.items():
        # The head of a GPT-2 has no bias for the mean of numbers.
        tasks = "toy-sentiment,toy-similarity" if name == "tiny" else "toy-sentiment"
        words = ("--tasks", tasks, "--draws", 1, "-j", 1, "--keep", "all",
                 "--model", model, "--methods", METHODS[name], "--set", "lr=5e-3")  # fmt: skip
        ended = bench.run(folder, f"{name}.db", *words)
        assert ended.code == 0, ended.err
    return folder


def jobs(db):
    """Return digest, label without its rate, and task of every job."""
    with Ledger(str(db)) as ledger:
        return [
            (one.digest, one.label.replace("(lr=0.005)", "").replace(", lr=0.005", ""), one.task)
            for one in ledger.entries()
        ]


def ours(db, digest, at):
    """Return the probabilities of the classes, or the number, that this program answers for each text."""
    stored = restore.load(str(db), digest)
    found = predict.predict_texts(stored, [(text,) for text in TEXTS], at)
    return [one["probabilities"] if stored.labels else {"LABEL_0": one["answer"]} for one in found]


@pytest.mark.parametrize("model", ["tiny", "gpt2"])
def test_a_pipeline_of_transformers_gives_equal_answers_by_name(bench, trained, tmp_path, model):
    """Merged weights: probabilities and class names of every method, task and point are those of `predict`."""
    db, expected, kinds = trained / f"{model}.db", {}, {}
    for digest, label, task in jobs(db):
        for number, at in enumerate(POINTS.get(label, (None,))):
            folder = str(tmp_path / f"{digest[:12]}-{number}")
            words = ("--format", "transformers", *(("--at", at) if at else ()))
            ended = bench(trained, "export", digest, folder, "--db", db.name, *words)
            assert ended.code == 0, ended.err
            expected[folder] = ours(db, digest, at)
            kinds[folder] = "none" if task == "toy-similarity" else "softmax"
    assert len(expected) >= len(METHODS[model].split(","))
    words = [sys.executable, "-c", PIPELINE, json.dumps(TEXTS), json.dumps(kinds)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for folder, answers in json.loads(done.stdout).items():
        for mine, theirs in zip(expected[folder], answers, strict=True):
            assert theirs == pytest.approx(mine, abs=1e-5)


PEFT = """
import json, sys, torch
texts, found = json.loads(sys.argv[1]), {}
for folder in sys.argv[2:]:
    card = open(folder + "/README.md").read()
    code = card.split("```python")[1].split("```")[0]
    names = {"FOLDER": folder}
    exec(code, names)
    batch = names["tokenizer"](texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        logits = names["model"].eval()(**batch).logits
    labels = names["model"].config.id2label
    rows = logits.softmax(1) if len(labels) > 1 else logits
    found[folder] = [{labels[n]: float(p) for n, p in enumerate(row)} for row in rows]
print(json.dumps(found))
assert "harness" not in sys.modules
"""


@pytest.mark.parametrize("model", ["tiny", "gpt2"])
def test_the_code_of_a_card_loads_factors_in_peft(bench, trained, tmp_path, model):
    """(IA)^3 in PEFT: the code that the card shows answers with equal probabilities and class names."""
    db, expected = trained / f"{model}.db", {}
    for digest, label, _ in jobs(db):
        if "ia3" in label:
            folder = str(tmp_path / digest[:12])
            ended = bench(trained, "export", digest, folder, "--db", db.name)
            assert ended.code == 0, ended.err
            expected[folder] = ours(db, digest, None)
    assert expected
    words = [sys.executable, "-c", PEFT, json.dumps(TEXTS), *expected]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for folder, answers in json.loads(done.stdout).items():
        for mine, theirs in zip(expected[folder], answers, strict=True):
            assert theirs == pytest.approx(mine, abs=1e-5)


def test_small_parts_of_a_backbone_are_kept_by_default(bench, tmp_path):
    """BitFit, but not the whole backbone of fine-tuning."""
    words = ("--tasks", "toy-sentiment", "--draws", 1, "--methods", "bitfit,fine-tuning")
    assert bench.run(tmp_path, "r.db", *words).code == 0
    kept = {label: (tmp_path / "r.db.artefacts" / f"{digest}.safetensors").exists()
            for digest, label, _ in jobs(tmp_path / "r.db")}  # fmt: skip
    assert kept == {"bitfit": True, "fine-tuning": False}


def test_a_form_that_cannot_hold_a_method_names_those_that_can(bench, trained, tmp_path):
    """Fine-tuning has no form in PEFT, but can be merged; nothing is written."""
    (digest,) = (
        digest
        for digest, label, task in jobs(trained / "tiny.db")
        if label == "fine-tuning" and task == "toy-sentiment"
    )
    ended = bench(trained, "export", digest, tmp_path / "out", "--db", "tiny.db")
    assert ended.code == 2
    assert "use --format transformers or --format safetensors" in ended.err
    assert not (tmp_path / "out").exists()
