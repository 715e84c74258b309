"""The texts of test rows, and the HTML page that shows them."""

import json
import os
import pty
import re
import subprocess
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from harness.backbones.hub import datasets, requests
from harness.jobs import Recipe
from harness.ledger import Ledger
from harness.results import example_texts
from harness.results.runs import runs as read_runs
from harness.tasks import REGISTRY, draws, glue, task_file
from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # every test trains or loads a model

EXAMPLE = ROOT / "results.db.example"


@pytest.fixture(scope="module")
def folder(bench, tmp_path_factory):
    """The folder of a ledger with results of a toy task and of a user's own task."""
    folder = tmp_path_factory.mktemp("texts")
    rows = "\n".join(
        f"{'good' if i % 2 else 'bad'} film number {i},{'yes' if i % 2 else 'no'}"
        for i in range(200)
    )
    (folder / "films.csv").write_text(f"text,label\n{rows}\n", "utf-8")
    (folder / "films.toml").write_text(
        'name = "films"\ndata = "films.csv"\ntext = ["text"]\nlabel = "label"\n', "utf-8"
    )
    more = [
        "--methods",
        "lora",
        "--tasks",
        "toy-entailment",
        "--task-file",
        "films.toml",
        "--draws",
        "2",
    ]
    ended = bench.run(folder, "r.db", *more)
    assert ended.code == 0, ended.err
    return folder


@pytest.fixture(scope="module")
def stored(folder):
    """The ledger's entries and their runs."""
    with Ledger(str(folder / "r.db")) as ledger:
        entries = ledger.entries()
        return entries, read_runs(
            entries, ledger.all_blobs([known.id for known in ledger.settings()])
        )


def wrong_in(path):
    """Return the wrong rows of each cell of a page, and the page's texts."""
    data = json.loads(re.search(r'id="data">(.*?)</script>', path.read_text("utf-8"), re.S)[1])
    return {
        name.split("\n")[1]: cell["wrong"]["rows"] for name, cell in data["cells"].items()
    }, data["texts"]


def test_texts_are_those_of_the_jobs_test_rows(stored):
    """They are in the order of the draw's test rows."""
    entries, runs = stored
    read = example_texts.reader(entries)
    for run in (run for run in runs if run.task == "toy-entailment"):
        entry = next(entry for entry in entries if entry.digest == run.digest)
        task, recipe = REGISTRY[run.task], Recipe(**entry.setting["recipe"])
        revision = entry.setting["task"]["revision"]
        reader = partial(task.reader.examples, revision=revision)
        whole = draws.draw(task, reader, run.size, run.draw, recipe)
        assert whole.fingerprint == entry.fingerprint
        assert read(run) == [row.texts for row in whole.tests[""]]


def test_a_users_files_are_read_if_named_and_unchanged(stored, folder):
    """Without a task file, or after a change of its data, there are no texts."""
    entries, runs = stored
    films = next(run for run in runs if run.task == "films")
    assert example_texts.reader(entries)(films) is None
    texts = example_texts.reader(entries, [task_file.read(folder / "films.toml")])(films)
    assert len(texts) == films.n_test
    assert all(
        ("good" in row[0]) == (label == 1)
        for row, label in zip(texts, films.labels[""], strict=True)
    )
    data = folder / "films.csv"
    before = data.read_bytes()
    data.write_bytes(before.replace(b"number 3,", b"number three,"))
    assert example_texts.reader(entries, [task_file.read(folder / "films.toml")])(films) is None
    data.write_bytes(before)


def test_rows_with_other_labels_are_not_shown(stored):
    """If the labels differ from the stored ones, the run had other test rows."""
    entries, runs = stored
    run = next(run for run in runs if run.task == "toy-entailment")
    assert example_texts.reader(entries)(run) is not None
    for labels in (
        {"": np.roll(run.labels[""], 1)},
        {"": run.labels[""][:-1]},
        {"other": run.labels[""]},
        {},
    ):
        assert example_texts.reader(entries)(replace(run, labels=labels)) is None


