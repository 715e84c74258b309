"""The ledger: a result is complete or absent, claims end with their process, and damaged files are not changed."""

import hashlib
import math
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import event, inspect
from sqlmodel import SQLModel

from harness.commands import show, status
from harness.errors import BenchError, CannotWrite, CorruptData, Unavailable, UsageError
from harness.jobs import canonical
from harness.ledger import InfeasibleCell, Ledger
from harness.ledger.seals import payload_hash, rebuilt_digest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def db(tmp_path) -> str:
    """The path of a ledger that does not exist yet."""
    return str(tmp_path / "r.db")


@pytest.fixture
def ledger(db):
    """An empty ledger with a run begun."""
    with Ledger(db, write=True) as opened:
        opened.begin("bench run")
        yield opened


@pytest.fixture
def filled(db, make_job, make_outcome) -> str:
    """A ledger with three results, one failure and one cell that cannot be drawn."""
    jobs = [make_job(draw=draw) for draw in range(4)]
    with Ledger(db, write=True) as opened:
        opened.begin("bench run")
        opened.add_jobs(jobs, [InfeasibleCell(make_job(size=9000, fingerprint=""), "too few rows")])
        for job, claim in zip(jobs, opened.claim([job.digest for job in jobs], 4), strict=True):
            failure = {"status": "failed", "error": "ValueError: no"} if job is jobs[3] else {}
            assert opened.record(make_outcome(job, **failure), claim.number)
    return db


def rows_of(path: str, table: str) -> list[tuple[object, ...]]:
    """Return the rows of a table, read by the driver alone."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608  # a constant
    finally:
        connection.close()


def contents(folder: Path) -> dict[str, str]:
    """Return a hash of every file of a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


# -- results


def test_stored_values_are_read_back(filled, make_job, make_outcome):
    """Jobs, metrics, blobs, attempts and reasons are read back unchanged, and a job's digest follows from its row."""
    job = make_job(draw=1)
    with Ledger(filled) as opened:
        entries = {entry.digest: entry for entry in opened.entries()}
        blobs, attempts, errors = (
            opened.blobs(job.digest),
            opened.attempts(job.digest),
            opened.errors(),
        )
    entry = entries[job.digest]
    assert (entry.state, entry.task, entry.size, entry.draw, canonical(entry.setting)) == (
        "done",
        job.draw.task,
        20,
        1,
        canonical(job.setting()),
    )
    assert entry.metrics == {"score": 0.5, "accuracy": 0.5}
    outcome = make_outcome(job)
    assert blobs == {"curve": outcome.curve, "predictions": outcome.predictions}
    assert [attempt["outcome"] for attempt in attempts] == ["done"]
    assert errors == [(make_job(draw=3).digest, "ValueError: no")]
    assert all(rebuilt_digest(entry) == digest for digest, entry in entries.items())
    [cell] = [entry for entry in entries.values() if entry.state == "infeasible"]
    assert (cell.size, cell.note) == (9000, "too few rows")


def test_text_that_is_not_unicode_is_stored(db, make_job):
    """A command line may name a file that is not UTF-8, and a reason may contain any character."""
    with Ledger(db, write=True) as opened:
        opened.begin("bench run --db caf\udce9.db")
        opened.add_jobs([], [InfeasibleCell(make_job(fingerprint=""), "ValueError: \ud800\0")])
        [entry] = opened.entries()
    assert entry.note == "ValueError: ?\ufffd"


def test_a_job_is_done_if_it_has_a_result(filled):
    """A job is done if and only if the result table has a row for it."""
    done = {row[0] for row in rows_of(filled, "job") if "done" in row}
    assert len(done) == 3
    assert {row[0] for row in rows_of(filled, "result")} == done


def test_adding_known_jobs_changes_nothing(filled, make_job):
    """Known jobs keep their state and their results."""
    with Ledger(filled, write=True) as opened:
        before = opened.entries()
        opened.add_jobs([make_job(draw=draw) for draw in range(4)])
        assert opened.entries() == before


def test_many_jobs_are_added_and_claimed_at_once(ledger, make_job):
    """More jobs than one statement can hold are added, found and claimed in their order."""
    jobs = [make_job(draw=draw) for draw in range(1200)]
    digests = [job.digest for job in reversed(jobs)]
    ledger.add_jobs(jobs)
    assert set(ledger.states(digests).values()) == {"planned"}
    assert [claim.digest for claim in ledger.claim(digests, 700)] == digests[:700]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1 / 3])
