"""Trained models that write text, exported: the code on their card writes what `bench predict` writes."""

import csv
import json
import re
import subprocess
import sys

import pytest

from harness.artefacts import restore
from harness.commands import predict
from harness.ledger import Ledger
from tests.support.writers import save

pytestmark = pytest.mark.slow  # every test trains or loads a model

SOURCES = [
    "subject : anna | action : buy | object : hat | number : two | place : oslo",
    "subject : tom | action : not help | object : rosa | time : monday",
    "subject : leo | action : hide | object : drum | number : one | quality : red",
]
# `tiny-gpt`, and models of other families with random weights.
METHODS = {
    "tiny-gpt": "fine-tuning,bitfit,lora,ia3,prompt,prefix,simplex,simplex-lora",
    "qwen2": "fine-tuning,lora,prefix",
    "gemma": "lora,ia3,prefix",
    "bart": "fine-tuning,lora,prompt",
    "t5": "lora,ia3,prompt",
}
RATES = {"ia3": "2e-2", "bitfit": "5e-3"}
FORMATS = {
    "transformers": ("fine-tuning", "bitfit", "lora", "ia3", "simplex(base=lora)"),
    "peft": ("lora", "ia3", "prompt", "prefix", "simplex", "simplex(base=lora)"),
}
# A process that knows nothing of this program runs the code of each card.
READER = """
import json, re, sys, transformers
from pathlib import Path
transformers.logging.set_verbosity_error()
found = {}
for folder in json.loads(sys.argv[2]):
    code = re.search("```python\\n(.*?)```", (Path(folder) / "README.md").read_text(), re.DOTALL)[1]
    *lines, last = code.strip().splitlines()
    found[folder] = []
    for text in json.loads(sys.argv[1]):
        names = {"FOLDER": folder, "TEXT": text}
        exec("\\n".join(lines), names)
        found[folder].append(eval(last, names).strip())
print(json.dumps(found))
assert "harness" not in sys.modules
"""


@pytest.fixture(scope="module", params=METHODS)
def trained(request, bench, tmp_path_factory):
    """A ledger with the methods of a family that can be exported to write."""
    folder, family = tmp_path_factory.mktemp("writers"), request.param
    if family != "tiny-gpt":
        save(family, folder / family)
    ended = bench(
        folder, "run", "--methods", METHODS[family], "--tasks", "toy-table-to-text", "--sizes", 50, "--model",
        family if family == "tiny-gpt" else f"./{family}", "--draws", 1, "--steps", 30, "--eval-every", 30,
        "--test-limit", 20, "--keep", "all", "--db", "r.db", "-j", 1,
        "--target-length", 16,
        *(f"--set={method}.lr={rate}" for method, rate in RATES.items() if method in METHODS[family].split(",")),
    )  # fmt: skip
    assert ended.code == 0, ended.err
    with Ledger(str(folder / "r.db")) as ledger:
        return folder, {re.sub(r"\(lr=.*?\)", "", e.label): e.digest for e in ledger.entries()}


@pytest.mark.parametrize("form", FORMATS)
def test_the_code_on_the_card_writes_the_same_texts(bench, trained, form):
    """In a new process that knows nothing of this program, with the library's own search."""
    folder, digests = trained
    expected = {}
    for label in digests.keys() & {*FORMATS[form]}:
        path = folder / f"{form}-{digests[label]}"
        ended = bench(folder, "export", digests[label], path, "--format", form, "--db", "r.db")
        assert ended.code == 0, ended.err
        stored = restore.load(str(folder / "r.db"), digests[label])
        answers = predict.predict_texts(stored, [(text,) for text in SOURCES])
        expected[str(path)] = [one["answer"] for one in answers]
    ended = subprocess.run(
        [sys.executable, "-c", READER, json.dumps(SOURCES), json.dumps(list(expected))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert json.loads(ended.stdout.splitlines()[-1]) == expected
    assert len({text for texts in expected.values() for text in texts}) > len(SOURCES)


@pytest.mark.parametrize("trained", ["tiny-gpt"], indirect=True)
def test_rows_of_a_file_get_the_text_that_each_gets_alone(bench, trained, tmp_path):
    """The answer is one column; a row without text gets none."""
    folder, digests = trained
    path = tmp_path / "facts.csv"
    path.write_text("\n".join(["facts,id", *(f"{text},1" for text in SOURCES), ",2"]))
    ended = bench(
        folder, "predict", digests["prefix"], "--db", "r.db", "--csv", path, "--text", "facts"
    )
    assert ended.code == 0, ended.err
    stored = restore.load(str(folder / "r.db"), digests["prefix"])
    alone = [predict.predict_texts(stored, [(text,)])[0]["answer"] for text in SOURCES]
    found = list(csv.DictReader(ended.out.splitlines()))
    assert [row["answer"] for row in found] == [*alone, ""]


@pytest.mark.parametrize("trained", ["tiny-gpt"], indirect=True)
def test_what_peft_cannot_hold_is_refused(bench, trained):
    """An export that a format cannot hold names the formats that can."""
    folder, digests = trained
    ended = bench(
        folder, "export", digests["prefix"], "out", "--format", "transformers", "--db", "r.db"
    )
    assert ended.code == 2
    assert "--format peft or --format safetensors" in ended.err
