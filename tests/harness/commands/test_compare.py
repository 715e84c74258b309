"""`bench compare` and `bench plan --detect`: output and exit codes."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from harness.ledger import Ledger
from harness.study import preregistration
from reports.analysis.hypothesis import Hypothesis

EXAMPLE = Path(__file__).parents[3] / "results.db.example"


@pytest.fixture
def copies(tmp_path):
    """A folder with two copies of the example."""
    for name in ("a.db", "b.db"):
        shutil.copy(EXAMPLE, tmp_path / name)
    return tmp_path


def test_equal_databases_have_no_moved_cell(bench, copies):
    """Every cell is equal to the last digit, and the exit code is 0; JSON output has a schema number."""
    ended = bench(copies, "compare", "a.db", "b.db")
    assert (ended.code, ended.err) == (0, "")
    assert "None of 72 cells moved significantly; 72 are equal to the last digit." in ended.out
    content = json.loads(bench(copies, "compare", "a.db", "b.db", "--format", "json").out)
    assert content["schema"] == 1
    assert len(content["cells"]) == 72


def test_an_edited_database_is_refused(bench, copies):
    """A changed number is damage, not a moved cell."""
    with sqlite3.connect(copies / "b.db") as connection:
        connection.execute("UPDATE metric SET value = value + 0.1 WHERE name = 'score'")
    ended = bench(copies, "compare", "a.db", "b.db")
    assert ended.code == 65
    assert "is damaged or was edited" in ended.err


@pytest.mark.parametrize("form", ["html", "csv"])
def test_an_unknown_format_is_refused_before_anything_is_read(bench, tmp_path, form):
    """The message names the formats and no database."""
    ended = bench(tmp_path, "compare", "none.db", "neither.db", "--format", form)
    assert ended.code == 2
    assert "markdown" in ended.err
    assert "none.db" not in ended.err


def test_detect_computes_the_draws_from_a_given_spread(bench, tmp_path):
    """Without results --spread is required, and both options must be numbers; test rows add to the variance."""
    words = ("plan", "--model", "tiny", "--methods", "prefix,simplex", "--tasks", "toy")
    ended = bench(tmp_path, *words, "--detect", "2", "--spread", "3")
    assert ended.code == 0, ended.err
    first, second, third, assumed = ended.out.splitlines()[-4:]
    assert first == "on 6 tasks with 300 test rows: 8 draws detect 2 points with a power of 80 %"
    assert second.startswith("on 6 tasks with 1000 test rows: 5 draws")
    assert third.startswith("on 6 tasks with 2000 test rows: 4 draws")
    assert "the same 5% of the test rows" in assumed
    assert bench(tmp_path, *words, "--detect", "2").code == 2
    assert bench(tmp_path, *words, "--spread", "2").code == 2
    assert bench(tmp_path, *words, "--detect", "much", "--spread", "2").code == 2


def test_detect_takes_the_variance_of_each_comparison_from_results(bench, copies):
    """There are two lines for each method of the example but the baseline: for these and for other tasks."""
    ended = bench(
        copies, "plan", "--model", "tiny", "--tasks", "toy", "--detect", "30", "--db", "a.db"
    )
    assert ended.code == 0, ended.err
    assert len(ended.out.splitlines()) == 10


def test_a_report_on_some_tasks_does_not_test_the_hypothesis(bench, copies):
    """Results that --tasks leaves out count, although the report does not read them."""
    with Ledger(str(copies / "a.db"), write=True) as ledger:
        preregistration.declare(ledger, Hypothesis("simplex", "prefix"))
    with sqlite3.connect(copies / "a.db") as connection:
        # A text without a seal, from an earlier version: it was declared before the results.
        stored = {"method": "simplex", "baseline": "prefix", "rope": 1.0, "late": False}
        connection.execute(
            "UPDATE meta SET value = ? WHERE key = 'hypothesis'", (json.dumps(stored),)
        )
    connection.close()
    whole = bench(copies, "report", "--db", "a.db", "--baseline", "prefix", "--full")
    assert "the hypothesis of this study" in whole.out.splitlines()[0] + whole.out.splitlines()[1]
    some = bench(
        copies, "report", "--db", "a.db", "--baseline", "prefix", "--full",
        "--tasks", "toy-sentiment,toy-entailment",
    )  # fmt: skip
    assert "this report leaves out some of them" in " ".join(some.out.split())
    assert "(the hypothesis of this study)" not in " ".join(some.out.split())
