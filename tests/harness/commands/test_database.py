"""`bench db`: copies, merged shards, upgrades, and what may go."""

import hashlib
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from harness.ledger import Ledger
from harness.ledger.migrations import CURRENT

OLD = (
    Path(__file__).parents[1] / "golden" / "schema-1.db"
)  # written by the first version of the ledger


def contents(path):
    """Everything that a ledger says of its jobs, by digest."""
    with Ledger(str(path)) as ledger:
        return {
            entry.digest: (entry.state, entry.metrics, ledger.blobs(entry.digest))
            for entry in ledger.entries()
        }


@pytest.fixture
def filled(tmp_path, make_job, make_outcome):
    """Makes a database of jobs of a label, some of them done."""

    def fill(name, label="lora", draws=4, done=4, **changes):
        jobs = [make_job(label, draw) for draw in range(draws)]
        with Ledger(str(tmp_path / name), write=True) as ledger:
            ledger.enter(jobs)
            ledger.begin("bench run")
            for job, claim in zip(
                jobs, ledger.claim([job.digest for job in jobs], done), strict=False
            ):
                ledger.record(make_outcome(job, **changes), claim.epoch)
        return jobs

    return fill


def test_three_shards_merged_are_the_grid(bench, tmp_path):
    """Each computes its part into a database of its own; together they are what one run gives, each job computed once."""
    words = (
        "--methods",
        "lora,prefix",
        "--tasks",
        "toy-sentiment,toy-similarity",
        "--draws",
        2,
        "--inline",
    )
    for part in (1, 2, 3):
        assert bench(tmp_path, "run", *bench.grid, *words, "--shard", f"{part}/3").code == 0
    names = [f"results.{part}-of-3.db" for part in (1, 2, 3)]
    merged = bench(tmp_path, "db", "merge", "all.db", *names)
    assert merged.code == 0, merged.err
    assert bench.run(tmp_path, "one.db", *words).code == 0
    assert contents(tmp_path / "all.db") == contents(tmp_path / "one.db")
    assert sum(len(contents(tmp_path / name)) for name in names) == 8
    with Ledger(str(tmp_path / "all.db")) as ledger:
        assert all(len(ledger.attempts(entry.digest)) == 1 for entry in ledger.entries())
    assert bench(tmp_path, "db", "verify", "--db", "all.db").code == 0  # with the files of tensors
    again = bench.run(tmp_path, "all.db", *words)
    assert "8 ended before, 0 to do" in again.out
    twice = bench(tmp_path, "db", "merge", "all.db", *names)
    assert twice.code == 0
    assert "0 results" in twice.out


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3"])
def test_a_shard_that_cannot_be_is_refused(bench, tmp_path, shard):
    """Before anything is planned."""
    ended = bench.run(tmp_path, "r.db", "--shard", shard)
    assert ended.code == 2
    assert "--shard wants a part of a whole" in ended.err
    assert not list(tmp_path.iterdir())


def test_what_is_better_wins(bench, tmp_path, filled):
    """A result replaces a hole and a failure; a failure replaces a hole; nothing replaces a result."""
    filled("target.db", done=1, status="failed", error="ValueError: no", score=None, metrics={})
    filled("source.db", done=2)
    assert bench(tmp_path, "db", "merge", "target.db", "source.db").code == 0
    states = [state for state, _, _ in contents(tmp_path / "target.db").values()]
    assert states == ["done", "done", "planned", "planned"]
    filled("bad.db", done=4, status="failed", error="ValueError: no", score=None, metrics={})
    assert bench(tmp_path, "db", "merge", "target.db", "bad.db").code == 0
    states = [state for state, _, _ in contents(tmp_path / "target.db").values()]
    assert states == ["done", "done", "failed", "failed"]
    assert bench(tmp_path, "db", "verify", "--db", "target.db").code == 0


def test_results_that_differ_are_named_and_the_targets_stand(bench, tmp_path, filled):
    """Two numbers for one job are nothing to choose between silently."""
    jobs = filled("target.db")
    filled("source.db", score=0.75, metrics={"accuracy": 0.75})
    before = contents(tmp_path / "target.db")
    ended = bench(tmp_path, "db", "merge", "target.db", "source.db")
    assert ended.code == 1
    assert all(job.digest[:12] in ended.out for job in jobs)
    assert contents(tmp_path / "target.db") == before


def test_a_database_is_not_merged_into_itself(bench, tmp_path, filled):
    """That is a slip of the keyboard."""
    filled("r.db")
    assert bench(tmp_path, "db", "merge", "r.db", "r.db").code == 2


