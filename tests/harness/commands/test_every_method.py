"""Every method that classifies is planned, trained, tested, shown and listed by the command."""

import json
import shutil
from pathlib import Path

import pytest

from harness.backbones import checkpoints
from harness.ledger import Ledger
from harness.results.runs import runs
from methods import BASES, REGISTRY, suitable
from tests.support.families import stock_model

pytestmark = pytest.mark.slow  # every test trains or loads a model

METHODS = [*suitable(writes=False), *(f"simplex-{base}" for base in BASES if base != "prefix")]


@pytest.fixture(scope="module")
def finished(bench, tmp_path_factory):
    """Return a ledger with one short run of every method, with all rules and zeroed methods tested."""
    folder = tmp_path_factory.mktemp("every")
    words = (
        "--methods",
        ",".join(METHODS),
        "--tasks",
        "toy-sentiment",
        "--draws",
        1,
        "--rules",
        "all",
        "--zeroed",
    )
    ended = bench.run(folder, "r.db", *words, "-j", 1)
    assert ended.code == 0, ended.err
    with Ledger(str(folder / "r.db")) as ledger:
        return folder, {entry.label: entry for entry in ledger.entries()}


def test_every_method_is_done(finished):
    """Each has a score, an artefact unless it is most of a backbone, and the number of trained parameters."""
    _, entries = finished
    assert len(entries) == len(METHODS)
    assert {entry.state for entry in entries.values()} == {"done"}
    for label, entry in entries.items():
        assert 0 <= entry.metrics["score"] <= 1
        assert (entry.result["artefact"] is None) == (label == "fine-tuning")
        assert entry.result["trained"] >= 258
        assert entry.result["stored"] >= 4 * 258


def test_rules_and_zeroed_methods_have_their_own_metrics(finished):
    """The scores of other rules are stored beside the job's own; only a simplex has a stochastic rule."""
    _, entries = finished
    for label, entry in entries.items():
        rules = {name.split()[1] for name in entry.metrics if name.startswith("rule ")}
        simplex = label.startswith("simplex")
        expected = (
            set()
            if label == "features"
            else {"centroid", "loss", "last"} | ({"stochastic"} if simplex else set())
        )
        assert rules == expected, label
        own = entry.metrics["accuracy"]
        if rules:
            assert entry.metrics[f"rule {'stochastic' if simplex else 'centroid'} accuracy"] == own
        bare = label not in ("fine-tuning", "bitfit", "features", "simplex(base=head)")
        assert ("zeroed accuracy" in entry.metrics) == bare, label


def test_every_method_stores_probabilities_and_a_temperature(finished):
    """Each has the probabilities of every test row, and the temperature that fits the dev rows within its bounds."""
    folder, entries = finished
    with Ledger(str(folder / "r.db")) as ledger:
        stored = runs(list(entries.values()), ledger.all_blobs())
    assert len(stored) == len(METHODS)
    for run in stored:
        assert run.probabilities[""].shape == (run.n_test, 2)
        assert 0.05 <= run.temperature <= 20


def test_a_simplex_shows_the_dev_scores_of_its_sampled_models(finished, bench):
    """In words, and in JSON at every point of the curve."""
    folder, entries = finished
    digest = entries["simplex"].digest
    assert "50 dev scores at the selected step" in bench(folder, "show", digest, "--db", "r.db").out
    curve = json.loads(bench(folder, "show", digest, "--db", "r.db", "--json").out)["curve"]
    assert [len(point["copies"]) for point in curve] == [50, 50]
    plain = json.loads(bench(folder, "show", entries["lora"].digest, "--db", "r.db", "--json").out)[
        "curve"
    ]
    assert all("copies" not in point for point in plain)


def test_the_list_describes_each_method(bench, tmp_path):
    """It has a summary, every option with its default, and the paper; with a model, the trained parameters."""
    listed = json.loads(bench(tmp_path, "list", "methods", "--json", "--model", "tiny").out)[
        "methods"
    ]
    assert [entry["name"] for entry in listed] == list(REGISTRY)
    for entry in listed:
        assert entry["summary"]
        assert entry["paper"]
        assert entry["options"]
        assert (entry.get("trained", 0) > 0) == (entry["name"] in METHODS)
    shown = bench(tmp_path, "list", "methods").out
    for entry in listed:
        assert entry["summary"] in " ".join(shown.split())
        assert all(option in shown for option in entry["options"])


@pytest.mark.parametrize("name", ["lora", "simplex", "simplex-lora", "prefix-tuning"])
def test_the_options_of_a_method_are_explained(name, bench, tmp_path):
    """`list methods NAME` has a line for each option, with its default, its type and an explanation."""
    entry = json.loads(bench(tmp_path, "list", "methods", name, "--json").out)
    assert [option["name"] for option in entry["explanations"]] == list(entry["options"])
    assert all(option["type"] and option["explanation"] for option in entry["explanations"])
    lines = bench(tmp_path, "list", "methods", name).out.splitlines()
    for option in entry["options"]:
        assert sum(line.split()[:1] == [option] for line in lines) == 1


def test_an_unknown_method_is_answered_with_the_nearest(bench, tmp_path):
    """The exit code is 2; only methods can be explained."""
    ended = bench(tmp_path, "list", "methods", "LoRA")
    assert (ended.code, "did you mean 'lora'?" in ended.err) == (2, True)
    assert bench(tmp_path, "list", "tasks", "sst2").code == 2


@pytest.fixture(scope="module")
def deberta(tmp_path_factory):
    """Return a folder with a tokenizer and a small random DeBERTa, which has its own attention code."""
    folder = tmp_path_factory.mktemp("models") / "deberta"
    stock_model("DebertaV2", vocab_size=500).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoints.EMBEDDED["tiny"] / name, folder)
    return folder


def test_what_a_backbone_does_not_support_is_reported_before_training(bench, tmp_path, deberta):
    """`plan` and `list methods` report it, `run` trains the other methods, and refuses if none is left."""
    words = (
        "--model",
        deberta,
        "--tasks",
        "toy-sentiment",
        "--sizes",
        20,
        "--draws",
        1,
        "--steps",
        4,
        "--max-length",
        32,
    )
    both, reason = (
        ("--methods", "prefix,lora"),
        "its own attention code, where no prefix can be added",
    )
    planned = bench(tmp_path, "plan", *words, *both, "--db", "r.db")
    assert planned.code == 0
    assert "1 job, 0 done, 1 to do, 1 infeasible" in planned.out
    assert f"prefix on {Path(deberta).name}: this backbone has {reason}" in planned.out
    listed = json.loads(bench(tmp_path, "list", "methods", "--json", "--model", deberta).out)[
        "methods"
    ]
    assert {entry["name"] for entry in listed if "refused" in entry} == {
        "prefix",
        "unipelt",
        "simplex",
        "zero-shot",  # it classifies on no backbone
    }
    ended = bench(tmp_path, "run", *words, *both, "--db", "r.db", "-j", 1)
    assert ended.code == 0
    assert f"1 cell cannot be filled: prefix on {Path(deberta).name}" in ended.out
    with Ledger(str(tmp_path / "r.db")) as ledger:
        assert {entry.label: entry.state for entry in ledger.entries()} == {
            "prefix": "infeasible",
            "lora": "done",
        }
    alone = bench(tmp_path, "run", *words, "--methods", "prefix", "--db", "r.db")
    assert (alone.code, reason in alone.err) == (2, True)