def test_any_number_is_read_back(value, ledger, make_job, make_outcome):
    """NaN, infinities and extreme numbers are read back bit for bit; a dev score that is not finite becomes None."""
    job = make_job()
    ledger.add_jobs([job])
    [claim] = ledger.claim([job.digest], 1)
    assert ledger.record(
        make_outcome(job, metrics={"pearson": value}, score=value, dev_score=value), claim.number
    )
    [entry] = ledger.entries()
    for name in ("pearson", "score"):
        assert entry.metrics[name] == value or (
            math.isnan(value) and math.isnan(entry.metrics[name])
        )
    assert entry.result is not None
    assert entry.result["dev_score"] == (value if math.isfinite(value) else None)
    assert entry.result["payload"] == payload_hash(entry.metrics, ledger.blobs(job.digest))


def test_a_result_is_complete_or_absent(ledger, db, make_job, make_outcome):
    """Whichever statement of a result fails, nothing of the result is stored and the job stays claimed."""
    job, failing, count = make_job(), 0, 0
    ledger.add_jobs([job])
    [claim] = ledger.claim([job.digest], 1)

    def fail(*_: object) -> None:
        nonlocal count
        count += 1
        if count == failing:
            raise OSError("disk unplugged")

    event.listen(ledger._engine, "before_cursor_execute", fail)
    for failing in range(1, 50):
        count = 0
        try:
            assert ledger.record(make_outcome(job), claim.number)
            break
        except OSError:
            count = failing + 1  # no further statement fails
        assert ledger.states([job.digest]) == {job.digest: "claimed"}
        assert [rows_of(db, table) for table in ("result", "metric", "blob", "attempt")] == [
            [],
            [],
            [],
            [],
        ]
    statements, failing = failing, 0
    assert statements > 6
    assert ledger.states([job.digest]) == {job.digest: "done"}
    assert [len(rows_of(db, table)) for table in ("result", "metric", "blob", "attempt")] == [
        1,
        2,
        2,
        1,
    ]


# -- claims


def test_the_result_of_a_lost_claim_is_refused(ledger, make_job, make_outcome):
    """After a claim was released and the job claimed again, only the result of the second claim is accepted."""
    job = make_job()
    ledger.add_jobs([job])
    [first] = ledger.claim([job.digest], 1)
    ledger.release_claims([first])
    assert not ledger.record(make_outcome(job, score=0.1), first.number)
    [second] = ledger.claim([job.digest], 1)
    assert second.number > first.number
    assert not ledger.record(make_outcome(job, score=0.1), first.number)
    assert ledger.record(make_outcome(job, score=0.9), second.number)
    assert not ledger.record(make_outcome(job, score=0.2), second.number)
    assert [entry.metrics["score"] for entry in ledger.entries()] == [0.9]


def test_done_and_claimed_jobs_are_not_claimed(ledger, make_job, make_outcome):
    """A claim skips jobs that are done or claimed, and failed ones unless `retry` names their state."""
    done, claimed, failed, free = jobs = [make_job(draw=draw) for draw in range(4)]
    digests = [job.digest for job in jobs]
    ledger.add_jobs(jobs)
    first, _, third = ledger.claim(digests[:3], 3)
    ledger.record(make_outcome(done), first.number)
    ledger.record(make_outcome(failed, status="failed", error="no"), third.number)
    assert [claim.digest for claim in ledger.claim(digests, 9)] == [free.digest]
    [second] = ledger.claim(digests, 9, retry=["failed"])
    assert second.digest == failed.digest
    assert ledger.record(make_outcome(failed), second.number)
    assert ledger.states([claimed.digest, failed.digest]) == {
        claimed.digest: "claimed",
        failed.digest: "done",
    }


def test_closing_releases_claims(db, make_job):
    """A closed ledger has no claims, and there is nothing beside its file."""
    job = make_job()
    with Ledger(db, write=True) as opened:
        opened.begin("bench run")
        opened.add_jobs([job])
        opened.claim([job.digest], 1)
    assert [path.name for path in Path(db).parent.iterdir()] == ["r.db"]
    with Ledger(db) as opened:
        assert opened.states([job.digest]) == {job.digest: "planned"}


CLAIM_AND_WAIT = """
import sys, time
from harness.ledger import Ledger
ledger = Ledger(sys.argv[1], write=True)
ledger.begin("bench run")
print(len(ledger.claim([entry.digest for entry in ledger.entries()], 2)), flush=True)
time.sleep(600)
"""


