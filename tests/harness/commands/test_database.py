"""`bench db backup`, `merge`, `upgrade`, `prune` and `vacuum`."""

import hashlib
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from harness.ledger import Ledger
from harness.ledger.migrations import CURRENT

OLD = Path(__file__).parents[1] / "golden" / "schema-1.db"  # of the first version of the ledger


def contents(path):
    """Return each job's state, metrics and blobs, by digest."""
    with Ledger(str(path)) as ledger:
        return {
            entry.digest: (entry.state, entry.metrics, ledger.blobs(entry.digest))
            for entry in ledger.entries()
        }


@pytest.fixture
def filled(tmp_path, make_job, make_outcome):
    """A function that makes a database of jobs with one label, some of them done."""

    def fill(name, label="lora", draws=4, done=4, **changes):
        jobs = [make_job(label, draw) for draw in range(draws)]
        with Ledger(str(tmp_path / name), write=True) as ledger:
            ledger.add_jobs(jobs)
            ledger.begin("bench run")
            for job, claim in zip(
                jobs, ledger.claim([job.digest for job in jobs], done), strict=False
            ):
                ledger.record(make_outcome(job, **changes), claim.number)
        return jobs

    return fill


@pytest.mark.slow
def test_three_merged_shards_equal_one_run(bench, tmp_path):
    """Three databases of one shard each, merged, have the contents of one run, with one attempt per job."""
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
    assert bench(tmp_path, "db", "verify", "--db", "all.db").code == 0  # with the tensor files
    again = bench.run(tmp_path, "all.db", *words)
    assert "8 ended before, 0 to do" in again.out
    twice = bench(tmp_path, "db", "merge", "all.db", *names)
    assert twice.code == 0
    assert "0 new results" in twice.out


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3"])
def test_an_invalid_shard_is_refused(bench, tmp_path, shard):
    """No database is created."""
    ended = bench.run(tmp_path, "r.db", "--shard", shard)
    assert ended.code == 2
    assert "--shard must be a part of a whole" in ended.err
    assert not list(tmp_path.iterdir())


def test_merge_prefers_results_over_failures_over_missing_jobs(bench, tmp_path, filled):
    """Nothing replaces a result."""
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


def test_merge_names_unequal_results_and_keeps_the_targets(bench, tmp_path, filled):
    """The exit code is 1, and the target is unchanged."""
    jobs = filled("target.db")
    filled("source.db", score=0.75, metrics={"accuracy": 0.75})
    before = contents(tmp_path / "target.db")
    ended = bench(tmp_path, "db", "merge", "target.db", "source.db")
    assert ended.code == 1
    assert all(job.digest[:12] in ended.out for job in jobs)
    assert contents(tmp_path / "target.db") == before


def test_a_database_is_not_merged_into_itself(bench, tmp_path, filled):
    """The exit code is 2."""
    filled("r.db")
    assert bench(tmp_path, "db", "merge", "r.db", "r.db").code == 2


def test_an_interrupted_merge_leaves_the_target_unchanged(tmp_path, filled, monkeypatch):
    """A source is merged as a whole or not at all."""
    from harness.ledger import merging

    filled("target.db", label="prefix")
    filled("source.db")
    before = contents(tmp_path / "target.db")

    def cut(*_):
        raise RuntimeError("cut")

    monkeypatch.setattr(merging._Merger, "_copied_rows", cut)
    with (
        Ledger(str(tmp_path / "source.db")) as theirs,
        Ledger(str(tmp_path / "target.db"), write=True) as ours,
        pytest.raises(RuntimeError, match="cut"),
    ):
        merging.merge(ours, theirs)
    assert contents(tmp_path / "target.db") == before


