"""How many rows of a file are longer than what is kept."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from harness.backbones import checkpoints, loading
from harness.jobs import BackboneSpec
from harness.study import planning, request, row_lengths
from harness.study.grid_options import GridOptions
from harness.training.rows import text_rows


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


def of_texts(tmp_path, source, reference, **options):
    """Return the options of a file of 60 sources and references of so many words, for a decoder."""
    (tmp_path / "t.jsonl").write_text(
        "".join(
            json.dumps({"src": "anna " * source + str(n), "ref": "soup " * reference}) + "\n"
            for n in range(60)
        )
    )
    known = {"text": "src", "label": "ref", "kind": "text", "model": "tiny-gpt", "sizes": "20"}
    return GridOptions(data=tmp_path / "t.jsonl", draws="1", **(known | options))


def test_a_decoder_has_room_for_the_text_that_it_writes(tmp_path):
    """Of 32 tokens, 16 are the text's and one separates: the note is there if, and only if, a source is cut."""
    spec = BackboneSpec(name="tiny-gpt", revision=checkpoints.revision_of("tiny-gpt"))
    backbone = replace(loading.load(spec, "cpu", writes=True), max_length=32, target_length=16)
    seen = set()
    for words in range(10, 17):
        options = of_texts(tmp_path, words, 3, max_length="32", target_length="16")
        checked = request.read(options)[0]
        (task,) = checked.tasks
        rows = task.reader.examples("train", task.reader.revision())
        whole = [len(backbone.tokenizer(row.texts[0])["input_ids"]) for row in rows]
        kept = [len(row["input_ids"]) - 1 for row in text_rows.sources(backbone, rows)]
        found = [
            one for one in row_lengths.describe(checked, planning.plan(checked)) if "keeps" in one
        ]
        cut = sum(before > after for before, after in zip(whole, kept, strict=True))
        assert [
            f"{100 * cut / 60:.0f} % of 60 rows have more than 15 tokens" in one for one in found
        ] == ([True] if cut else [])
        if cut:  # and the length that it names cuts nothing
            length = int(re.search(r"--max-length (\d+) keeps", found[0])[1])
            longer = text_rows.sources(replace(backbone, max_length=length), rows)
            assert [len(row["input_ids"]) - 1 for row in longer] == whole
        seen.add(cut > 0)
    assert seen == {False, True}


def test_references_that_are_cut_are_told(tmp_path):
    """A reference of 60 words is longer than 16 tokens, and one of 3 is not."""
    for words, said in ((60, True), (3, False)):
        checked = request.read(of_texts(tmp_path, 5, words, target_length="16"))[0]
        found = list(row_lengths.describe(checked, planning.plan(checked)))
        assert any("a first reference of more than 16 tokens" in text for text in found) == said


def test_an_automatic_length_leaves_room_for_the_separator(tmp_path):
    """Sources of 31 tokens with texts of 32 fit into 64 tokens, and those of 32 do not."""
    tokenizer = loading.load(
        BackboneSpec(name="tiny-gpt", revision=checkpoints.revision_of("tiny-gpt")),
        "cpu",
        writes=True,
    ).tokenizer
    seen = set()
    for words in range(27, 32):
        options = of_texts(tmp_path, words, 3, max_length="auto", target_length="32")
        checked = request.read(options)[0]
        (task,) = checked.tasks
        rows = task.reader.examples("train", task.reader.revision())
        longest = max(len(tokenizer(row.texts[0])["input_ids"]) for row in rows)
        if longest in (31, 32):
            chosen = row_lengths.resolve(checked, lambda _: None).recipe.max_length
            assert chosen == (64 if longest == 31 else 128)
            seen.add(longest)
    assert seen
