"""Compare the report of a fixed database in every format with reviewed files.

After an intended change of a report, `pytest tests/reports/test_golden.py --remake-golden` rewrites
these files; review their diff.
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

from harness.results.query import ResultQuery
from harness.results.runs import runs_of
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
    """Three methods on three tasks of the example database, with a preregistered hypothesis."""
    chosen = ResultQuery(
        db=str(ROOT / "results.db.example"),
        methods=None,
        tasks=",".join(TASKS),
        sizes=None,
        model=None,
        recipe=None,
    )
    methods = ["prefix", "lora", "simplex"]
    hypothesis = Hypothesis("simplex", "prefix")
    return compare(runs_of(chosen)[0], methods=methods, tasks=TASKS, hypothesis=hypothesis)


@cache
def rendered(form):
    return render(comparison(), format=form, command="bench report", width=100)


def readable(form, text):
    """Return the text to review: numbers to nine digits, as more depend on the machine; a page without its figures."""
    if form in ("csv", "json"):
        return re.sub(r"-?\d+\.\d+(e-?\d+)?", lambda match: f"{float(match[0]):.9g}", text)
    if form == "html":
        text = re.sub(r"(<(script|style|svg)\b[^>]*>).*?(</\2>)", r"\1\3", text, flags=re.DOTALL)
        text = re.sub(r"sha256-[\w+/=]+|(?<=<svg)[^>]*", "", text)
        return re.sub(
            r"\n?(?=<(?:tr|li|dt|section|table|caption|thead|tbody|figure|p|h2)\b)", "\n", text
        )
    return text


@pytest.mark.parametrize("form", FORMATS)
def test_the_report_matches_the_reviewed_file(form, request):
    """The same database gives the sentences, tables, marks and numbers of the golden file."""
    path, report = GOLDEN / f"report.{ENDINGS[form]}", readable(form, rendered(form))
    if request.config.getoption("--remake-golden"):
        path.write_bytes(report.encode())
    assert report.splitlines() == path.read_bytes().decode().splitlines()


@pytest.mark.slow
def test_another_process_writes_the_same_bytes():
    """A different PYTHONHASHSEED, and thus order of sets, does not change any format."""
    code = "import json; from tests.reports.test_golden import hashes; print(json.dumps(hashes()))"
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2",
    }
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(output) == hashes()


def hashes():
    return {form: hashlib.sha256(rendered(form).encode()).hexdigest() for form in FORMATS}
