"""The shell offers names, and never an error."""

import subprocess
import sys

import pytest
from typer import Context
from typer.main import get_command

from harness.cli import completion
from harness.cli.app import app

CONTEXT = Context(get_command(app))


@pytest.mark.parametrize(
    ("complete", "typed", "offered"),
    [
        (completion.methods, "lo", ["lora"]),
        (completion.methods, "prefix,lo", ["prefix,lora"]),
        (completion.tasks, "toy-sen", ["toy-sentiment"]),
        (completion.figures, "par", ["pareto"]),
        (completion.settings, "lor", ["lora."]),
        (completion.settings, "lora.ra", ["lora.rank="]),
        (completion.settings, "nothing.ra", []),
    ],
)
def test_names_are_offered(complete, typed, offered):
    """The names that begin as typed, also within a list; nothing after an unknown method."""
    assert complete(CONTEXT, typed) == offered


def test_digests_of_the_named_database_are_offered(tmp_path, monkeypatch, make_job, make_outcome):
    """Those of finished jobs; without a database, or with another file in its place, none."""
    from harness.ledger import Ledger

    path = tmp_path / "r.db"
    monkeypatch.setenv("BENCH_DB", str(path))
    assert completion.digests(CONTEXT, "") == []
    job, other = make_job(), make_job(draw=1)
    with Ledger(str(path), write=True) as ledger:
        ledger.add_jobs([job, other])
        ledger.begin("test")
        (claim,) = ledger.claim([job.digest], 1)
        ledger.record(make_outcome(job), claim.number)
    assert completion.digests(CONTEXT, "") == [job.digest]
    assert completion.digests(CONTEXT, job.digest[:5]) == [job.digest]
    assert completion.digests(CONTEXT, "x") == []
    path.write_text("Dear diary,\n" * 400)
    assert completion.digests(CONTEXT, "") == []


def test_the_shell_asks_without_torch(bench, tmp_path):
    """The command completes a line as bash asks for it, and imports nothing heavy."""
    program = """
import sys
from harness.cli.app import app
try:
    app(prog_name="bench")
finally:
    print("torch" in sys.modules)
"""
    line = {"COMP_WORDS": "bench run --methods prefix,lo", "COMP_CWORD": "3"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=bench.env | line | {"_BENCH_COMPLETE": "complete_bash"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["prefix,lora", "False"], done.stderr
