"""What a run said about a user's file stays with its results."""

import json
import os
import sys

import pytest

from harness.errors import CorruptData
from harness.ledger import Ledger
from harness.ledger.overview import DATA_KEYS
from harness.study import data_findings

SAID = ("d.csv: 2 rows left out: 2 without text (row 2 (line 3), row 5 (line 6)); --strict-data refuses them",
        "the classes 'Bad' and 'bad' look alike: if they are one class, give them one spelling")  # fmt: skip
ROWS = "text,label\n" + "".join(
    f"{'' if n in (1, 4) else f'word{n}'},{('good', 'bad', 'Bad')[min(n % 10, 2)]}\n"
    for n in range(80)
)


def test_the_report_repeats_what_the_run_said(bench, tmp_path):
    """Rows left out and classes that look alike are a note of every report, with and without the file."""
    path = tmp_path / "d.csv"
    path.write_text(ROWS)
    words = ("--data", "d.csv", "--text", "text", "--label", "label", "--kind", "classes")
    grid = ("--sizes", "16", "--draws", "1", "--model", "tiny", "--methods", "head", "--steps", "2",
            "--eval-every", "1", "--test-limit", "20", "--inline", "--yes")  # fmt: skip
    ended = bench(tmp_path, "run", *words, *grid)
    assert ended.code == 0, ended.err
    assert all(f"note: {text}" in " ".join(ended.err.split()) for text in SAID)
    path.unlink()
    ended = bench(tmp_path, "report", "--format", "json")
    notes = {note["code"]: note["text"] for note in json.loads(ended.out)["notes"]}
    assert all(text in notes["DATA"] for text in SAID)
    assert "DATA: the classes 'Bad' and 'bad' look alike" in bench(tmp_path, "report").out
    status = bench(tmp_path, "status")
    assert all(f"data: {text}" in status.out for text in SAID)
    assert set(SAID) <= set(json.loads(bench(tmp_path, "status", "--json").out)["data"]["d"])


def test_another_file_of_one_name_is_refused(bench, tmp_path):
    """Two files with one stem, or two label columns of one file, are two tasks: neither hides the other."""
    grid = ("--sizes", "16", "--draws", "1", "--model", "tiny", "--methods", "head", "--steps", "2",
            "--eval-every", "1", "--test-limit", "20", "--inline", "--yes")  # fmt: skip
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        rows = "".join(f"{folder} word{n},{n % 2},{n % 3}\n" for n in range(80))
        (tmp_path / folder / "train.csv").write_text(f"text,label,other\n{rows}")
    first = ("--data", "a/train.csv", "--text", "text", "--label", "label")
    assert bench(tmp_path, "run", *first, *grid).code == 0
    for words in (
        ("--data", "b/train.csv", "--text", "text", "--label", "label"),
        ("--data", "a/train.csv", "--text", "text", "--label", "other"),
    ):
        refused = bench(tmp_path, "run", *words, *grid)
        assert refused.code == 2
        assert "under the name 'train'" in refused.err
        assert "name it with --name" in refused.err
        assert (
            bench(tmp_path, "run", *words, *grid, "--name", f"other{len(words[1])}{words[-1]}").code
            == 0
        )
    with (tmp_path / "a/train.csv").open("a") as file:
        file.write("one more,0,1\n")
    edited = bench(tmp_path, "run", *first, *grid)
    assert edited.code == 0
    assert "note: train: the file, or how it is read, is not that of earlier results" in edited.err


def test_a_moved_file_is_still_the_same_one(bench, tmp_path):
    """Its results are found from the new folder, also if the database has results of earlier content too."""
    grid = ("--sizes", "16", "--draws", "1", "--model", "tiny", "--methods", "head", "--steps", "2",
            "--eval-every", "1", "--test-limit", "20", "--inline", "--yes")  # fmt: skip
    columns = ("--text", "text", "--label", "label")
    path = tmp_path / "a" / "d.csv"
    path.parent.mkdir()
    path.write_text("text,label\n" + "".join(f"word{n},{n % 2}\n" for n in range(80)))
    assert bench(tmp_path, "run", "--data", "a/d.csv", *columns, *grid).code == 0
    with path.open("a") as file:
        file.write("one more,0\n")
    assert bench(tmp_path, "run", "--data", "a/d.csv", *columns, *grid).code == 0
    path.parent.rename(tmp_path / "b")
    moved = bench(tmp_path, "run", "--data", "b/d.csv", *columns, *grid)
    assert (moved.code, "0 to do" in moved.out) == (0, True), moved.err
    with (tmp_path / "b" / "d.csv").open("a") as file:
        file.write("and another,1\n")
    changed = bench(tmp_path, "run", "--data", "b/d.csv", *columns, *grid)
    assert changed.code == 2
    assert "moved and then changed" in changed.err


