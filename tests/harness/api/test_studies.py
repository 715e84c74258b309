"""Studies in Python do what the commands do."""

import io
import os
import re
import sqlite3
import subprocess
import sys
import threading

import pandas as pd
import pytest

import harness
from harness import report, run
from harness.api import studies
from harness.errors import ExitCode, UsageError
from harness.scheduling.signals import watch_signals
from tests.conftest import ROOT

STUDY = {
    "methods": ["features"],
    "tasks": "toy-sentiment",
    "model": "tiny",
    "sizes": [8, 16],
    "draws": 2,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The table of a study, and its database."""
    db = tmp_path_factory.mktemp("study") / "r.db"
    return run(**STUDY, db=db, inline=True), db


def test_a_run_returns_a_row_for_each_job(study):
    """With its coordinates, status, score and metrics."""
    runs, _ = study
    assert len(runs) == 4
    assert sorted(zip(runs["size"], runs["draw"], strict=True)) == [
        (8, 0),
        (8, 1),
        (16, 0),
        (16, 1),
    ]
    assert set(runs["status"]) == {"done"}
    assert runs["score"].equals(runs["accuracy"].rename("score"))
    assert runs["score"].between(0, 1).all()


def test_the_same_call_again_computes_nothing(study, capsys):
    """It reads what is there, and returns the same table."""
    runs, db = study
    again = run(**STUDY, db=db, inline=True)
    pd.testing.assert_frame_equal(runs, again)
    assert "4 ended before, 0 to do" in capsys.readouterr().out


def test_a_part_of_a_study_returns_its_own_jobs(study):
    """Other jobs of the database are left out."""
    _, db = study
    assert list(run(**{**STUDY, "sizes": 16}, db=db, inline=True)["size"]) == [16, 16]


def test_the_smoke_check_and_a_part_of_a_grid_return_their_rows(tmp_path, monkeypatch):
    """Although the first keeps no database, and the second names it by its number."""
    monkeypatch.chdir(tmp_path)
    part = {**STUDY, "sizes": 8, "shard": "1/2", "inline": True}
    assert len(run(**part)) == 1
    assert [path.name for path in tmp_path.glob("*.db")] == ["results.1-of-2.db"]
    smoke = run(preset="smoke", methods="features", inline=True)
    assert set(smoke["status"]) == {"done"}
    assert len(list(tmp_path.glob("*.db"))) == 1


def test_torch_has_its_threads_again(study):
    """A run in this process uses one thread, and gives the others back."""
    import torch

    torch.set_num_threads(2)
    run(**{**STUDY, "sizes": 12}, db=study[1], inline=True)
    assert torch.get_num_threads() == 2


def test_the_ledger_names_the_command_and_not_the_script(study):
    """`bench show` can be repeated in a shell."""
    _, db = study
    with sqlite3.connect(db) as connection:
        command, *_ = connection.execute("SELECT command FROM run").fetchone()
    assert command.startswith("bench run --methods features --tasks toy-sentiment --sizes 8,16")


def test_a_report_has_the_numbers_of_the_command(study, bench):
    """Its tables are those of CSV, its text is that of the terminal, and it names the command that writes it."""
    runs, db = study
    found = report(db, sizes=[8, 16])
    printed = bench(db.parent, "report", "--db", db, "--format", "csv", "--sizes", "8,16")
    expected = pd.read_csv(io.StringIO(printed.out))
    assert list(found.scores["mean"]) == pytest.approx(list(expected["mean"]))
    assert list(found.scores.columns) == list(expected.columns)
    assert len(found.runs) == len(runs)
    shown = bench(db.parent, "report", "--db", db, "--sizes", "8,16").out
    assert str(found).split() == shown.split()  # in lines of another width
    assert "features" in found.verdict[0]
    assert found._repr_markdown_().startswith("## ")
    assert f"bench report --db {db} --sizes 8,16" in found.text("terminal", full=True).replace(
        "\n", " "
    )
    assert found._command("markdown", full=True, classes=False) == (
        f"bench report --db {db} --sizes 8,16 --full --format markdown"
    )
    with pytest.raises(ValueError, match="word"):
        found.text("word")
    with pytest.raises(UsageError, match="--classes is not available with --format csv"):
        found.text("csv", classes=True)


def test_a_wrong_request_raises_what_the_command_prints(study):
    """The same sentence, as an exception that a program can catch."""
    _, db = study
    with pytest.raises(UsageError, match="prefx"):
        run(methods="prefx", model="tiny", tasks="toy-sentiment", db=db)
    with pytest.raises(UsageError, match="--sizes: 'many' is not a whole number"):
        report(db, sizes=["many"])


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (ExitCode.INTERRUPTED, KeyboardInterrupt),
        (ExitCode.TERMINATED, KeyboardInterrupt),
        (129, KeyboardInterrupt),  # SIGHUP
        (ExitCode.USAGE, UsageError),
    ],
)
def test_a_run_that_was_stopped_raises(code, error):
    """Ctrl-C ends the script too; failed jobs do not, and stand in the table."""
    with pytest.raises(error):
        studies._raise_if_stopped(code)
    studies._raise_if_stopped(ExitCode.NEGATIVE)


def test_signals_are_left_alone_in_other_threads():
    """Python cannot handle them there: a web page can start a run."""
    found = []

    def work():
        with watch_signals() as stop:
            found.append(stop.count)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0]


def test_every_exported_name_exists():
    """And an unknown one is an AttributeError, as everywhere."""
    assert all(hasattr(harness, name) for name in harness.__all__)
    with pytest.raises(AttributeError, match="no attribute 'advice'"):
        _ = harness.advice


def environment():
    """The environment of this process, in which the checkout can be imported."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


def script():
    """The script of the page on Python."""
    return re.search(
        r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text("utf-8"), re.S
    )[1]


@pytest.mark.slow
def test_the_script_of_the_documents_runs_as_a_file(tmp_path):
    """From a study to answers, without `if __name__ == "__main__"`: workers do not run the script again."""
    rows = [f"{n} {word} film,{word}" for n in range(100) for word in ("good", "bad")]
    (tmp_path / "reviews.csv").write_text("\n".join(["review,stars", *rows]) + "\n")
    (tmp_path / "script.py").write_text(script())
    assert len(script().splitlines()) <= 13  # twelve lines beside a blank one
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(" to do" in line for line in lines) == 2  # of `run` and of `advise`
    assert any(line.startswith("Expect ") for line in lines)
    assert re.fullmatch(r"\['good'\] \[\[[\d.e+-]+ [\d.e+-]+\]\]", lines[-1])
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.slow
def test_mypy_sees_the_types_of_the_script(tmp_path):
    """With `--strict`: no error, and answers, tables and reports have types."""
    shown = ("comparison", "model", "load(['a', 'b'])", "model.predict_proba(['a'])")
    asked = "".join(f"reveal_type({one})\n" for one in shown)
    (tmp_path / "script.py").write_text(script() + asked)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--ignore-missing-imports", "script.py"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    types = re.findall(r'Revealed type is "([^"]*)"', done.stdout)
    assert [one.split("[")[0].rpartition(".")[2] for one in types] == [
        "Report",
        "Model",
        "Models",
        "ndarray",
    ]
    assert "script.py" not in re.sub(r".*Revealed type.*", "", done.stdout), done.stdout
