"""`bench compare` and `bench plan --detect`, from the command line to their exit codes."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "results.db.example"


@pytest.fixture
def twins(tmp_path):
    """The example twice."""
    for name in ("a.db", "b.db"):
        shutil.copy(EXAMPLE, tmp_path / name)
    return tmp_path


def test_the_same_database_twice_has_moved_nowhere(bench, twins):
    """Exit code 0, and every cell equal to the last digit; as JSON with a schema."""
    ended = bench(twins, "compare", "a.db", "b.db")
    assert (ended.code, ended.err) == (0, "")
    assert (
        "None of 72 cells can be said to have moved; 72 are equal to the last digit." in ended.out
    )
    found = json.loads(bench(twins, "compare", "a.db", "b.db", "--format", "json").out)
    assert found["schema"] == 1
    assert len(found["cells"]) == 72


def test_a_changed_number_is_refused_before_it_is_compared(bench, twins):
    """What was altered in the database is damage, not a move."""
    with sqlite3.connect(twins / "b.db") as connection:
        connection.execute("UPDATE metric SET value = value + 0.1 WHERE name = 'score'")
    ended = bench(twins, "compare", "a.db", "b.db")
    assert ended.code == 65
    assert "is damaged or was edited" in ended.err


@pytest.mark.parametrize("form", ["html", "csv"])
def test_a_form_it_cannot_write_is_refused_before_anything_is_read(bench, tmp_path, form):
    """The databases are not even looked for, and the forms that there are are named."""
    ended = bench(tmp_path, "compare", "none.db", "neither.db", "--format", form)
    assert ended.code == 2
    assert "markdown" in ended.err
    assert "none.db" not in ended.err


def test_a_stated_spread_gives_a_number_of_draws(bench, tmp_path):
    """Without results: over eight tasks, from the variance that the user states; without that it is asked for."""
    words = ("plan", "--model", "tiny", "--methods", "prefix,simplex", "--tasks", "toy")
    ended = bench(tmp_path, *words, "--detect", "2", "--spread", "3")
    assert ended.code == 0, ended.err
    assert "6 tasks: 8 draws detect 2 points with a power of 80 %" in ended.out
    assert bench(tmp_path, *words, "--detect", "2").code == 2
    assert bench(tmp_path, *words, "--spread", "2").code == 2
    assert bench(tmp_path, *words, "--detect", "much", "--spread", "2").code == 2


def test_results_at_hand_give_it_for_each_comparison(bench, twins):
    """From the variances of the example, with the time that more draws would take."""
    ended = bench(
        twins, "plan", "--model", "tiny", "--tasks", "toy", "--detect", "30", "--db", "a.db"
    )
    assert ended.code == 0, ended.err
    assert len(ended.out.splitlines()) == 5
