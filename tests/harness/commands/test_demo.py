"""`bench demo`: a short report, a database that is resumed, and methods that have learned something."""

import re
from dataclasses import replace

import pytest

from harness.commands import demo
from harness.errors import CorruptData, UsageError
from harness.ledger import Ledger


@pytest.fixture
def small_demo(monkeypatch, tmp_path, bench):
    """Make the demo short, and run it in this process and an empty folder."""
    for name in ("BENCH_CACHE", "HF_HOME", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, bench.env[name])
    monkeypatch.chdir(tmp_path)
    grid = replace(demo.GRID, sizes="20", steps="4", eval_every="2", test_limit="40")
    monkeypatch.setattr(demo, "GRID", grid)
    monkeypatch.setattr(demo, "OPTIONS", replace(demo.OPTIONS, inline=True))
    return tmp_path


def scores(text, name):
    """Return the numbers of the first line that starts with a name, which is a row of the table."""
    row = next(line for line in text.splitlines() if line.startswith(name))
    return [float(number) for number in re.findall(r"\d+\.\d", re.sub(r"\(.*?\)| ± \S+", "", row))]


def test_the_demo_reports_in_25_lines_and_resumes(small_demo, capsys):
    """The report has a headline, three rows, a comparison and three commands; a second run trains nothing."""
    assert demo.run_demo() == 0
    first = capsys.readouterr().out
    assert len(first.splitlines()) <= 25
    assert "8 done in" in first
    assert "Not settled on these tasks" in first or "No claim about simplex" in first
    for name in ("majority class", "prefix", "simplex"):
        assert len(scores(first, name)) == 3
    assert "simplex minus prefix: " in first
    assert [command in first for _, command in demo.NEXT] == [True] * 3
    assert demo.run_demo() == 0
    second = capsys.readouterr().out
    assert "8 ended before, 0 to do" in second
    assert second.splitlines()[-12:] == first.splitlines()[-12:]
    assert [path.name for path in small_demo.iterdir() if path.is_file()] == ["demo.db"]


@pytest.mark.usefixtures("small_demo")
def test_the_majority_row_is_computed_from_the_test_labels(capsys):
    """It is the share of the most frequent test label of each task."""
    assert demo.run_demo() == 0
    entailment, sentiment, average = scores(capsys.readouterr().out, "majority class")
    assert 50 <= sentiment < 75
    assert 100 / 3 <= entailment < 60
    assert average == pytest.approx((sentiment + entailment) / 2, abs=0.06)


def test_other_results_in_demo_db_are_left_alone(small_demo, make_job):
    """A database of another study, and a file that is not a database, are refused with what to do."""
    with Ledger("demo.db", write=True) as ledger:
        ledger.add_jobs([make_job()])
    with pytest.raises(UsageError, match=r"demo\.db has 1 result of another study: move the file"):
        demo.run_demo()
    with Ledger("demo.db") as ledger:
        assert len(ledger.entries()) == 1
    (small_demo / "demo.db").write_text("Dear diary,\n" * 400)
    with pytest.raises(CorruptData, match=r"demo\.db"):
        demo.run_demo()


@pytest.mark.slow
def test_both_methods_beat_the_majority_class(bench, tmp_path):
    """On both tasks each method is at least 10 points better than always predicting the most frequent label."""
    ended = bench(tmp_path, "demo")
    assert ended.code == 0, ended.err
    assert len(ended.out.splitlines()) <= 25
    majority = scores(ended.out, "majority class")
    for method in ("prefix", "simplex"):
        gains = [
            score - constant
            for score, constant in zip(scores(ended.out, method), majority, strict=True)
        ]
        assert min(gains) >= 10, ended.out