def test_a_merge_that_breaks_off_leaves_the_target_as_it_was(tmp_path, filled, monkeypatch):
    """All of a source or nothing of it."""
    from harness.ledger import merging

    filled("target.db", label="prefix")
    filled("source.db")
    before = contents(tmp_path / "target.db")

    def cut(*_):
        raise RuntimeError("cut")

    monkeypatch.setattr(merging, "_moved", cut)
    with (
        Ledger(str(tmp_path / "source.db")) as theirs,
        Ledger(str(tmp_path / "target.db"), write=True) as ours,
        pytest.raises(RuntimeError, match="cut"),
    ):
        merging.merge(ours, theirs)
    assert contents(tmp_path / "target.db") == before


def test_a_database_of_the_first_schema_is_upgraded(bench, tmp_path):
    """Reading it says what to do; upgrading keeps every number, and a copy as it was."""
    shutil.copy(OLD, tmp_path / "r.db")
    ended = bench(tmp_path, "report", "--db", "r.db")
    assert ended.code == 69
    assert "bench db upgrade" in ended.err
    ended = bench(tmp_path, "db", "upgrade", "--db", "r.db")
    assert ended.code == 0, ended.err
    assert f"schema 1 is now {CURRENT}" in ended.out
    with sqlite3.connect(OLD) as old, sqlite3.connect(tmp_path / "r.db") as new:
        for table in (
            "job",
            "setting",
            "environment",
            "run",
            "result",
            "metric",
            "blob",
            "attempt",
        ):
            rows = f"SELECT * FROM {table}"  # noqa: S608  # names of this file
            before, after = old.execute(rows).fetchall(), new.execute(rows).fetchall()
            assert before == [row[: len(before[0])] for row in after]  # later columns stand behind
    old.close()
    new.close()
    assert bench(tmp_path, "db", "verify", "--db", "r.db").code == 0
    assert bench(tmp_path, "report", "--db", "r.db").code == 0
    assert (tmp_path / "r.db.schema-1").exists()
    assert "up to date" in bench(tmp_path, "db", "upgrade", "--db", "r.db").out