def test_a_merge_of_two_files_of_one_name_is_refused(bench, tmp_path):
    """Results of another file do not come under a task's name; a copy of the file, and its later versions, do."""
    grid = ("--sizes", "16", "--draws", "1", "--model", "tiny", "--methods", "head", "--steps", "2",
            "--eval-every", "1", "--test-limit", "20", "--inline", "--yes")  # fmt: skip
    columns = ("--text", "text", "--label", "label")
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        word = "copied" if folder in ("a", "c") else "other"
        rows = "".join(f"{word} word{n},{n % 2}\n" for n in range(80))
        (tmp_path / folder / "d.csv").write_text(f"text,label\n{rows}")
        words = ("--data", f"{folder}/d.csv", *columns, "--db", f"{folder}.db")
        assert bench(tmp_path, "run", *words, *grid).code == 0
    before = (tmp_path / "a.db").read_bytes()
    refused = bench(tmp_path, "db", "merge", "a.db", "b.db")
    assert refused.code == 2
    assert "b/d.csv (text -> label): keep the two databases apart" in refused.err
    assert (tmp_path / "a.db").read_bytes() == before
    with (tmp_path / "c/d.csv").open("a") as file:
        file.write("one more,0\n")
    later = ("--data", "c/d.csv", *columns, "--db", "c.db")
    assert bench(tmp_path, "run", *later, *grid).code == 0
    merged = bench(tmp_path, "db", "merge", "a.db", "c.db")
    assert merged.code == 0
    assert "1 new result" in merged.out


def test_the_report_follows_a_run_back_to_earlier_data(bench, tmp_path):
    """A run on a file as it was before has no new job, and the report shows its results again."""
    grid = ("--sizes", "16", "--draws", "1", "--model", "tiny", "--methods", "head", "--steps", "2",
            "--eval-every", "1", "--test-limit", "20", "--inline", "--yes")  # fmt: skip
    words = ("--data", "d.csv", "--text", "text", "--label", "label")
    files = {
        name: "text,label\n" + "".join(f"word{n},{n % 10 < rare}\n" for n in range(80))
        for name, rare in (("first", 2), ("second", 5))
    }
    majority = {}
    for name in ("first", "second", "first"):
        (tmp_path / "d.csv").write_text(files[name])
        assert bench(tmp_path, "run", *words, *grid).code == 0
        table = json.loads(bench(tmp_path, "report", "--format", "json").out)["cells"]
        found = json.dumps(table)
        assert majority.setdefault(name, found) == found
    assert majority["first"] != majority["second"]


def test_a_plan_says_what_a_run_would_refuse(bench, tmp_path):
    """Another file under the name of earlier results, and later versions of a file."""
    grid = ("--sizes", "16", "--draws", "1", "--model", "tiny", "--methods", "head", "--steps", "2",
            "--eval-every", "1", "--test-limit", "20")  # fmt: skip
    columns = ("--text", "text", "--label", "label")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        rows = "".join(f"{folder} word{n},{n % 2}\n" for n in range(80))
        (tmp_path / folder / "d.csv").write_text(f"text,label\n{rows}")
    first = ("--data", "a/d.csv", *columns)
    assert bench(tmp_path, "run", *first, *grid, "--inline", "--yes").code == 0
    refused = bench(tmp_path, "plan", "--data", "b/d.csv", *columns, *grid)
    assert (refused.code, "under the name 'd'" in refused.err) == (2, True)
    with (tmp_path / "a/d.csv").open("a") as file:
        file.write("one more,0\n")
    assert "is not that of earlier results" in bench(tmp_path, "plan", *first, *grid).err


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_a_file_name_need_not_be_utf_8(bench, tmp_path):
    """The name is shown escaped, and results are stored."""
    grid = ("--sizes", "16", "--draws", "1", "--model", "tiny", "--methods", "head", "--steps", "2",
            "--eval-every", "1", "--test-limit", "20", "--inline", "--yes")  # fmt: skip
    name = os.fsdecode(b"caf\xe9.csv")
    rows = "".join(f"word{n},{n % 2}\n" for n in range(80))
    (tmp_path / name).write_text(f"text,label\n{rows}")
    ended = bench(tmp_path, "run", "--data", name, "--text", "text", "--label", "label", *grid)
    assert ended.code == 0, ended.err
    assert bench(tmp_path, "report").code == 0


def test_stored_findings_are_sealed(tmp_path):
    """Findings are stored once for a revision; changed ones are refused."""
    from dataclasses import replace

    from tests.support.trainings import CLASSES

    task = replace(CLASSES, findings=SAID)
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        data_findings.store(ledger, [task, CLASSES], {"made": "1"})
        data_findings.store(ledger, [replace(task, findings=("other",))], {"made": "1"})
        values = ledger.meta_values()
    assert data_findings.read(values, {"made": "1", "absent": "2"}) == {"made": SAID}
    assert data_findings.read(values, {"made": "2"}) == {}
    [key] = [key for key in values if key.startswith(DATA_KEYS)]
    for changed in (values[key].replace("Bad", "bad"), "[]", "not JSON"):
        with pytest.raises(CorruptData, match="about the data of made was changed"):
            data_findings.read(values | {key: changed}, {"made": "1"})
