"""`bench db verify` names every damage and change, and a rerun gives the recorded numbers."""

import json
import shutil
import sqlite3
import zlib

import pytest

from harness.commands.verify import job_of, sample_results
from harness.ledger import Ledger
from harness.results.integrity import entry_problems, ledger_problems


@pytest.fixture(scope="module")
def folder(tmp_path_factory, bench):
    """The folder of a short run: two jobs of one pack, two trained alone."""
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
def edited(folder, tmp_path):
    """A function that executes a statement on a copy of the database and returns the copy's folder."""

    def edit(statement):
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        with sqlite3.connect(tmp_path / "r.db") as connection:
            connection.execute(statement)
        connection.close()
        return tmp_path

    return edit


@pytest.mark.slow
def test_a_rerun_gives_equal_results_to_the_last_digit(bench, folder):
    """Packed jobs are trained in their pack and the others alone; the database does not change."""
    before = (folder / "r.db").read_bytes()
    ended = bench(folder, "db", "verify", "--db", "r.db", "--rerun", "100%")
    assert ended.code == 0, ended.out + ended.err
    assert "r.db is intact: 4 jobs, 4 results" in ended.out
    assert ended.out.count("equal to the last digit") == 5
    assert "4 of 4 equal to the last digit" in ended.out
    assert (folder / "r.db").read_bytes() == before


@pytest.mark.slow
def test_a_rerun_detects_a_number_that_was_changed_with_its_hash(bench, edited):
    """The hashes match, so only training the job again shows the change."""
    from harness.ledger.seals import payload_hash

    folder = edited("UPDATE metric SET value = value + 0.01")
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
    assert "0 of 1 equal" in ended.out


@pytest.mark.slow
def test_a_rerun_compares_curves_and_probabilities(bench, edited):
    """Equal predictions are not enough: another loss in the curve, temperature or probability is reported."""
    from harness.ledger.seals import payload_hash
    from harness.outcome import pack_predictions, pack_probabilities, unpack_probabilities

    folder = edited("UPDATE run SET command = command")
    with Ledger(str(folder / "r.db")) as ledger:
        entries = [entry for entry in ledger.entries() if entry.result]
        changed = {}
        for entry in entries:
            blobs = ledger.blobs(entry.digest)
            curve = json.loads(zlib.decompress(blobs["curve"]))
            curve[0][1] += 1e-9  # the training loss
            blobs["curve"] = zlib.compress(json.dumps(curve).encode(), 9)
            if "probabilities" in blobs:  # a regression has none
                probabilities = unpack_probabilities(blobs["probabilities"])
                probabilities[0] = probabilities[0].mean()
                blobs["probabilities"] = pack_probabilities(probabilities)
                blobs["temperature"] = pack_predictions([9.0], True)
            changed[entry.digest] = blobs, payload_hash(entry.metrics, blobs)
    with sqlite3.connect(folder / "r.db") as connection:
        for digest, (blobs, payload) in changed.items():
            (job,) = connection.execute("SELECT id FROM job WHERE digest = ?", (digest,)).fetchone()
            for kind in blobs.keys() & {"curve", "probabilities", "temperature"}:
                connection.execute(
                    "UPDATE blob SET data = ? WHERE job = ? AND kind = ?", (blobs[kind], job, kind)
                )
            connection.execute(
                "UPDATE result SET seal = '', payload = ? WHERE job = ?", (payload, job)
            )
    connection.close()
    assert bench(folder, "db", "verify", "--db", "r.db").code == 0
    ended = bench(folder, "db", "verify", "--db", "r.db", "--rerun", "100%")
    assert ended.code == 1
    assert "other curve; other temperature; other probabilities" in ended.out


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "UPDATE metric SET value = value + 0.01",
            "metrics or predictions are not the recorded ones",
        ),
        (
            "UPDATE blob SET data = x'00' WHERE kind = 'curve'",
            "metrics or predictions are not the recorded ones",
        ),
        ("UPDATE job SET draw = draw + 1", "the digest does not match the stored job"),
        ("UPDATE job SET state = 'planned'", "the job is planned but has a result"),
        ("DELETE FROM job WHERE id = 1", "refers to a missing row"),
    ],
)
def test_every_change_is_named(bench, edited, statement, message):
    """The exit code is 65."""
    ended = bench(edited(statement), "db", "verify", "--db", "r.db")
    assert ended.code == 65
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_missing_and_changed_tensors_are_named(bench, edited):
    """One file is missing, and another has one changed byte."""
    folder = edited("SELECT 1")
    first, second, *_ = sorted((folder / "r.db.artefacts").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1] + b"\x7f")
    ended = bench(folder, "db", "verify", "--db", "r.db")
    assert ended.code == 65
    assert "was the database moved" in ended.err
    assert "was changed after training" in ended.err


def test_jobs_are_rebuilt_from_their_entries(folder):
    """Every rebuilt job has the digest of its entry, and an unchanged ledger has no problems."""
    with Ledger(str(folder / "r.db")) as ledger:
        entries = ledger.entries()
        assert [job_of(entry).digest for entry in entries] == [entry.digest for entry in entries]
        assert list(ledger_problems(ledger)) == []
        assert not any(list(entry_problems(entry, ledger.blobs(entry.digest))) for entry in entries)
        assert len(sample_results(entries, "1%")) == 1
        assert len(sample_results(entries, "50%")) == 2


@pytest.mark.parametrize("share", ["0", "9", "x", "-1%", "200%", "nan%"])
def test_an_invalid_rerun_share_is_refused(bench, folder, share):
    """The message names the option."""
    ended = bench(folder, "db", "verify", "--db", "r.db", "--rerun", share)
    assert ended.code == 2
    assert "--rerun" in ended.err
