"""The documents are correct: their commands run, their links exist, their figures are current."""

import re
import shlex
import shutil
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
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
EXAMPLE = ROOT / "results.db.example"


DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS = re.compile(r"<!-- needs .* -->\n$")  # before a block whose commands cannot run here


def block(name):
    """Return the text between a marker and its end marker."""
    return README.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]


def commands(path):
    """Yield each `bench` command of a document, and whether a test can run it."""
    text = path.read_text("utf-8")
    for fence in re.finditer(r"^```(?:sh)?\n(.*?)^```", text, re.S | re.M):
        runnable = path.parent.name == "docs" and not NEEDS.search(text[: fence.start()])
        for line in fence[1].splitlines():
            parts = [part.strip() for part in line.split(" #")[0].split("&&")]
            found = [re.sub(r"^\S*bin/(?=bench )", "", part) for part in parts]
            yield from ((command, runnable) for command in found if command.startswith("bench "))


ALL = [(path, *command) for path in DOCUMENTS for command in commands(path)]


@pytest.mark.parametrize("command", sorted({command for _, command, _ in ALL}))
def test_commands_of_the_documents_parse(command):
    """Every command exists with every option that the documents show."""
    words = shlex.split(command)[1:]
    group = get_command(app)
    while (chosen := group.commands[words[0]]) and hasattr(chosen, "commands"):
        group, words = chosen, words[1:]
    context = chosen.make_context(words[0], words[1:], resilient_parsing=False)
    assert context.info_name == words[0]
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted({path for path, _, runs in ALL if runs}), ids=lambda p: p.stem
)
def test_commands_of_the_documents_run(path, bench, tmp_path):
    """The commands of a page succeed one after the other, in a folder with the files that it names."""
    reviews = [f"{word} film,{word} and long,{word}" for word in ("good", "bad")]
    table = "\n".join(["title,review,stars", *(f"{n} {reviews[n % 2]}" for n in range(300))])
    (tmp_path / "reviews.csv").write_text(table)
    marks = "\n".join(f"{reviews[n % 2].split(',')[0]},{n % 2},{n // 2 % 2},0" for n in range(300))
    told = "".join(f"name : n{n},it is n{n},this is n{n}\n" for n in range(80))
    (tmp_path / "tables.csv").write_text(f"table,first,second\n{told}")
    (tmp_path / "topics.csv").write_text(f"review,food,price,service\n{marks}")
    (tmp_path / "reviews-test.csv").write_text(
        table.replace("film", "play").replace("long", "short")
    )
    for fence in re.findall(r"```toml\n(.*?)```", path.read_text("utf-8"), re.S):
        (tmp_path / "stars.toml").write_text(fence)
    shutil.copy(EXAMPLE, tmp_path)
    for command in (command for one, command, runs in ALL if one == path and runs):
        ended = bench(tmp_path, *shlex.split(command)[1:])
        assert ended.code == 0, f"{command}\n{ended.out}\n{ended.err}"


def test_every_command_and_method_is_documented():
    """The README names each method; README and docs together name each command."""
    text = "".join(path.read_text("utf-8") for path in DOCUMENTS)
    for name in REGISTRY:
        assert f"`{name}`" in README
    for name in get_command(app).commands:
        assert f"bench {name}" in text, name


def test_links_lead_somewhere():
    """Files that the documents link to exist."""
    for path in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
            assert (path.parent / link).exists() or link == "commands.md", (path, link)


def test_named_files_exist():
    """Paths of modules and folders that the documents name exist."""
    for path in DOCUMENTS:
        named = re.findall(
            r"`((?:harness|methods|reports|tests|docs)/[\w./]*)`", path.read_text("utf-8")
        )
        assert [name for name in named if not (ROOT / name).exists()] == [], path


def test_the_readme_is_short():
    """A newcomer reads it in a few minutes: it has under 900 words."""
    assert len(README.split()) < 900


def test_the_readme_shows_what_the_example_says():
    """The table at the top is, line for line, what the command beside it prints."""
    shown = block("example")
    command = re.search(r"`(bench report [^`]+)`", shown)[1]
    words = [sys.executable, "-m", "harness", *shlex.split(command)[1:]]
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    table = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(table) >= 4
    assert "\n".join(table) in printed


@pytest.mark.slow
def test_the_figure_of_the_readme_is_what_its_command_draws(tmp_path):
    """The figure of the README equals, byte for byte, what its command in CONTRIBUTING draws."""
    command = re.search(r"bench (plot [^`\n]+) -o docs/forest.svg", CONTRIBUTING)[1]
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
    """At size 500 each method beats a bare head by 5 points on three tasks.

    On these tasks it loses 5 points if its own tensors are set to zero.
    """
    with Ledger(str(EXAMPLE)) as ledger:
        table = gains(ledger.entries())
    assert set(table) == set(METHODS)
    assert shortfalls(table) == []


def test_the_example_method_of_the_readme_works():
    """The class shown in the README trains through the contract's interface, alone and as the base of a simplex."""
    import torch

    from harness.training import loop
    from methods.simplex import Simplex
    from tests.support.models import random_bert

    code = re.search(r"```python\n(.*?)```", README, re.S)[1]
    names = {"__name__": "example"}
    exec(code, names)  # noqa: S102  # our own README
    batch = {
        "input_ids": torch.arange(5, 11).expand(2, -1),
        "attention_mask": torch.ones(2, 6, dtype=torch.long),
    }
    backbone = random_bert()
    for method in (names["Shift"](), Simplex(base=names["Shift"]())):
        slots = method.slots(backbone)
        trainable = method.trainable_parameters(slots, loop.Streams(("task", 50, 0, 0))).double()
        slots.install(trainable(trainable.sample_points(2, torch.Generator())))
        backbone(batch).sum().backward()
        assert all(parameter.grad is not None for parameter in trainable.parameters())
        slots.remove()
