"""Reports of a fixed ledger in every format, held against files that a person has read.

What changes a report on purpose changes them too: `pytest tests/reports/test_golden.py
--remake-golden` writes them anew, and their difference is what there is to review.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from harness.commands.stored_runs import ResultQuery, runs_of
from reports import FORMATS, compare, render
from reports.analysis.hypothesis import Hypothesis

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
ENDINGS = {
    "terminal": "txt",
    "markdown": "md",
    "latex": "tex",
    "html": "html",
    "csv": "csv",
    "json": "json",
}
TASKS = ["toy-entailment", "toy-paraphrase", "toy-sentiment"]


@cache
def comparison():
    """Three methods on three tasks of the example, in a study with a question."""
    chosen = ResultQuery(
        db=str(ROOT / "results.db.example"),
        methods=None,
        tasks=",".join(TASKS),
        sizes=None,
        model=None,
        recipe=None,
    )
    methods = ["prefix", "lora", "simplex"]
    said = Hypothesis("simplex", "prefix")
    return compare(runs_of(chosen)[0], methods=methods, tasks=TASKS, hypothesis=said)


@cache
def rendered(form):
    return render(comparison(), format=form, command="bench report", width=100)


def readable(form, text):
    """What is reviewed: numbers to nine digits, as the last ones are the machine's; of a page its words and tables."""
    if form in ("csv", "json"):
        return re.sub(r"-?\d+\.\d+(e-?\d+)?", lambda found: f"{float(found[0]):.9g}", text)
    if form == "html":
        text = re.sub(r"(<(script|style|svg)\b[^>]*>).*?(</\2>)", r"\1\3", text, flags=re.DOTALL)
        text = re.sub(r"sha256-[\w+/=]+|(?<=<svg)[^>]*", "", text)
        return re.sub(
            r"\n?(?=<(?:tr|li|dt|section|table|caption|thead|tbody|figure|p|h2)\b)", "\n", text
        )
    return text


@pytest.mark.parametrize("form", FORMATS)
def test_a_report_is_what_was_reviewed(form, request):
    """The same ledger gives the words, tables, marks and numbers of the golden file."""
    path, found = GOLDEN / f"report.{ENDINGS[form]}", readable(form, rendered(form))
    if request.config.getoption("--remake-golden"):
        path.write_bytes(found.encode())
    assert found.splitlines() == path.read_bytes().decode().splitlines()


def test_the_same_ledger_gives_the_same_bytes_in_another_process():
    """Whatever the order of its sets: under another PYTHONHASHSEED every format has the same hash."""
    code = "import json; from tests.reports.test_golden import hashes; print(json.dumps(hashes()))"
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2",
    }
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(said) == hashes()


def hashes():
    return {form: hashlib.sha256(rendered(form).encode()).hexdigest() for form in FORMATS}
