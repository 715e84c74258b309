"""How many rows of a file are longer than what is kept."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from harness.study import planning, request, row_lengths
from harness.study.grid_options import GridOptions


@pytest.fixture
def grid(tmp_path):
    """A file in which 10 of 60 rows have 100 words."""
    rows = "".join(f"{'film ' * (100 if n < 10 else 5)}{n},{n % 2}\n" for n in range(60))
    (tmp_path / "f.csv").write_text(f"text,label\n{rows}")
    return GridOptions(
        data=tmp_path / "f.csv",
        text="text",
        label="label",
        model="tiny",
        sizes="20",
        draws="1",
        max_length="64",
    )


def test_the_share_of_cut_rows_is_told(grid):
    """The sentence gives the share, what is kept and a length that cuts nothing; short rows need none."""
    checked = request.read(grid)[0]
    (said,) = row_lengths.describe(checked, planning.plan(checked))
    assert "f: 17 % of 60 rows have more than 64 tokens, and the beginning of each is kept" in said
    assert "--max-length 128 keeps all of them whole" in said
    for options in (
        {"max_length": "150"},
        {"data": None, "text": None, "label": None, "tasks": "toy"},
    ):
        checked = request.read(GridOptions(**(vars(grid) | options)))[0]
        assert list(row_lengths.describe(checked, planning.plan(checked))) == []


def test_the_report_tells_it_too(bench, tmp_path, grid):
    """The finding CUT has the share of test rows; with longer rows it is not there."""
    words = ("--data", grid.data, "--text", "text", "--label", "label", "--methods", "head,bitfit",
             "--model", "tiny", "--sizes", "20", "--draws", "2", "--steps", "2", "--eval-every", "1",
             "--inline", "--yes")  # fmt: skip
    for length, said in (("64", True), ("150", False)):
        db = f"{length}.db"
        assert bench(tmp_path, "run", *words, "--max-length", length, "--db", db).code == 0
        ended = bench(tmp_path, "report", "--format", "json", "--db", db)
        notes = {note["code"]: note["text"] for note in json.loads(ended.out)["notes"]}
        assert ("CUT" in notes) == said
        assert not said or "% of the test rows" in notes["CUT"]


def test_counting_imports_no_torch(grid):
    """The library of the tokenizer is enough."""
    code = (
        "import sys; from pathlib import Path; from harness.study import planning, request, row_lengths; "
        "from harness.study.grid_options import GridOptions; "
        f"checked = request.read(GridOptions(data=Path({str(grid.data)!r}), text='text', label='label', "
        "model='tiny', sizes='20', draws='1', max_length='64'))[0]; "
        "from harness.backbones import checkpoints; "
        "from harness.study.planning import Plan; from harness.jobs import BackboneSpec; "
        "plan = Plan(BackboneSpec(name='tiny', revision=checkpoints.revision_of('tiny')), (), (), {}); "
        "assert list(row_lengths.describe(checked, plan)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_automatic_length_keeps_nearly_all_rows_whole(grid):
    """It is the least of a few lengths that cuts at most one row in a hundred, and fits the backbone."""
    checked = request.read(replace(grid, max_length="auto"))[0]
    assert checked.recipe.max_length == 0
    assert (
        row_lengths.resolve(checked, lambda _: None).recipe.max_length == 128
    )  # 10 of 60 have over 64
    toy = request.read(
        replace(grid, data=None, text=None, label=None, tasks="toy", max_length="auto")
    )[0]
    assert row_lengths.resolve(toy, lambda _: None).recipe.max_length in (32, 64)
    named = request.read(replace(grid, max_length="48"))[0]
    assert row_lengths.resolve(named, lambda _: None) is named
    plan = planning.plan(row_lengths.resolve(checked, lambda _: None))
    assert {job.recipe.max_length for job in plan.jobs} == {128}
