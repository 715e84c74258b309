"""The ledger: whole results or none, claims that die with their process, files that are never made worse."""

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
from harness.ledger import Infeasible, Ledger
from harness.ledger.seals import payload_hash, rebuilt_digest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def db(tmp_path) -> str:
    """Where a ledger may be made."""
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
        opened.add_jobs(jobs, [Infeasible(make_job(size=9000, fingerprint=""), "too few rows")])
        for job, claim in zip(jobs, opened.claim([job.digest for job in jobs], 4), strict=True):
            bad = {"status": "failed", "error": "ValueError: no"} if job is jobs[3] else {}
            assert opened.record(make_outcome(job, **bad), claim.epoch)
    return db


def rows_of(path: str, table: str) -> list[tuple[object, ...]]:
    """What a table holds, by the driver alone."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608  # a name of ours
    finally:
        connection.close()


def contents(folder: Path) -> dict[str, str]:
    """A hash of every file of a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


# -- results
# -----------------------------------------------------------------------------------------------------------


def test_what_goes_in_comes_out(filled, make_job, make_outcome):
    """Jobs, metrics, blobs, attempts and reasons read back as they were given, and a job's digest follows from its row."""
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
        job.rows.task,
        20,
        1,
        canonical(job.setting()),
    )
    assert entry.metrics == {"score": 0.5, "accuracy": 0.5}
    given = make_outcome(job)
    assert blobs == {"curve": given.curve, "predictions": given.predictions}
    assert [attempt["outcome"] for attempt in attempts] == ["done"]
    assert errors == [(make_job(draw=3).digest, "ValueError: no")]
    assert all(rebuilt_digest(entry) == digest for digest, entry in entries.items())
    [cell] = [entry for entry in entries.values() if entry.state == "infeasible"]
    assert (cell.size, cell.note) == (9000, "too few rows")


def test_any_text_is_kept(db, make_job):
    """A command line may name a file that is no UTF-8, and a reason may quote anything."""
    with Ledger(db, write=True) as opened:
        opened.begin("bench run --db caf\udce9.db")
        opened.add_jobs([], [Infeasible(make_job(fingerprint=""), "ValueError: \ud800\0")])
        [entry] = opened.entries()
    assert entry.note == "ValueError: ?\ufffd"


def test_done_means_a_result(filled):
    """A job is done if and only if it has a row of results."""
    done = {row[0] for row in rows_of(filled, "job") if "done" in row}
    assert len(done) == 3
    assert {row[0] for row in rows_of(filled, "result")} == done


def test_entering_again_changes_nothing(filled, make_job):
    """Jobs that are known keep their state and their results."""
    with Ledger(filled, write=True) as opened:
        before = opened.entries()
        opened.add_jobs([make_job(draw=draw) for draw in range(4)])
        assert opened.entries() == before


def test_many_jobs_at_once(ledger, make_job):
    """More jobs than a statement has room for are entered, found and claimed in their order."""
    jobs = [make_job(draw=draw) for draw in range(1200)]
    digests = [job.digest for job in reversed(jobs)]
    ledger.add_jobs(jobs)
    assert set(ledger.states(digests).values()) == {"planned"}
    assert [claim.digest for claim in ledger.claim(digests, 700)] == digests[:700]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1 / 3])
def test_any_number_survives(value, ledger, make_job, make_outcome):
    """NaN, infinities and numbers at the edge come back to the last bit, in a dev score too as far as it is a number."""
    job = make_job()
    ledger.add_jobs([job])
    [claim] = ledger.claim([job.digest], 1)
    assert ledger.record(
        make_outcome(job, metrics={"pearson": value}, score=value, dev_score=value), claim.epoch
    )
    [entry] = ledger.entries()
    for name in ("pearson", "score"):
        assert entry.metrics[name] == value or (
            math.isnan(value) and math.isnan(entry.metrics[name])
        )
    assert entry.result is not None
    assert entry.result["dev_score"] == (value if math.isfinite(value) else None)
    assert entry.result["payload"] == payload_hash(entry.metrics, ledger.blobs(job.digest))


