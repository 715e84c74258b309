"""Values that a request leaves to the backbone and the data."""

import json
import shutil

import pytest

import methods
from harness.backbones import checkpoints
from harness.ledger import Ledger
from harness.study import automatic, preregistration, request
from harness.study.grid_options import GridOptions


def published_as(tmp_path, architecture):
    """A copy of the embedded encoder whose config names another architecture."""
    folder = tmp_path / "model"
    shutil.copytree(checkpoints.EMBEDDED["tiny"], folder, ignore=shutil.ignore_patterns("gpt"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": [architecture]}))
    return str(folder)


def labels(model, tasks="toy-entailment", names="features,lora", **options):
    checked, _ = request.read(
        GridOptions(model=model, methods=names, tasks=tasks, sizes="20", **options)
    )
    return [methods.label(method) for method in automatic.resolve(checked).methods]


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("BertModel", "features(pairs=apart)"),
        ("MPNetModel", "features(pairs=apart)"),
        ("BertForMaskedLM", "features"),
        ("GPT2LMHeadModel", "features"),
        ("BertForSequenceClassification", "features"),
        ("GPT2DoubleHeadsModel", "features"),
    ],
)
def test_a_backbone_without_its_pretraining_head_reads_pairs_apart(
    tmp_path, architecture, expected
):
    """Such are sentence encoders; others read a pair as one text. The label says which, other methods stay."""
    assert labels(published_as(tmp_path, architecture)) == [expected, "lora"]


def test_what_sentence_transformers_wrote_is_a_sentence_encoder(tmp_path):
    """Such as all-mpnet-base-v2, whose config still names the head; an encoder-decoder without a head is none."""
    model = published_as(tmp_path, "MPNetForMaskedLM")
    (tmp_path / "model" / "modules.json").write_text("[]")
    assert labels(model) == ["features(pairs=apart)", "lora"]
    (tmp_path / "model" / "modules.json").unlink()
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text()) | {
        "architectures": ["BartModel"],
        "is_encoder_decoder": True,
    }
    path.write_text(json.dumps(config))
    assert labels(model) == ["features", "lora"]


def test_a_choice_of_the_user_stays(tmp_path):
    """`--set features.pairs=joint` holds for a sentence encoder too, and single texts change no method."""
    model = published_as(tmp_path, "BertModel")
    assert labels(model, set_=["features.pairs=joint"]) == ["features", "lora"]
    assert labels(model, tasks="toy-sentiment") == ["features", "lora"]
    assert labels("tiny", set_=["features.pairs=apart"])[0] == "features(pairs=apart)"


def test_a_hypothesis_names_the_method_that_runs(tmp_path, bench):
    """A hypothesis over `features` is one over `features(pairs=apart)` where that is what runs."""
    ended = bench(
        tmp_path, "run", "--model", published_as(tmp_path, "BertModel"), "--methods", "features,lora", "--tasks",
        "toy-entailment", "--sizes", "20", "--draws", "1", "--steps", "2", "--test-limit", "20", "--db", "r.db",
        "--hypothesis", "lora:features", "-j", 1,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    with Ledger(str(tmp_path / "r.db")) as ledger:
        hypothesis = preregistration.declared_hypothesis(ledger)
        labels = {entry.label for entry in ledger.entries()}
    assert {hypothesis.method, hypothesis.baseline} == labels == {"lora", "features(pairs=apart)"}