def test_a_database_of_the_first_schema_is_upgraded(bench, tmp_path):
    """Reading it names the command; upgrading keeps every number and a copy of the old file."""
    shutil.copy(OLD, tmp_path / "r.db")
    ended = bench(tmp_path, "report", "--db", "r.db")
    assert ended.code == 69
    assert "bench db upgrade" in ended.err
    ended = bench(tmp_path, "db", "upgrade", "--db", "r.db")
    assert ended.code == 0, ended.err
    assert f"from schema 1 to {CURRENT}" in ended.out
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
            assert before == [row[: len(before[0])] for row in after]  # new columns come last
    old.close()
    new.close()
    assert bench(tmp_path, "db", "verify", "--db", "r.db").code == 0
    assert bench(tmp_path, "report", "--db", "r.db").code == 0
    assert (tmp_path / "r.db.schema-1").exists()
    assert "up to date" in bench(tmp_path, "db", "upgrade", "--db", "r.db").out


def test_a_backup_is_complete_and_private(bench, tmp_path, filled):
    """It has the contents of the original, is readable by its owner only, and is never overwritten."""
    filled("r.db")
    assert bench(tmp_path, "db", "backup", "copy.db", "--db", "r.db").code == 0
    assert contents(tmp_path / "copy.db") == contents(tmp_path / "r.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o077 == 0
    again = bench(tmp_path, "db", "backup", "copy.db", "--db", "r.db")
    assert again.code == 73
    assert "exists: choose another name" in again.err


def test_prune_deletes_files_without_a_result_and_unfinished_jobs(bench, tmp_path, filled):
    """Without --yes it only prints what it would delete."""
    filled("r.db", done=2)
    folder = tmp_path / "r.db.artefacts"
    folder.mkdir()
    (folder / "0123.safetensors").write_bytes(b"x" * 100)
    (folder / "0123.draft").write_bytes(b"x")
    words = ("db", "prune", "--db", "r.db", "--unfinished")
    assert "would delete 2 jobs and 2 tensor files" in bench(tmp_path, *words).out
    assert len(contents(tmp_path / "r.db")) == 4
    assert len(list(folder.iterdir())) == 2
    assert bench(tmp_path, *words, "--yes").code == 0
    assert [state for state, _, _ in contents(tmp_path / "r.db").values()] == ["done", "done"]
    assert list(folder.iterdir()) == []
    assert bench(tmp_path, "db", "vacuum", "--db", "r.db").code == 0
    assert bench(tmp_path, "db", "verify", "--db", "r.db").code == 0


def test_merge_replaces_a_dead_runs_claim_by_a_result(bench, tmp_path, filled, make_outcome):
    """If the claim's holder is alive after all, its outcome is rejected as too late."""
    jobs = filled("source.db")
    with Ledger(str(tmp_path / "target.db"), write=True) as target:
        target.add_jobs(jobs)
        target.begin("dead")
        [claim] = target.claim([jobs[0].digest], 1)
        assert bench(tmp_path, "db", "merge", "target.db", "source.db").code == 0
        assert not target.record(make_outcome(jobs[0], score=0.1), claim.number)
    assert {state for state, _, _ in contents(tmp_path / "target.db").values()} == {"done"}
    assert bench(tmp_path, "db", "verify", "--db", "target.db").code == 0


def test_a_job_being_retried_is_merged_with_its_recorded_outcome(
    bench, tmp_path, make_job, make_outcome
):
    """The claim of the source's run is not copied."""
    job = make_job()
    with Ledger(str(tmp_path / "source.db"), write=True) as source:
        source.add_jobs([job])
        source.begin("bench run")
        [claim] = source.claim([job.digest], 1)
        assert source.record(
            make_outcome(job, status="diverged", score=0.25, error="NaN"), claim.number
        )
        source.claim([job.digest], 1, retry=["diverged"])
        assert bench(tmp_path, "db", "merge", "target.db", "source.db").code == 0
    with Ledger(str(tmp_path / "target.db")) as target:
        assert [(entry.state, entry.metrics["score"]) for entry in target.entries()] == [
            ("diverged", 0.25)
        ]


def test_prune_is_refused_during_a_run(bench, tmp_path, filled):
    """The run's tensor files are not recorded yet and would look as if they had no result."""
    filled("r.db", done=2)
    with Ledger(str(tmp_path / "r.db"), write=True) as running:
        running.begin("bench run")
        ended = bench(tmp_path, "db", "prune", "--db", "r.db", "--unfinished", "--yes")
        assert ended.code == 75
        assert "a run is using" in ended.err
    assert len(contents(tmp_path / "r.db")) == 4


@pytest.mark.parametrize("command", [("vacuum",), ("prune", "--yes")], ids=["vacuum", "prune"])
@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [("full disk", 74, "free some space"), ("damage", 65, "is damaged")],
)
def test_a_database_that_cannot_be_rewritten_stays_unchanged(
    bench, tmp_path, filled, fault, code, message, command
):
    """With a full disk or an unreadable page, the command prints one line and keeps every job."""
    jobs = filled("r.db")
    words = bench.command("db", *command, "--db", "r.db")
    if fault == "full disk":
        words = ["bash", "-c", 'ulimit -f 8; exec "$@"', "limited", *words]
    else:
        spoil(tmp_path / "r.db", "attempt")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    ended = bench.end(subprocess.Popen(words, cwd=tmp_path, env=bench.env, text=True, **pipes))
    assert (ended.code, len(ended.err.strip().splitlines())) == (code, 1), ended.err
    assert message in ended.err
    assert len(contents(tmp_path / "r.db")) == len(jobs)


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="/dev/full, a file that is always full, is Linux only"
)
@pytest.mark.parametrize(
    "words",
    [("backup", "b.db", "--db", "a.db"), ("merge", "b.db", "a.db")],
    ids=["backup", "merge"],
)
def test_a_full_disk_while_copying_tensors_is_reported(bench, tmp_path, filled, words):
    """The exit code is 74; merging again with free space completes the copy."""
    [job] = filled("a.db", draws=1, done=1, artefact=hashlib.sha256(b"tensors").hexdigest())
    for name in ("a", "b"):
        (tmp_path / f"{name}.db.artefacts").mkdir()
    (tmp_path / "a.db.artefacts" / f"{job.digest}.safetensors").write_bytes(b"tensors")
    full = tmp_path / "b.db.artefacts" / f"{job.digest}.draft"
    full.symlink_to("/dev/full")
    ended = bench(tmp_path, "db", *words)
    assert (ended.code, len(ended.err.strip().splitlines())) == (74, 1), ended.err
    assert "free some space" in ended.err
    full.unlink(missing_ok=True)  # the failed copy removed its draft
    assert bench(tmp_path, "db", "merge", "b.db", "a.db").code == 0
    assert bench(tmp_path, "db", "verify", "--db", "b.db").code == 0