def test_a_result_is_whole_or_absent(ledger, db, make_job, make_outcome):
    """Whichever statement of a result fails, nothing of the result is kept and the job is still claimed."""
    job, failing, count = make_job(), 0, 0
    ledger.add_jobs([job])
    [claim] = ledger.claim([job.digest], 1)

    def fail(*_: object) -> None:
        nonlocal count
        count += 1
        if count == failing:
            raise OSError("the cable was pulled")

    event.listen(ledger._engine, "before_cursor_execute", fail)
    for failing in range(1, 50):
        count = 0
        try:
            assert ledger.record(make_outcome(job), claim.epoch)
            break
        except OSError:
            count = failing + 1  # nothing fails while we look
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
# ------------------------------------------------------------------------------------------------------------


def test_a_late_result_is_refused(ledger, make_job, make_outcome):
    """After a claim was given back and taken anew, the first claim's result is refused and the second's stands."""
    job = make_job()
    ledger.add_jobs([job])
    [first] = ledger.claim([job.digest], 1)
    ledger.release_claims([first])
    assert not ledger.record(make_outcome(job, score=0.1), first.epoch)
    [second] = ledger.claim([job.digest], 1)
    assert second.epoch > first.epoch
    assert not ledger.record(make_outcome(job, score=0.1), first.epoch)
    assert ledger.record(make_outcome(job, score=0.9), second.epoch)
    assert not ledger.record(make_outcome(job, score=0.2), second.epoch)
    assert [entry.metrics["score"] for entry in ledger.entries()] == [0.9]


def test_what_is_done_or_claimed_is_not_claimed(ledger, make_job, make_outcome):
    """A claim passes over jobs that are done or claimed, and over failed ones unless they are to be tried again."""
    done, held, failed, free = jobs = [make_job(draw=draw) for draw in range(4)]
    digests = [job.digest for job in jobs]
    ledger.add_jobs(jobs)
    first, _, third = ledger.claim(digests[:3], 3)
    ledger.record(make_outcome(done), first.epoch)
    ledger.record(make_outcome(failed, status="failed", error="no"), third.epoch)
    assert [claim.digest for claim in ledger.claim(digests, 9)] == [free.digest]
    [again] = ledger.claim(digests, 9, retry=["failed"])
    assert again.digest == failed.digest
    assert ledger.record(make_outcome(failed), again.epoch)
    assert ledger.states([held.digest, failed.digest]) == {
        held.digest: "claimed",
        failed.digest: "done",
    }


def test_closing_gives_claims_back(db, make_job):
    """A ledger that is closed leaves no claim, and nothing beside its file."""
    job = make_job()
    with Ledger(db, write=True) as opened:
        opened.begin("bench run")
        opened.add_jobs([job])
        opened.claim([job.digest], 1)
    assert [path.name for path in Path(db).parent.iterdir()] == ["r.db"]
    with Ledger(db) as opened:
        assert opened.states([job.digest]) == {job.digest: "planned"}


HOLDER = """
import sys, time
from harness.ledger import Ledger
ledger = Ledger(sys.argv[1], write=True)
ledger.begin("bench run")
print(len(ledger.claim([entry.digest for entry in ledger.entries()], 2)), flush=True)
time.sleep(600)
"""


def test_claims_of_the_dead_only_are_reaped(ledger, db, make_job):
    """The claims of a process that was killed are free at once; those of one that lives are left alone."""
    jobs = [make_job(draw=draw) for draw in range(4)]
    digests = [job.digest for job in jobs]
    ledger.add_jobs(jobs)
    holders = [started(HOLDER, db) for _ in range(2)]
    assert [holder.stdout.readline() for holder in holders] == ["2\n", "2\n"]  # type: ignore[union-attr]
    assert ledger.release_dead_claims() == 0
    assert ledger.claim(digests, 4) == []
    finish(holders[0])
    assert ledger.release_dead_claims() == 2
    assert len(ledger.claim(digests, 4)) == 2
    finish(holders[1])
    assert ledger.release_dead_claims() == 2
    assert len(ledger.claim(digests, 4)) == 2


def test_what_a_killed_run_leaves_is_cleared_away(db, make_job):
    """The next run takes away the lock of one that was killed, and at its end nothing lies beside the ledger."""
    with Ledger(db, write=True) as opened:
        opened.add_jobs([make_job()])
    holder = started(HOLDER, db)
    assert holder.stdout.readline() == "1\n"
    finish(holder)
    with Ledger(db, write=True) as opened:
        opened.begin("bench run")
    assert [path.name for path in Path(db).parent.iterdir()] == ["r.db"]