def test_only_claims_of_dead_runs_are_released(ledger, db, make_job):
    """The claims of a killed process are released at once; those of a living one stay."""
    jobs = [make_job(draw=draw) for draw in range(4)]
    digests = [job.digest for job in jobs]
    ledger.add_jobs(jobs)
    holders = [start(CLAIM_AND_WAIT, db) for _ in range(2)]
    assert [holder.stdout.readline() for holder in holders] == ["2\n", "2\n"]  # type: ignore[union-attr]
    assert ledger.release_dead_claims() == 0
    assert ledger.claim(digests, 4) == []
    kill(holders[0])
    assert ledger.release_dead_claims() == 2
    assert len(ledger.claim(digests, 4)) == 2
    kill(holders[1])
    assert ledger.release_dead_claims() == 2
    assert len(ledger.claim(digests, 4)) == 2


def test_the_lock_file_of_a_killed_run_is_removed(db, make_job):
    """The next run removes the lock file of a killed run, and nothing is left beside the ledger when it ends."""
    with Ledger(db, write=True) as opened:
        opened.add_jobs([make_job()])
    holder = start(CLAIM_AND_WAIT, db)
    assert holder.stdout.readline() == "1\n"
    kill(holder)
    with Ledger(db, write=True) as opened:
        opened.begin("bench run")
    assert [path.name for path in Path(db).parent.iterdir()] == ["r.db"]


@pytest.fixture
def diverged_job(db, make_job, make_outcome):
    """The only job of a ledger: it diverged, with a score."""
    job = make_job()
    with Ledger(db, write=True) as opened:
        opened.begin("bench run")
        opened.add_jobs([job])
        [claim] = opened.claim([job.digest], 1)
        assert opened.record(
            make_outcome(job, status="diverged", score=0.25, error="NaN"), claim.number
        )
    return job


RETRY_AND_WAIT = """
import sys, time
from harness.ledger import Ledger
ledger = Ledger(sys.argv[1], write=True)
ledger.begin("bench run --retry-failed")
print(len(ledger.claim([entry.digest for entry in ledger.entries()], 1, retry=["diverged"])), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("ending", ["is killed", "releases its claim", "closes its ledger"])
def test_an_unfinished_retry_keeps_the_earlier_outcome(ending, diverged_job, db):
    """However a run that tries a job again ends without a result, the job keeps its earlier state and score."""
    if ending == "is killed":
        retrying = start(RETRY_AND_WAIT, db)
        assert retrying.stdout.readline() == "1\n"
        kill(retrying)
    else:
        with Ledger(db, write=True) as opened:
            opened.begin("bench run --retry-failed")
            claims = opened.claim([diverged_job.digest], 1, retry=["diverged"])
            if ending == "releases its claim":
                opened.release_claims(claims)
    with Ledger(db, write=True) as opened:
        opened.begin("bench run")
        assert opened.release_dead_claims() == (ending == "is killed")
        [entry] = opened.entries()
        assert (entry.state, entry.metrics["score"]) == ("diverged", 0.25)
        assert opened.errors() == [(diverged_job.digest, "NaN")]


def test_a_run_that_was_taken_for_dead_records_its_result(
    diverged_job, db, make_outcome, monkeypatch
):
    """Another run released its claim; as nobody has claimed the job since, the result is accepted, once."""
    with Ledger(db, write=True) as first, Ledger(db, write=True) as second:
        first.begin("bench run --retry-failed")
        [claim] = first.claim([diverged_job.digest], 1, retry=["diverged"])
        second.begin("bench run")
        monkeypatch.setattr("harness.ledger.ledger.is_locked", lambda _: False)
        assert second.release_dead_claims() == 1
        assert first.states([diverged_job.digest]) == {diverged_job.digest: "diverged"}
        assert first.record(make_outcome(diverged_job), claim.number)
        assert not first.record(make_outcome(diverged_job), claim.number)
        assert [attempt["outcome"] for attempt in first.attempts(diverged_job.digest)] == [
            "diverged",
            "done",
        ]


CLAIM_ALL = """
import sys, time
from pathlib import Path
from harness.ledger import Ledger
print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    time.sleep(0.001)
with Ledger(sys.argv[1], write=True) as ledger:
    ledger.begin("bench run")
    digests = [entry.digest for entry in ledger.entries()]
    while claims := ledger.claim(digests, 1):
        print(claims[0].digest)
    print("none left", flush=True)
    sys.stdin.read()