def spoil(path, table):
    """Overwrite the first page of a table."""
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
def test_a_missing_database_is_not_created(bench, tmp_path, command):
    """The exit code is 69, and the folder stays empty."""
    ended = bench(
        tmp_path, "db", command, "--db", "typo.db", *(["--yes"] if command == "prune" else [])
    )
    assert ended.code == 69
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("of", [2, 3, 5])
@pytest.mark.parametrize("tasks", ["toy-sentiment", "toy-sentiment,toy-entailment"])
@pytest.mark.parametrize("labels", ["lora", "lora,prefix,head,bitfit,ia3"])
def test_every_shard_has_its_share_of_every_method_task_and_size(of, labels, tasks):
    """Taking every n-th job of a plan could give a shard one method, one task or one size only."""
    from harness.study import planning, request
    from harness.study.grid_options import GridOptions

    grid = GridOptions(
        model="tiny",
        methods=labels,
        tasks=tasks,
        sizes="20,40",
        draws="5",
        steps="4",
    )
    plan = planning.plan(request.read(grid)[0])
    parts = [plan.part(number, of) for number in range(1, of + 1)]
    assert sorted(job.digest for part in parts for job in part.jobs) == sorted(
        job.digest for job in plan.jobs
    )
    kinds = {(job.label, job.draw.task, job.draw.size) for job in plan.jobs}
    for position in range(3):
        for value in {kind[position] for kind in kinds}:
            counts = [
                sum(
                    (job.label, job.draw.task, job.draw.size)[position] == value
                    for job in part.jobs
                )
                for part in parts
            ]
            assert max(counts) - min(counts) <= 2
