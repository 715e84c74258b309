"""`bench report`: what its options add, and the requests that it refuses."""

from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "results.db.example"
WORDS = ("report", "--db", EXAMPLE, "--tasks", "toy-paraphrase", "--sizes", 100)


def test_classes_are_shown_on_request(bench, tmp_path):
    """The table has a row for each method and class, in the terminal and in Markdown."""
    ended = bench(tmp_path, *WORDS, "--classes")
    assert (ended.code, ended.err) == (0, "")
    assert "Classes of toy-paraphrase, size 100" in ended.out
    ended = bench(tmp_path, *WORDS, "--classes", "--format", "markdown")
    assert sum(line.startswith("| prefix | ") for line in ended.out.splitlines()) == 3
    assert "| method | class | as different | as same | rows |" in ended.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--temperature",), "no run stores a temperature: results of earlier versions"),
        (("--classes", "--format", "csv"), "--classes is not available with --format csv"),
        (("--temperature", "--format", "csv"), "--temperature is not available with --format csv"),
    ],
)
def test_what_cannot_be_shown_is_refused(words, message, bench, tmp_path):
    """The message names the reason and the exit code is 2; the same results are readable without the option."""
    ended = bench(tmp_path, *WORDS, *words)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert bench(tmp_path, *WORDS).code == 0