@pytest.fixture
def tried(db, make_job, make_outcome):
    """A ledger whose only job diverged, with a score."""
    job = make_job()
    with Ledger(db, write=True) as opened:
        opened.begin("bench run")
        opened.add_jobs([job])
        [claim] = opened.claim([job.digest], 1)
        assert opened.record(
            make_outcome(job, status="diverged", score=0.25, error="NaN"), claim.epoch
        )
    return job


RETRYING = """
import sys, time
from harness.ledger import Ledger
ledger = Ledger(sys.argv[1], write=True)
ledger.begin("bench run --retry-failed")
print(len(ledger.claim([entry.digest for entry in ledger.entries()], 1, retry=["diverged"])), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("ending", ["is killed", "gives it back", "closes its ledger"])
def test_a_retry_that_is_cut_short_costs_no_outcome(ending, tried, db):
    """Whichever way a run that tries a job again ends without a result, the job is as it had ended before, with its score."""
    if ending == "is killed":
        retrying = started(RETRYING, db)
        assert retrying.stdout.readline() == "1\n"
        finish(retrying)
    else:
        with Ledger(db, write=True) as opened:
            opened.begin("bench run --retry-failed")
            claims = opened.claim([tried.digest], 1, retry=["diverged"])
            if ending == "gives it back":
                opened.release_claims(claims)
    with Ledger(db, write=True) as opened:
        opened.begin("bench run")
        assert opened.release_dead_claims() == (ending == "is killed")
        [entry] = opened.entries()
        assert (entry.state, entry.metrics["score"]) == ("diverged", 0.25)
        assert opened.errors() == [(tried.digest, "NaN")]


def test_a_retry_by_a_run_that_was_taken_for_dead_is_recorded(tried, db, make_outcome, monkeypatch):
    """Its job was set free, and is what it was before; nobody has claimed it since, so what came of it is kept, once."""
    with Ledger(db, write=True) as first, Ledger(db, write=True) as second:
        first.begin("bench run --retry-failed")
        [claim] = first.claim([tried.digest], 1, retry=["diverged"])
        second.begin("bench run")
        monkeypatch.setattr("harness.ledger.ledger.alive", lambda _: False)
        assert second.release_dead_claims() == 1
        assert first.states([tried.digest]) == {tried.digest: "diverged"}
        assert first.record(make_outcome(tried), claim.epoch)
        assert not first.record(make_outcome(tried), claim.epoch)
        assert [attempt["outcome"] for attempt in first.attempts(tried.digest)] == [
            "diverged",
            "done",
        ]


CLAIMER = """
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
    """Processes that claim from one ledger as fast as they can share its jobs out, each job once."""
    jobs = [make_job(draw=draw) for draw in range(60)]
    with Ledger(db, write=True) as opened:
        opened.add_jobs(jobs)
    claimers = [started(CLAIMER, db, str(tmp_path / "go")) for _ in range(3)]
    for claimer in claimers:
        assert claimer.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    claimed = [
        line.strip()
        for claimer in claimers
        for line in iter(claimer.stdout.readline, "none left\n")
    ]
    for claimer in claimers:  # each holds its claims until all have found nothing more
        claimer.communicate("")
    assert sorted(claimed) == sorted(job.digest for job in jobs)