def test_the_hub_is_not_contacted(plain_run, monkeypatch):
    """An uncached task of the Hub has no texts; afterwards the Hub may be contacted again."""
    from huggingface_hub import constants

    asked = []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for module, name in ((requests, "_request_info"), (datasets, "_fetch")):
        monkeypatch.setattr(module, name, lambda *words: asked.append(words))
    setting = {"task": {"revision": "0" * 40}, "recipe": vars(Recipe()).copy()}
    entry = SimpleNamespace(digest=plain_run.digest, setting=setting, draw=0)
    assert example_texts.reader([entry])(plain_run) is None
    assert asked == []
    assert constants.HF_HUB_OFFLINE is False


def test_only_the_test_splits_are_read():
    """Large training splits, such as QQP's 360,000 rows, are not read."""
    read = []
    task = replace(glue.TASKS["mnli"], reader=None)
    draws.test_sets(task, lambda split: read.append(split) or [], 0, Recipe())
    assert read == ["validation_matched", "validation_mismatched"]


@pytest.fixture
def plain_run(stored):
    """A run of a task of the Hub."""
    return replace(stored[1][0], task="rte", labels={"": np.zeros(3)})


def test_the_page_contains_the_available_texts(bench, folder):
    """A user's rows appear if the task file is named. The file's name is printed, and torch is not imported."""
    ended = bench(folder, "report", "--db", "r.db", "--format", "html", "-o", "page.html")
    assert (ended.code, ended.out.strip(), ended.err) == (0, "page.html", "")
    assert not ended.loaded & {"torch", "transformers", "datasets"}
    rows, pool = wrong_in(folder / "page.html")
    assert rows["toy-entailment"]
    assert all(row[1] for row in rows["toy-entailment"])
    assert rows["films"]
    assert all(row[1] is None for row in rows["films"])
    bench(
        folder,
        "report",
        "--db",
        "r.db",
        "--format",
        "html",
        "-o",
        "own.html",
        "--task-file",
        "films.toml",
    )
    rows, pool = wrong_in(folder / "own.html")
    assert all("film number" in pool[row[1][0]] for row in rows["films"])


def test_characteristics_of_written_texts_need_no_texts(bench, tmp_path):
    """A report with the task file of a task that writes text is made without the texts of its rows."""
    (tmp_path / "t.csv").write_text("s,r\n" + "".join(f"a {n},b {n}\n" for n in range(40)))
    (tmp_path / "t.toml").write_text('data = "t.csv"\ntext = "s"\nlabel = "r"\nkind = "text"\n')
    ended = bench(
        tmp_path, "run", "--task-file", "t.toml", "--model", "tiny-gpt", "--methods", "zero-shot", "--sizes", 10,
        "--draws", 1, "--test-limit", 5, "--target-length", 4, "--db", "r.db", "--inline", "--yes",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    words = ("report", "--db", "r.db", "--characteristics", "--task-file", "t.toml")
    for more in ((), ("--format", "html", "-o", "r.html")):
        ended = bench(tmp_path, *words, *more)
        assert ended.code == 0, ended.err


def test_the_same_ledger_gives_the_same_page(bench, folder):
    """Two pages are equal to the byte; into a pipe the page itself is written."""
    one, other = (bench(folder, "report", "--db", "r.db", "--format", "html").out for _ in range(2))
    assert one == other
    assert one.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "option"), [(["--open"], "--open"), (["--task-file", "films.toml"], "--task-file")]
)
def test_options_of_the_page_are_refused_for_other_formats(bench, tmp_path, words, option):
    """The exit code is 2."""
    ended = bench(tmp_path, "report", "--db", EXAMPLE, "--format", "csv", *words)
    assert ended.code == 2
    assert f"{option} requires --format html" in ended.err


def test_on_a_terminal_the_page_is_written_to_report_html(bench, folder, monkeypatch):
    """The file's name is printed; --open passes the file to the browser."""
    ours, theirs = pty.openpty()
    words = ["report", "--db", "r.db", "--format", "html"]
    ended = subprocess.run(
        bench.command(*words),
        cwd=folder,
        env=bench.env,
        stdout=theirs,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert ended.returncode == 0
    assert os.read(ours, 1 << 16).split() == [b"report.html"]
    page = folder / "report.html"
    assert page.read_text("utf-8").endswith("</html>\n")
    page.unlink()
    browser = folder / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > opened\n', "utf-8")
    browser.chmod(0o700)
    monkeypatch.setitem(bench.env, "BROWSER", f"{browser} %s")
    assert bench(folder, *words, "--open").out.strip() == "report.html"
    assert (folder / "opened").read_text("utf-8").strip() == page.absolute().as_uri()