"""


def test_two_processes_never_claim_the_same_job(db, tmp_path, make_job):
    """Processes that claim jobs from one ledger as fast as they can get each job once."""
    jobs = [make_job(draw=draw) for draw in range(60)]
    with Ledger(db, write=True) as opened:
        opened.add_jobs(jobs)
    claimers = [start(CLAIM_ALL, db, str(tmp_path / "go")) for _ in range(3)]
    for claimer in claimers:
        assert claimer.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    claimed = [
        line.strip()
        for claimer in claimers
        for line in iter(claimer.stdout.readline, "none left\n")
    ]
    for claimer in claimers:  # each keeps its claims until no jobs are left
        claimer.communicate("")
    assert sorted(claimed) == sorted(job.digest for job in jobs)


OPEN_FIVE = """
import sys, time
from pathlib import Path
from harness.ledger import Ledger
print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    time.sleep(0.001)
for number in range(5):
    with Ledger(sys.argv[1] + str(number), write=True) as ledger:
        ledger.begin("bench run")
        print(len(ledger.entries()), flush=True)
"""


def test_simultaneous_first_starts_succeed(db, tmp_path):
    """Processes that create one ledger at the same moment all succeed."""
    openers = [start(OPEN_FIVE, db, str(tmp_path / "go")) for _ in range(3)]
    for opener in openers:
        assert opener.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    assert [opener.communicate()[0].split() for opener in openers] == [["0"] * 5] * 3
    assert [opener.returncode for opener in openers] == [0, 0, 0]


def start(script: str, *words: str) -> subprocess.Popen[str]:
    """Start a Python process that runs a script."""
    command = [sys.executable, "-c", script, *words]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and wait for its end."""
    process.kill()
    process.communicate()


# -- files


def test_migrations_make_the_tables(ledger):
    """The migrations create the columns of the table classes, and the same columns may be NULL."""
    inspector = inspect(ledger._engine)
    assert set(inspector.get_table_names()) == set(SQLModel.metadata.tables)
    for name, table in SQLModel.metadata.tables.items():
        nullable = {
            column["name"]: column["nullable"] and not column["primary_key"]
            for column in inspector.get_columns(name)
        }
        assert nullable == {column.name: bool(column.nullable) for column in table.columns}


def foreign(path: Path) -> None:
    """Replace a ledger by a database of another program."""
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.commit()
    connection.close()


def newer(path: Path) -> None:
    """Give a ledger the schema version of a later program."""
    edit(path, "UPDATE meta SET value = '999' WHERE key = 'schema'")


def without_version(path: Path) -> None:
    """Remove the schema version of a ledger."""
    edit(path, "DELETE FROM meta")


def edit(path: Path, statement: str) -> None:
    """Run a statement in a ledger by hand."""
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


DAMAGES = {
    "foreign": foreign,
    "newer": newer,
    "without version": without_version,
    "no database": lambda path: path.write_bytes(b"Dear diary,\n" * 400),
    "short": lambda path: path.write_bytes(b"SQLi"),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "header": lambda path: path.write_bytes(
        path.read_bytes()[:16] + b"\xff" * 84 + path.read_bytes()[100:]
    ),
    "first page": lambda path: path.write_bytes(
        path.read_bytes()[:100] + b"\xa5" * 3000 + path.read_bytes()[3100:]
    ),
}


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_not_changed(damage, write, filled, tmp_path):
    """A damaged, foreign or newer file is refused and not changed by a byte, whether it is read or written."""
    DAMAGES[damage](Path(filled))
    before = contents(tmp_path)
    with pytest.raises(CorruptData), Ledger(filled, write=write) as opened:
        opened.entries()
    assert contents(tmp_path) == before


def test_damage_anywhere_is_reported(filled, tmp_path, capsys, make_job):
    """Whichever bytes of a ledger are overwritten, reading it succeeds or ends with an error for the user."""
    rng, intact, path = random.Random(5), Path(filled).read_bytes(), tmp_path / "damaged.db"  # noqa: S311
    refused = 0
    for _ in range(120):
        start = rng.randrange(100, len(intact) - 40)
        path.write_bytes(intact[:start] + rng.randbytes(40) + intact[start + 40 :])
        for read in (
            lambda: status.show_status(str(path), as_json=True),
            lambda: show.show_job(str(path), make_job(draw=1).digest, as_json=False),
            lambda: show.show_job(str(path), make_job(draw=1).digest, as_json=True),
        ):
            try:
                read()
            except BenchError:
                refused += 1
    assert refused
    capsys.readouterr()


