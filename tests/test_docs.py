"""What the documents say is so."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from harness.cli.app import app
from harness.ledger import Ledger
from harness.ledger.seals import payload_hash, rebuilt_digest
from methods import REGISTRY
from tests.benchmarks.learning import METHODS, gains, shortfalls

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLE = ROOT / "results.db.example"


def block(name):
    """The text between a marker and the next one."""
    return README.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]


def commands():
    """Every `bench` command of the documents, without what follows a comment or another command."""
    texts = [README, (ROOT / "CONTRIBUTING.md").read_text("utf-8")]
    lines = [
        line
        for text in texts
        for fence in re.findall(r"```\n(.*?)```", text, re.S)
        for line in fence.splitlines()
    ]
    found = [
        re.sub(r"^.*?bin/(?=bench )", "", part.strip())
        for line in lines
        for part in line.split("#")[0].split("&&")
    ]
    return [command for command in found if command.startswith("bench ")]


@pytest.mark.parametrize("command", commands())
def test_commands_of_the_documents_parse(command):
    """Every command exists with every option that it is shown with."""
    words = shlex.split(command)[1:]
    group = get_command(app)
    chosen = group.commands[words[0]]
    context = chosen.make_context(words[0], words[1:], resilient_parsing=False)
    assert context.info_name == words[0]
    context.close()


def test_every_command_and_method_is_mentioned():
    """The README names each method, and each command somewhere."""
    for name in REGISTRY:
        assert f"`{name}`" in README
    for name in get_command(app).commands:
        assert f"bench {name}" in README or name == "list"


def test_links_lead_somewhere():
    """Files that the documents link to are there."""
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path


def test_the_readme_shows_what_the_example_says():
    """The table at the top is, line for line, what the command beside it prints."""
    shown = block("example")
    command = re.search(r"`(bench report [^`]+)`", shown)[1]
    words = [sys.executable, "-m", "harness", *shlex.split(command)[1:]]
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    table = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(table) >= 4
    assert "\n".join(table) in printed
    sentences = [line for line in shown.splitlines() if line.startswith(("**", "- "))]
    assert len(sentences) >= 2
    assert all(sentence in printed for sentence in sentences)


def test_the_figure_of_the_readme_is_what_its_command_draws(tmp_path):
    """The picture beside the table is, byte for byte, that of the same ledger."""
    command = re.search(r"`bench (plot [^`]+) -o docs/forest.svg`", README)[1]
    words = [
        sys.executable,
        "-m",
        "harness",
        *shlex.split(command),
        "-o",
        str(tmp_path / "forest.svg"),
    ]
    subprocess.run(words, cwd=ROOT, capture_output=True, check=True)
    assert (tmp_path / "forest.svg").read_bytes() == (ROOT / "docs" / "forest.svg").read_bytes()


def test_the_example_is_a_whole_ledger_of_a_real_run():
    """Small, complete, each digest and payload as recorded, from one version of the program."""
    assert EXAMPLE.stat().st_size < 1_000_000
    with Ledger(str(EXAMPLE)) as ledger:
        entries = ledger.entries()
        assert {entry.state for entry in entries} == {"done"}
        for entry in entries:
            assert rebuilt_digest(entry) == entry.digest
            assert (
                payload_hash(entry.metrics, ledger.blobs(entry.digest)) == entry.result["payload"]
            )
    assert len({entry.result["versions"]["simplexbench"] for entry in entries}) == 1


def test_methods_of_the_example_learn():
    """At size 500 each method beats a bare head by 5 points on three tasks, and loses 5 there without its own tensors."""
    with Ledger(str(EXAMPLE)) as ledger:
        table = gains(ledger.entries())
    assert set(table) == set(METHODS)
    assert shortfalls(table) == []


def test_the_example_method_of_the_readme_works():
    """The class shown in the README trains through the contract's interface, alone and as the base of a simplex."""
    import torch

    import methods
    from harness.training import loop
    from methods.simplex import Simplex
    from tests.support.models import random_bert

    code = re.search(r"```python\n(.*?)```", README, re.S)[1]
    names = {"Method": methods.Method, "__name__": "example"}
    exec("from dataclasses import dataclass\nfrom typing import ClassVar\n" + code, names)  # noqa: S102  # our own README
    batch = {
        "input_ids": torch.arange(5, 11).expand(2, -1),
        "attention_mask": torch.ones(2, 6, dtype=torch.long),
    }
    backbone = random_bert()
    for method in (names["Shift"](), Simplex(base=names["Shift"]())):
        slots = method.slots(backbone)
        source = method.source(slots, loop.Streams(("task", 50, 0, 0))).double()
        slots.install(source(source.weights(2, torch.Generator())))
        backbone(batch).sum().backward()
        assert all(parameter.grad is not None for parameter in source.parameters())
        slots.remove()