def test_a_copy_is_whole_and_stands_apart(bench, tmp_path, filled):
    """It has everything, is not written over, and is private to its owner."""
    filled("r.db")
    assert bench(tmp_path, "db", "backup", "copy.db", "--db", "r.db").code == 0
    assert contents(tmp_path / "copy.db") == contents(tmp_path / "r.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o077 == 0
    again = bench(tmp_path, "db", "backup", "copy.db", "--db", "r.db")
    assert again.code == 73
    assert "exists: choose another name" in again.err


def test_pruning_takes_what_belongs_to_nothing(bench, tmp_path, filled):
    """Files without a result and, if asked for, cells that are not done; first it says so, then it does so."""
    filled("r.db", done=2)
    folder = tmp_path / "r.db.artefacts"
    folder.mkdir()
    (folder / "0123.safetensors").write_bytes(b"x" * 100)
    (folder / "0123.draft").write_bytes(b"x")
    words = ("db", "prune", "--db", "r.db", "--unfinished")
    said = bench(tmp_path, *words)
    assert "2 cells and 2 files" in said.out
    assert len(contents(tmp_path / "r.db")) == 4
    assert len(list(folder.iterdir())) == 2
    assert bench(tmp_path, *words, "--yes").code == 0
    assert [state for state, _, _ in contents(tmp_path / "r.db").values()] == ["done", "done"]
    assert list(folder.iterdir()) == []
    assert bench(tmp_path, "db", "vacuum", "--db", "r.db").code == 0
    assert bench(tmp_path, "db", "verify", "--db", "r.db").code == 0


def test_a_claim_of_the_dead_gives_way_to_a_result(bench, tmp_path, filled, make_outcome):
    """The result is taken over; should the claim's holder live after all, what it brings comes too late."""
    jobs = filled("source.db")
    with Ledger(str(tmp_path / "target.db"), write=True) as target:
        target.enter(jobs)
        target.begin("dead")
        [claim] = target.claim([jobs[0].digest], 1)
        assert bench(tmp_path, "db", "merge", "target.db", "source.db").code == 0
        assert not target.record(make_outcome(jobs[0], score=0.1), claim.epoch)
    assert {state for state, _, _ in contents(tmp_path / "target.db").values()} == {"done"}
    assert bench(tmp_path, "db", "verify", "--db", "target.db").code == 0


def test_a_retry_at_hand_is_merged_as_it_had_ended_before(bench, tmp_path, make_job, make_outcome):
    """A job of the source that a run tries again, or was killed over, comes with its recorded outcome."""
    job = make_job()
    with Ledger(str(tmp_path / "source.db"), write=True) as source:
        source.enter([job])
        source.begin("bench run")
        [claim] = source.claim([job.digest], 1)
        assert source.record(
            make_outcome(job, status="diverged", score=0.25, error="NaN"), claim.epoch
        )
        source.claim([job.digest], 1, retry=["diverged"])
        assert bench(tmp_path, "db", "merge", "target.db", "source.db").code == 0
    with Ledger(str(tmp_path / "target.db")) as target:
        assert [(entry.state, entry.metrics["score"]) for entry in target.entries()] == [
            ("diverged", 0.25)
        ]


def test_nothing_is_pruned_while_a_run_goes_on(bench, tmp_path, filled):
    """What it has written is not recorded yet, and would look like rubbish."""
    filled("r.db", done=2)
    with Ledger(str(tmp_path / "r.db"), write=True) as running:
        running.begin("bench run")
        ended = bench(tmp_path, "db", "prune", "--db", "r.db", "--unfinished", "--yes")
        assert ended.code == 75
        assert "a run is going on" in ended.err
    assert len(contents(tmp_path / "r.db")) == 4


@pytest.mark.parametrize("command", [("vacuum",), ("prune", "--yes")], ids=["vacuum", "prune"])
@pytest.mark.parametrize(
    ("trouble", "code", "said"),
    [("full disk", 74, "free some space"), ("damage", 65, "is damaged")],
)
def test_a_database_that_cannot_be_written_anew_is_told_of(
    bench, tmp_path, filled, trouble, code, said, command
):
    """No room for the copy that takes its place, or a page that cannot be read: a sentence, and it stays as it was."""
    jobs = filled("r.db")
    words = bench.command("db", *command, "--db", "r.db")
    if trouble == "full disk":
        words = ["bash", "-c", 'ulimit -f 8; exec "$@"', "limited", *words]
    else:
        spoil(tmp_path / "r.db", "attempt")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    ended = bench.end(subprocess.Popen(words, cwd=tmp_path, env=bench.env, text=True, **pipes))
    assert (ended.code, len(ended.err.strip().splitlines())) == (code, 1), ended.err
    assert said in ended.err
    assert len(contents(tmp_path / "r.db")) == len(jobs)


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="a disk that is always full, as Linux has it"
)
@pytest.mark.parametrize(
    "words",
    [("backup", "b.db", "--db", "a.db"), ("merge", "b.db", "a.db")],
    ids=["backup", "merge"],
)
def test_no_room_for_copies_of_tensors_is_told(bench, tmp_path, filled, words):
    """A sentence with the exit code of a full disk; merged once more with room, everything is there."""
    [job] = filled("a.db", draws=1, done=1, artefact=hashlib.sha256(b"tensors").hexdigest())
    for name in ("a", "b"):
        (tmp_path / f"{name}.db.artefacts").mkdir()
    (tmp_path / "a.db.artefacts" / f"{job.digest}.safetensors").write_bytes(b"tensors")
    full = tmp_path / "b.db.artefacts" / f"{job.digest}.draft"
    full.symlink_to("/dev/full")
    ended = bench(tmp_path, "db", *words)
    assert (ended.code, len(ended.err.strip().splitlines())) == (74, 1), ended.err
    assert "free some space" in ended.err
    full.unlink()
    assert bench(tmp_path, "db", "merge", "b.db", "a.db").code == 0
    assert bench(tmp_path, "db", "verify", "--db", "b.db").code == 0


def spoil(path, table):
    """Make the first page of a table unreadable."""
    with sqlite3.connect(path) as connection:
        [(page,)] = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", [table]
        ).fetchall()
        [(size,)] = connection.execute("PRAGMA page_size").fetchall()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


@pytest.mark.parametrize("command", ["vacuum", "prune", "upgrade"])
def test_a_database_that_is_not_there_is_not_made(bench, tmp_path, command):
    """A slip in its name leaves nothing behind."""
    ended = bench(
        tmp_path, "db", command, "--db", "typo.db", *(["--yes"] if command == "prune" else [])
    )
    assert ended.code == 69
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("of", [2, 3, 5])
def test_every_shard_has_its_share_of_every_method(of):
    """Methods stand innermost in a plan, so every so-manieth job would be one method's."""
    from collections import Counter

    from harness.study import planning, request
    from harness.study.grid_options import GridOptions

    grid = GridOptions(
        model="tiny",
        methods="lora,prefix,head,bitfit,ia3",
        tasks="toy-sentiment",
        sizes="20,40",
        draws="5",
        steps="4",
    )
    plan = planning.plan(request.read(grid)[0])
    parts = [plan.part(number, of) for number in range(1, of + 1)]
    assert sorted(job.digest for part in parts for job in part.jobs) == sorted(
        job.digest for job in plan.jobs
    )
    for part in parts:
        counts = Counter(job.label for job in part.jobs)
        assert len(counts) == 5
        assert max(counts.values()) - min(counts.values()) <= 2
