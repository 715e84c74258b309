"""`bench db verify`: what is whole is said to be, what is not is named, and numbers come out again."""

import shutil
import sqlite3

import pytest

from harness.commands.verify import chosen, doubts, job_of, problems
from harness.ledger import Ledger


@pytest.fixture(scope="module")
def made(tmp_path_factory, bench):
    """The folder of a short run: two jobs of a pack, two alone."""
    folder = tmp_path_factory.mktemp("verified")
    words = (
        "--methods",
        "lora,features",
        "--tasks",
        "toy-sentiment,toy-similarity",
        "--draws",
        1,
        "--pack",
        2,
        "--inline",
    )
    assert bench.run(folder, "r.db", *words).code == 0
    return folder


@pytest.fixture
def spoilt(made, tmp_path):
    """Runs a statement on a copy of the database and gives the copy's name."""

    def spoil(statement):
        shutil.copytree(made, tmp_path, dirs_exist_ok=True)
        with sqlite3.connect(tmp_path / "r.db") as connection:
            connection.execute(statement)
        connection.close()
        return tmp_path

    return spoil


def test_results_come_out_again_to_the_last_digit(bench, made):
    """Jobs of packs in their packs, the others alone; the database stays as it is."""
    before = (made / "r.db").read_bytes()
    ended = bench(made, "db", "verify", "--db", "r.db", "--rerun", "100%")
    assert ended.code == 0, ended.out + ended.err
    assert "r.db is whole: 4 jobs, 4 results" in ended.out
    assert ended.out.count("equal to the last digit") == 5
    assert "4 of 4 came out equal to the last digit" in ended.out
    assert (made / "r.db").read_bytes() == before


def test_a_number_that_was_made_up_does_not_come_out_again(bench, spoilt):
    """A metric changed together with its hash is no damage that a hash shows; training it again does."""
    from harness.ledger.seals import payload_hash

    folder = spoilt("UPDATE metric SET value = value + 0.01")
    with Ledger(str(folder / "r.db")) as ledger:
        hashes = {
            entry.digest: payload_hash(entry.metrics, ledger.blobs(entry.digest))
            for entry in ledger.entries()
        }
    with sqlite3.connect(folder / "r.db") as connection:
        for digest, payload in hashes.items():
            connection.execute(
                "UPDATE result SET seal = '', payload = ? WHERE job = (SELECT id FROM job WHERE digest = ?)",
                (payload, digest),
            )
    connection.close()
    assert bench(folder, "db", "verify", "--db", "r.db").code == 0
    ended = bench(folder, "db", "verify", "--db", "r.db", "--rerun", 1)
    assert ended.code == 1
    assert "recorded" in ended.out
    assert "0 of 1 came out equal" in ended.out


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "UPDATE metric SET value = value + 0.01",
            "metrics or predictions are not those that were recorded",
        ),
        (
            "UPDATE blob SET data = x'00' WHERE kind = 'curve'",
            "metrics or predictions are not those that were recorded",
        ),
        ("UPDATE job SET draw = draw + 1", "the digest is not that of the job stored here"),
        ("UPDATE job SET state = 'planned'", "the job is planned, and there is a result"),
        ("DELETE FROM job WHERE id = 1", "belongs to nothing"),
    ],
)
def test_what_was_changed_by_hand_is_named(bench, spoilt, statement, said):
    """Each with its job, and exit code 65."""
    ended = bench(spoilt(statement), "db", "verify", "--db", "r.db")
    assert ended.code == 65
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_missing_and_changed_tensors_are_named(bench, spoilt):
    """A file that went away, and one with another byte."""
    folder = spoilt("SELECT 1")
    one, other, *_ = sorted((folder / "r.db.artefacts").iterdir())
    one.unlink()
    other.write_bytes(other.read_bytes()[:-1] + b"\x7f")
    ended = bench(folder, "db", "verify", "--db", "r.db")
    assert ended.code == 65
    assert "were they moved away" in ended.err
    assert "is not what was written after training" in ended.err


def test_jobs_are_rebuilt_from_their_rows(made):
    """Every job of the ledger has the digest that it had, and nothing is doubted."""
    with Ledger(str(made / "r.db")) as ledger:
        entries = ledger.entries()
        assert [job_of(entry).digest for entry in entries] == [entry.digest for entry in entries]
        assert list(problems(ledger)) == []
        assert all(doubts(entry, ledger.blobs(entry.digest)) == [] for entry in entries)
        assert len(chosen(entries, "1%")) == 1
        assert len(chosen(entries, "50%")) == 2


@pytest.mark.parametrize("share", ["0", "9", "x", "-1%", "200%", "nan%"])
def test_a_share_that_cannot_be_is_refused(bench, made, share):
    """With what would be right, and before anything is trained."""
    ended = bench(made, "db", "verify", "--db", "r.db", "--rerun", share)
    assert ended.code == 2
    assert "--rerun" in ended.err
