"""The page that the command writes, and where the texts of its test rows come from."""

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

from harness.backbones import hub
from harness.commands import example_texts, stored_runs
from harness.jobs import Recipe
from harness.ledger import Ledger
from harness.tasks import REGISTRY, draws, glue
from harness.tasks.own import from_toml
from tests.conftest import ROOT

EXAMPLE = ROOT / "results.db.example"


@pytest.fixture(scope="module")
def folder(bench, tmp_path_factory):
    """Results of a task that the program knows, and of one of the user's own."""
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
    """Its jobs and their runs."""
    with Ledger(str(folder / "r.db")) as ledger:
        entries = ledger.entries()
        return entries, stored_runs.runs(
            entries, ledger.all_blobs([one.id for one in ledger.settings()])
        )


def wrong_in(path):
    """The wrong rows of each cell of a page, and the texts."""
    data = json.loads(re.search(r'id="data">(.*?)</script>', path.read_text("utf-8"), re.S)[1])
    return {
        name.split("\n")[1]: cell["wrong"]["rows"] for name, cell in data["cells"].items()
    }, data["texts"]


def test_texts_are_those_that_the_job_was_tested_on(stored):
    """Row by row, with the right answers in the same order."""
    entries, runs = stored
    read = example_texts.reader(entries)
    for run in (run for run in runs if run.task == "toy-entailment"):
        entry = next(entry for entry in entries if entry.digest == run.digest)
        task, recipe = REGISTRY[run.task], Recipe(**entry.setting["recipe"])
        revision = entry.setting["task"]["revision"]
        reader = partial(task.reader.rows, revision=revision)
        whole = draws.draw(task, reader, run.size, run.draw, recipe)
        assert whole.fingerprint == entry.fingerprint
        assert read(run) == [row.texts for row in whole.tests[""]]


def test_own_files_are_read_if_they_are_named_and_unchanged(stored, folder):
    """Without a task file, or with other contents than the job had, there are no texts."""
    entries, runs = stored
    films = next(run for run in runs if run.task == "films")
    assert example_texts.reader(entries)(films) is None
    found = example_texts.reader(entries, [from_toml(folder / "films.toml")])(films)
    assert len(found) == films.n_test
    assert all(
        ("good" in row[0]) == (label == 1)
        for row, label in zip(found, films.right[""], strict=True)
    )
    data = folder / "films.csv"
    before = data.read_bytes()
    data.write_bytes(before.replace(b"number 3,", b"number three,"))
    assert example_texts.reader(entries, [from_toml(folder / "films.toml")])(films) is None
    data.write_bytes(before)


def test_rows_with_other_answers_are_not_shown(stored):
    """Where the right answers are not those of the run, its rows were others."""
    entries, runs = stored
    run = next(run for run in runs if run.task == "toy-entailment")
    assert example_texts.reader(entries)(run) is not None
    for right in (
        {"": np.roll(run.right[""], 1)},
        {"": run.right[""][:-1]},
        {"other": run.right[""]},
        {},
    ):
        assert example_texts.reader(entries)(replace(run, right=right)) is None


def test_nobody_is_asked(plain_run, monkeypatch):
    """A task of the Hub that is not cached has no texts; the Hub is not asked, and may be asked again afterwards."""
    from huggingface_hub import constants

    asked = []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("_info", "_load"):
        monkeypatch.setattr(hub, name, lambda *words: asked.append(words))
    setting = {"task": {"revision": "0" * 40}, "recipe": vars(Recipe()).copy()}
    entry = SimpleNamespace(digest=plain_run.digest, setting=setting, draw=0)
    assert example_texts.reader([entry])(plain_run) is None
    assert asked == []
    assert constants.HF_HUB_OFFLINE is False


def test_only_test_rows_are_read_where_they_have_a_split():
    """QQP's 360,000 training rows are left alone."""
    read = []
    task = replace(glue.TASKS["mnli"], reader=None)
    draws.tested(task, lambda split: read.append(split) or [], 0, Recipe())
    assert read == ["validation_matched", "validation_mismatched"]


@pytest.fixture
def plain_run(stored):
    """A run of a task of the Hub."""
    return replace(stored[1][0], task="rte", right={"": np.zeros(3)})


def test_the_page_is_written_with_the_texts_at_hand(bench, folder):
    """The file's name is the answer; the user's own rows are there if their task file is named; torch is not needed."""
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


def test_the_same_ledger_gives_the_same_page(bench, folder):
    """To the byte; into a pipe the page itself is written."""
    one, other = (bench(folder, "report", "--db", "r.db", "--format", "html").out for _ in range(2))
    assert one == other
    assert one.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "option"), [(["--open"], "--open"), (["--task-file", "films.toml"], "--task-file")]
)
def test_what_only_a_page_can_do_is_refused_elsewhere(bench, tmp_path, words, option):
    """A sentence and exit code 2, rather than an option that does nothing."""
    ended = bench(tmp_path, "report", "--db", EXAMPLE, "--format", "csv", *words)
    assert ended.code == 2
    assert f"{option} requires --format html" in ended.err


def test_a_page_is_not_poured_into_a_terminal_and_opens_if_asked(bench, folder, monkeypatch):
    """On a terminal it goes to report.html, whose name is said; `--open` hands that file to the browser."""
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