def test_reading_changes_nothing(filled, tmp_path, capsys, make_job):
    """`status`, `show` and all reading methods leave the file and its folder unchanged."""
    before = contents(tmp_path)
    status.show_status(filled, as_json=False)
    show.show_job(filled, make_job(draw=1).digest, as_json=False)
    capsys.readouterr()
    with Ledger(filled) as opened:
        opened.entries()
        opened.errors()
        opened.states([make_job().digest])
    assert contents(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == len(before)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE metric SET value = 0.99 WHERE name = 'accuracy'",
        "UPDATE blob SET data = CAST(data || x'00' AS BLOB) WHERE kind = 'predictions'",
        "UPDATE job SET draw = draw + 10",
        "DELETE FROM metric WHERE name = 'accuracy'",
    ],
)
def test_show_reports_a_change_by_hand(statement, filled, capsys, make_job):
    """`show` marks a metric, a prediction or a coordinate that was changed in the database."""
    digest = make_job(draw=1).digest

    def marked_lines():
        show.show_job(filled, digest, as_json=False)
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("! ")]

    assert not marked_lines()
    edit(Path(filled), statement)
    assert marked_lines()


def test_a_missing_ledger_cannot_be_read(db):
    """Reading a missing file or an empty one fails with a hint, and does not create a ledger."""
    with pytest.raises(Unavailable, match="run `bench run` first"):
        Ledger(db)
    assert not Path(db).exists()
    Path(db).touch()
    with pytest.raises(Unavailable):
        Ledger(db)
    with Ledger(db, write=True) as opened:
        assert opened.entries() == []


def test_a_ledger_in_an_impossible_place_is_refused(tmp_path):
    """If the path is a folder, or its folder does not exist, the error comes before anything is written."""
    for name in (tmp_path, tmp_path / "missing" / "r.db"):
        with pytest.raises(CannotWrite):
            Ledger(str(name), write=True)
    assert list(tmp_path.iterdir()) == []


def test_urls_without_a_database_are_reported():
    """A server that does not answer is unavailable; for SQLite, the message asks for the file's name."""
    for url in ("postgresql://localhost:1/none", "nonsense://x"):
        with pytest.raises(Unavailable):
            Ledger(url, write=True)
    with pytest.raises(UsageError, match="name the file"):
        Ledger("sqlite:///r.db", write=True)


def test_a_copied_ledger_has_the_same_entries(filled, tmp_path):
    """A copy of the file under a name with special characters has the same entries."""
    copy = tmp_path / "a b?mode=ro#%41é.db"
    shutil.copy(filled, copy)
    with Ledger(filled) as first, Ledger(str(copy), write=True) as second:
        assert first.entries() == second.entries()


def test_a_reader_undoes_the_write_of_a_killed_process(filled):
    """The next process undoes an unfinished transaction, even if it only reads."""
    script = f"""
import os, sqlite3
connection = sqlite3.connect({filled!r}, isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # pages are written before the end of the transaction
connection.execute("PRAGMA cache_spill = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE metric SET value = 0.123")
connection.execute("CREATE TABLE filler (x)")
connection.executemany("INSERT INTO filler VALUES (?)", [("x" * 2000,) for _ in range(500)])
os.kill(os.getpid(), 9)
"""  # noqa: S608  # a path of this test
    before = {entry.digest: dict(entry.metrics) for entry in Ledger(filled).entries()}
    subprocess.run([sys.executable, "-c", script], check=False)
    assert Path(filled + "-journal").stat().st_size > 0
    with Ledger(filled) as ledger:
        assert {entry.digest: dict(entry.metrics) for entry in ledger.entries()} == before
        assert ledger.integrity_problems() == []


def test_each_name_of_a_database_finds_its_files_and_its_runs(tmp_path, make_job):
    """A link and the file itself have one folder of tensors, and a run on one is seen from the other."""
    from harness.artefacts import tensor_files

    (tmp_path / "real").mkdir()
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "real" / "x.db")
    assert tensor_files.folder(link) == tensor_files.folder(tmp_path / "real" / "x.db")
    with Ledger(str(link), write=True) as ledger:
        ledger.begin("bench run")
        ledger.add_jobs([make_job()])
        with Ledger(str(tmp_path / "real" / "x.db"), write=True) as other:
            assert other.has_other_runs()
            other.begin("bench run")
            assert ledger.has_other_runs()