OPENER = """
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


def test_a_first_start_may_happen_twice_at_once(db, tmp_path):
    """Processes that make one ledger at the same moment all find it made."""
    openers = [started(OPENER, db, str(tmp_path / "go")) for _ in range(3)]
    for opener in openers:
        assert opener.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    assert [opener.communicate()[0].split() for opener in openers] == [["0"] * 5] * 3
    assert [opener.returncode for opener in openers] == [0, 0, 0]


def started(script: str, *words: str) -> subprocess.Popen[str]:
    """A Python process that runs a script."""
    command = [sys.executable, "-c", script, *words]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> None:
    """Kill it outright."""
    process.kill()
    process.communicate()


# -- files
# -------------------------------------------------------------------------------------------------------------


def test_migrations_make_the_tables(ledger):
    """A database made by the migrations has the columns of the table classes, and the same of them may be empty."""
    made = inspect(ledger._engine)
    assert set(made.get_table_names()) == set(SQLModel.metadata.tables)
    for name, table in SQLModel.metadata.tables.items():
        found = {
            column["name"]: column["nullable"] and not column["primary_key"]
            for column in made.get_columns(name)
        }
        assert found == {column.name: bool(column.nullable) for column in table.columns}


def foreign(path: Path) -> None:
    """A database of somebody else."""
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.commit()
    connection.close()


def newer(path: Path) -> None:
    """A ledger of a later version."""
    changed(path, "UPDATE meta SET value = '999' WHERE key = 'schema'")


def nameless(path: Path) -> None:
    """A ledger that does not say its version."""
    changed(path, "DELETE FROM meta")


def changed(path: Path, statement: str) -> None:
    """A ledger after a statement by hand."""
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


SPOILT = {
    "foreign": foreign,
    "newer": newer,
    "nameless": nameless,
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
@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_file_stays_as_it_is(how, write, filled, tmp_path):
    """A file that is damaged, foreign or newer is refused as such and not changed by a byte, whether read or written."""
    SPOILT[how](Path(filled))
    before = contents(tmp_path)
    with pytest.raises(CorruptData), Ledger(filled, write=write) as opened:
        opened.entries()
    assert contents(tmp_path) == before


def test_damage_anywhere_is_an_error_in_words(filled, tmp_path, capsys, make_job):
    """Whatever bytes of a ledger are overwritten, reading it ends well or with an error that the user can understand."""
    dice, whole, path = random.Random(5), Path(filled).read_bytes(), tmp_path / "damaged.db"  # noqa: S311  # no secret
    refused = 0
    for _ in range(120):
        place = dice.randrange(100, len(whole) - 40)
        path.write_bytes(whole[:place] + dice.randbytes(40) + whole[place + 40 :])
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
    """Status, show and every way of reading leave the file and its folder as they were."""
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
def test_show_notices_a_change_by_hand(statement, filled, capsys, make_job):
    """A metric, a prediction or a coordinate that was changed in the database is called out."""
    digest = make_job(draw=1).digest
    show.show_job(filled, digest, as_json=False)
    assert "changed" not in capsys.readouterr().out
    changed(Path(filled), statement)
    show.show_job(filled, digest, as_json=False)
    assert "changed" in capsys.readouterr().out


def test_nothing_there(db):
    """A ledger that is not there, or is an empty file, cannot be read, and reading does not make it."""
    with pytest.raises(Unavailable, match="run `bench run` first"):
        Ledger(db)
    assert not Path(db).exists()
    Path(db).touch()
    with pytest.raises(Unavailable):
        Ledger(db)
    with Ledger(db, write=True) as opened:
        assert opened.entries() == []


def test_places_where_none_can_be(tmp_path):
    """A folder in the file's place, or no folder for it, is told before anything is written."""
    for name in (tmp_path, tmp_path / "missing" / "r.db"):
        with pytest.raises(CannotWrite):
            Ledger(str(name), write=True)
    assert list(tmp_path.iterdir()) == []


def test_urls_that_lead_nowhere():
    """A database that does not answer is out of reach; one of SQLite is named by its file."""
    for url in ("postgresql://localhost:1/none", "nonsense://x"):
        with pytest.raises(Unavailable):
            Ledger(url, write=True)
    with pytest.raises(UsageError, match="name the file"):
        Ledger("sqlite:///r.db", write=True)


def test_a_moved_ledger_is_the_same(filled, tmp_path):
    """A copy of the file under another name, with odd characters, reads the same."""
    copy = tmp_path / "a b?mode=ro#%41é.db"
    shutil.copy(filled, copy)
    with Ledger(filled) as first, Ledger(str(copy), write=True) as second:
        assert first.entries() == second.entries()


def test_a_reader_can_open_what_a_killed_writer_left(filled):
    """A transaction that was cut in the middle is taken back by whoever comes first, also if they only read."""
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
"""  # noqa: S608  # of this file
    before = {entry.digest: dict(entry.metrics) for entry in Ledger(filled).entries()}
    subprocess.run([sys.executable, "-c", script], check=False)
    assert Path(filled + "-journal").stat().st_size > 0
    with Ledger(filled) as ledger:
        assert {entry.digest: dict(entry.metrics) for entry in ledger.entries()} == before
        assert ledger.damage() == []
