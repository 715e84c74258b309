"""`bench run`: whatever interrupts it, the same command ends with the same numbers."""

import hashlib
import json
import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from harness.ledger import Ledger
from harness.outcome import unpack_predictions
from harness.tasks import metrics
from tests.support.processes import wait_until

BOTH = ("--methods", "prefix,lora", "--tasks", "toy-sentiment,toy-similarity")
SLOW = {"torch", "transformers", "datasets", "evaluate"}


@pytest.fixture(scope="module")
def undisturbed(bench, tmp_path_factory):
    """Return a folder with a ledger in which four jobs ran undisturbed, one after the other."""
    folder = tmp_path_factory.mktemp("whole")
    ended = bench.run(folder, "r.db", *BOTH, "--draws", 1, "-j", 1)
    assert (ended.code, ended.err.strip()) == (0, "")
    assert "4 jobs" in ended.out
    assert "4 done in" in ended.out
    return folder


def stored_numbers(
    db: Path,
) -> dict[str, tuple[dict[str, str], dict[str, bytes], dict[str, object]]]:
    """Return everything that a ledger holds of each result, except times and devices."""
    stored = {}
    with Ledger(str(db)) as ledger:
        for entry in ledger.entries():
            assert entry.state == "done"
            assert entry.result is not None
            kept = {
                name: entry.result[name]
                for name in ("dev_score", "best_step", "trained", "stored", "artefact", "payload")
            }
            metrics = {name: value.hex() for name, value in entry.metrics.items()}
            stored[entry.digest] = (metrics, ledger.blobs(entry.digest), kept)
    return stored


def test_metrics_can_be_recomputed_from_predictions_and_labels(undisturbed):
    """The stored predictions and labels are enough to compute every metric again."""
    with Ledger(str(undisturbed / "r.db")) as ledger:
        for entry in ledger.entries():
            blobs = ledger.blobs(entry.digest)
            predictions, labels = (
                unpack_predictions(blobs[kind]) for kind in ("predictions", "labels")
            )
            assert len(predictions) == len(labels) == entry.n_test
            names = [name.rpartition("/")[0] for name in entry.setting["task"]["metrics"]]
            scored = metrics.Scored(predictions, labels)
            assert metrics.compute(names, scored) == pytest.approx(
                {name: entry.metrics[name] for name in names}, abs=1e-6
            )


def states(db: Path) -> Counter[str]:
    """Count the jobs in each state; none if there is no ledger yet."""
    if not db.exists() or not db.stat().st_size:
        return Counter()
    with Ledger(str(db)) as ledger:
        return Counter(entry.state for entry in ledger.entries())


def owner(db: Path) -> int:
    """Return the number of the run that has claimed a job; 0: none has."""
    connection = sqlite3.connect(db)
    try:
        return connection.execute("SELECT coalesce(max(owner), 0) FROM job").fetchone()[0]
    finally:
        connection.close()


# -- the same numbers
# --------------------------------------------------------------------------------------------------


def test_the_same_command_again_does_nothing(bench, undisturbed):
    """The second time no job is left, torch is not imported, and no byte of a result changes."""
    before = stored_numbers(undisturbed / "r.db")
    ended = bench.run(undisturbed, "r.db", *BOTH, "--draws", 1, "-j", 1)
    assert ended.code == 0
    assert "4 ended before, 0 to do" in ended.out
    assert not ended.loaded & SLOW
    assert stored_numbers(undisturbed / "r.db") == before


REVERSED = ("--methods", "lora,prefix", "--tasks", "toy-similarity,toy-sentiment")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [(*BOTH, "-j", 2), (*REVERSED, "--inline")], ids=["two workers", "inline, reversed"]
)
def test_workers_and_order_change_nothing(options, bench, undisturbed, tmp_path):
    """Two workers, or no worker and the reverse order, give bit-equal metrics, predictions, curves and tensors."""
    assert bench.run(tmp_path, "r.db", *options, "--draws", 1).code == 0
    assert stored_numbers(tmp_path / "r.db") == stored_numbers(undisturbed / "r.db")


def test_more_draws_add_only_new_jobs(bench, undisturbed, tmp_path):
    """Requesting more draws later trains only these; existing results stay unchanged."""
    shutil.copy(undisturbed / "r.db", tmp_path)
    ended = bench.run(tmp_path, "r.db", *BOTH, "--draws", 2, "--inline", "--keep", "none")
    assert ended.code == 0
    assert "8 jobs" in ended.out
    assert "4 ended before, 4 to do" in ended.out
    stored = stored_numbers(tmp_path / "r.db")
    assert len(stored) == 8
    assert stored_numbers(undisturbed / "r.db").items() <= stored.items()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_interruptions_change_nothing(bench, undisturbed, tmp_path):
    """After SIGKILL, two Ctrl-C, SIGTERM or one Ctrl-C, the same command continues and gives the same numbers."""
    db, expected = tmp_path / "r.db", stored_numbers(undisturbed / "r.db")
    slow = ("--draws", 2, "-j", 1, "--keep", "none")
    command = bench.run_words("r.db", *BOTH, *slow)

    process = bench.start(tmp_path, *command)
    wait_until(lambda: states(db)["done"])
    process.kill()
    bench.end(process)
    assert states(db)["done"] >= 1

    earlier_run = owner(db)
    process = bench.start(tmp_path, *command)
    wait_until(lambda: owner(db) > earlier_run)
    time.sleep(0.3)  # the worker is starting
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.3)  # two signals at the same moment are one
    os.killpg(process.pid, signal.SIGINT)
    ended = bench.end(process)
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert set(states(db)) <= {"done", "planned"}

    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        before = states(db)
        assert set(before) == {"done", "planned"}
        process = bench.start(tmp_path, *command)
        wait_until(lambda: owner(db))
        os.killpg(
            process.pid, number
        )  # as from a terminal or a batch system: workers receive it too
        ended = bench.end(process)
        assert ended.code == code
        assert "Traceback" not in ended.err
        assert "the same command goes on" in ended.out
        assert states(db) == before + Counter(done=1) - Counter(planned=1)

    ended = bench(tmp_path, *command)
    assert ended.code == 0
    stored = stored_numbers(db)
    assert len(stored) == 8
    assert {digest: stored[digest][:2] for digest in expected} == {
        digest: values[:2] for digest, values in expected.items()
    }
    assert [path.name for path in tmp_path.iterdir()] == ["r.db"]


def test_artefacts_have_the_hashes_of_the_ledger(undisturbed):
    """The tensors of every result are stored beside the ledger, with the hash that the ledger records."""
    files = {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (undisturbed / "r.db.artefacts").iterdir()
    }
    assert files == {
        digest: kept["artefact"]
        for digest, (_, _, kept) in stored_numbers(undisturbed / "r.db").items()
    }


# -- failures
# ----------------------------------------------------------------------------------------------------------


def test_a_failed_job_is_reported_and_retried_on_request(bench, undisturbed, tmp_path):
    """A job that cannot write its tensors gives exit code 1 and an error in `status`; only --retry-failed repeats it.

    The other job has the same numbers as in an undisturbed run.
    """
    options = ("--methods", "prefix,lora", "--tasks", "toy-sentiment", "--draws", 1)
    planned = json.loads(
        bench(tmp_path, "plan", *bench.grid, *options, "--db", "r.db", "--json").out
    )
    (prefix,) = (job["digest"] for job in planned["jobs"] if job["method"] == "prefix")
    obstacle = tmp_path / "r.db.artefacts" / f"{prefix}.draft"
    obstacle.mkdir(parents=True)
    ended = bench.run(tmp_path, "r.db", *options, "--inline")
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert "1 done, 1 failed" in ended.out
    status = bench(tmp_path, "status", "--db", "r.db")
    assert "IsADirectoryError" in status.out
    typed = json.loads(bench(tmp_path, "status", "--db", "r.db", "--json").out)
    assert [entry["error"].partition(":")[0] for entry in typed["errors"]] == ["IsADirectoryError"]
    again = bench.run(tmp_path, "r.db", *options, "--inline")
    assert (again.code, again.loaded & SLOW) == (1, frozenset())
    assert "--retry-failed" in again.out
    assert states(tmp_path / "r.db") == Counter(done=1, failed=1)
    obstacle.rmdir()
    assert bench.run(tmp_path, "r.db", *options, "--inline", "--retry-failed").code == 0
    assert states(tmp_path / "r.db") == Counter(done=2)
    with Ledger(str(tmp_path / "r.db")) as alone, Ledger(str(undisturbed / "r.db")) as among:
        [mate] = [entry for entry in alone.entries() if entry.label == "lora"]
        [same] = among.entries(mate.digest)
        assert mate.metrics == same.metrics
        assert alone.blobs(mate.digest) == among.blobs(mate.digest)


@pytest.mark.slow
def test_exploding_training_is_recorded(bench, tmp_path):
    """Overflowing numbers end as NaN or as diverged, are stored as such, and every command can show them."""
    options = (
        "--methods",
        "lora",
        "--tasks",
        "toy-similarity,toy-sentiment",
        "--draws",
        1,
        "--set",
        "lr=1e30",
    )
    ended = bench.run(tmp_path, "r.db", *options, "--inline", "--steps", 1)
    assert ended.code in (0, 1)
    assert "Traceback" not in ended.err
    with Ledger(str(tmp_path / "r.db")) as ledger:
        digests = [entry.digest for entry in ledger.entries()]
    for digest in digests:
        assert bench(tmp_path, "show", digest, "--db", "r.db").code == 0
        shown = bench(tmp_path, "show", digest, "--db", "r.db", "--json")
        json.loads(shown.out, parse_constant=pytest.fail)
    for form in ("terminal", "json"):
        reported = bench(tmp_path, "report", "--db", "r.db", "--format", form)
        assert (reported.code, "Traceback" in reported.err) == (0, False)


@pytest.mark.slow
def test_the_smoke_preset(bench, tmp_path):
    """`bench run --preset smoke` trains every method, succeeds and leaves no file behind."""
    ended = bench(
        tmp_path,
        "run",
        "--preset",
        "smoke",
        "-j",
        1,
        "--steps",
        2,
        "--eval-every",
        2,
        "--test-limit",
        20,
    )
    assert ended.code == 0
    assert "every cell is filled" in ended.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_name_of_a_database_may_be_invalid_text(bench, tmp_path):
    """File systems allow such names: running, status and verification succeed, whatever the terminal can show."""
    db = "caf\udce9.db"
    ended = bench.run(
        tmp_path, db, "--methods", "lora", "--tasks", "toy-sentiment", "--draws", 1, "-j", 1
    )
    assert (ended.code, "Traceback" in ended.err) == (0, False)
    assert bench(tmp_path, "status", "--db", db).code == 0
    assert bench(tmp_path, "db", "verify", "--db", db).code == 0


def test_a_command_that_is_printed_can_be_copied(bench, tmp_path):
    """A name with a space is quoted as a shell needs it."""
    words = ("--methods", "head", "--tasks", "toy-sentiment", "--draws", 1, "-j", 1)
    ended = bench.run(tmp_path, "a b.db", *words)
    assert "results in a b.db: `bench report --db 'a b.db'` shows them" in ended.out


# -- reading
# -----------------------------------------------------------------------------------------------------------


def test_reading_imports_no_torch(bench, undisturbed):
    """Status, report and show read results without torch, and print valid JSON."""
    digest = next(iter(stored_numbers(undisturbed / "r.db")))
    for command in (("status",), ("report", "--format", "json"), ("show", digest[:10])):
        ended = bench(
            undisturbed, *command, "--db", "r.db", *(["--json"] if command[0] != "report" else [])
        )
        assert ended.code == 0
        assert json.loads(ended.out)
        assert not ended.loaded & SLOW
        ended = bench(
            undisturbed, command[0], *command[1:2] * (command[0] == "show"), "--db", "r.db"
        )
        assert (ended.code, ended.loaded & SLOW) == (0, frozenset())
    shown = json.loads(bench(undisturbed, "show", digest, "--db", "r.db", "--json").out)
    assert [point["step"] for point in shown["curve"]] == [2, 4]
    assert len(shown["predictions"]) == shown["rows"]["test"] == 30


def test_a_changed_metric_is_noticed(bench, undisturbed, tmp_path):
    """`show` reports a metric that was changed by hand."""
    shutil.copy(undisturbed / "r.db", tmp_path)
    digest = next(iter(stored_numbers(undisturbed / "r.db")))
    edited = "not the recorded ones: the database was edited"
    assert edited not in bench(tmp_path, "show", digest, "--db", "r.db").out
    connection = sqlite3.connect(tmp_path / "r.db")
    connection.execute("UPDATE metric SET value = 0.987")
    connection.commit()
    connection.close()
    assert edited in bench(tmp_path, "show", digest, "--db", "r.db").out


# -- displays
# ------------------------------------------------------------------------------------------------------


class Terminal:
    """A command on a pseudo-terminal, as a person would see it."""

    def __init__(self, bench, folder: Path, *words: object) -> None:
        self._terminal, theirs = pty.openpty()
        env = bench.env | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        self._process = subprocess.Popen(
            bench.command(*words), cwd=folder, env=env, start_new_session=True, **streams
        )
        os.close(theirs)
        self.output = ""

    def read_until(self, text: str, seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while text not in self.output and time.monotonic() < end and self._more():
            pass
        assert text in self.output

    def _more(self) -> bool:
        if not select.select([self._terminal], [], [], 0.5)[0]:
            return self._process.poll() is None
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # raised by Linux when the other end is closed
            return False
        self.output += data.decode(errors="replace")
        return bool(data)

    def signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)

    def end(self, seconds: float = 300) -> int:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._more():
            pass
        os.close(self._terminal)
        return self._process.wait(10)

    @property
    def plain(self) -> str:
        """The output without colours and cursor movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.output)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_on_a_terminal(bench, tmp_path):
    """A board shows running jobs, each finished job leaves a line, and the terminal is restored at the end."""
    terminal = Terminal(bench, tmp_path, *bench.run_words("r.db", *BOTH, "--draws", 1, "-j", 1))
    assert terminal.end() == 0
    assert "of 4 done" in terminal.plain
    assert "starting" in terminal.plain
    assert terminal.plain.count("✓") == 4
    assert "about 0.0 s" not in terminal.plain
    assert (
        terminal.output.count("\x1b[?25l") == terminal.output.count("\x1b[?25h") == 1
    )  # the cursor comes back
    assert "results in r.db" in terminal.plain.rpartition("✓")[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_long_run_asks(bench, tmp_path):
    """A long run asks for confirmation on a terminal; Ctrl-C at the question ends the command and its worker."""
    long = (
        "--methods",
        "lora",
        "--tasks",
        "toy-sentiment",
        "--draws",
        10,
        "-j",
        1,
        "--steps",
        9_000_000,
        "--eval-every",
        999_999,
    )
    terminal = Terminal(bench, tmp_path, *bench.run_words("r.db", *long))
    terminal.read_until("y/N", 30)
    assert "Go on? [y/N]" in terminal.plain
    terminal.signal(signal.SIGINT)
    assert terminal.end(20) == 130
    assert "will take about" in terminal.plain
    assert "Traceback" not in terminal.plain
    assert states(tmp_path / "r.db") == Counter()


@pytest.mark.slow
def test_a_long_run_needs_yes_without_a_terminal(bench, tmp_path):
    """It ends with what to do, and leaves no jobs behind."""
    words = ("--methods", "lora", "--tasks", "toy-sentiment", "-j", 1, "--eval-every", 999_999)
    long = (*words, "--steps", 9_000_000)
    ended = bench.run(tmp_path, "r.db", *long, "--draws", 10)
    assert (ended.code, "pass --yes to go on" in ended.out) == (2, True), ended.out + ended.err
    assert states(tmp_path / "r.db") == Counter()
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        assert ledger.meta_values().keys() <= {"schema"}


def test_a_run_that_fails_at_its_start_leaves_no_jobs(bench, tmp_path):
    """No device of that name, and no Ray there: the plan is recorded only when jobs can start."""
    words = ("--methods", "head", "--tasks", "toy-sentiment", "--draws", 2)
    for options in (("--devices", "cuda:7"), ("--executor", "ray", "--ray-address", "127.0.0.1:1")):
        ended = bench.run(tmp_path, "r.db", *words, *options)
        assert ended.code not in (0, 70), ended.err
        assert states(tmp_path / "r.db") == Counter()


@pytest.mark.slow
def test_own_data_from_file_to_report(bench, tmp_path):
    """A user's CSV is trained on and reported; after an edit the report shows only the new data and says so."""
    path, words = tmp_path / "reviews.csv", ("good", "bad")
    path.write_text(
        "review,stars\n"
        + "".join(f"the film was {words[i % 2]} {i},{words[i % 2]}\n" for i in range(80))
    )
    own = (
        "--data",
        path,
        "--text",
        "review",
        "--label",
        "stars",
        "--methods",
        "lora,adapter",
        "--draws",
        2,
        "-j",
        1,
    )
    assert bench.run(tmp_path, "own.db", *own).code == 0
    words = ("report", "--format", "markdown", "--full", "--db", "own.db")
    report = bench(tmp_path, *words)
    assert "| lora |" in report.out
    assert "§" in report.out
    assert "Nadeau" not in report.out  # the results say which rows each draw held out
    path.write_text(path.read_text().replace("film", "play"))
    assert bench.run(tmp_path, "own.db", *own).code == 0
    report = bench(tmp_path, *words)
    assert (
        "reviews: left out 4 results of that name on other data, classes or metrics" in report.err
    )
    assert "4 of 4 have a score" in report.out


def test_the_positive_class_of_own_data(bench, tmp_path):
    """`--positive` names the class of F1 in the report and in `show`; an unknown label is answered with the nearest."""
    rows = [f"the film was {i},{'good' if i % 2 else 'bad'}" for i in range(80)]
    (tmp_path / "films.csv").write_text("\n".join(["text,label", *rows]))
    own = ("--data", "films.csv", "--text", "text", "--label", "label", "--metrics", "accuracy,f1")
    more = ("--methods", "features", "--draws", 1, "--inline")
    refused = bench.run(tmp_path, "r.db", *own, *more, "--positive", "badd")
    assert refused.code == 2
    assert "positive: 'badd' is not a label (did you mean 'bad'?)" in refused.err
    assert bench.run(tmp_path, "r.db", *own, *more, "--positive", "bad").code == 0
    report = bench(tmp_path, "report", "--db", "r.db", "--full", "--format", "markdown").out
    assert "films: mean of accuracy and F1 of bad" in report
    assert "| films accuracy | films F1 of bad |" in report
    (digest,) = re.findall(r"^[0-9a-f]{12}", bench(tmp_path, "show", "--db", "r.db").out, re.M)
    shown = bench(tmp_path, "show", digest, "--db", "r.db").out
    score = re.search(r"F1 of bad +([\d.]+)", shown)[1]
    classes = bench(tmp_path, "report", "--db", "r.db", "--classes", "--format", "markdown").out
    assert (
        re.search(r"\| features \| bad \| .* \| ([\d.]+) \|", classes)[1] == f"{float(score):.1f}"
    )


@pytest.mark.slow
def test_redrawn_samples_are_reported(bench, tmp_path):
    """With a rare class, the command reports that draws were repeated."""
    rows = [f"the film was {i},{'rare' if i < 4 else 'common'}" for i in range(80)]
    (tmp_path / "rare.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    own = (
        "--data",
        tmp_path / "rare.csv",
        "--text",
        "text",
        "--label",
        "label",
        "--methods",
        "lora",
        "--draws",
        4,
        "-j",
        1,
    )
    ended = bench.run(tmp_path, "r.db", *own)
    assert "redrawn because a class was missing: " in ended.out
    assert "(rare)" in ended.out


@pytest.mark.slow
def test_training_rows_in_the_test_set_are_counted(bench, tmp_path):
    """They are kept; the run reports how many there are, and each job has a note."""
    lines = [f"word{number} text,{'good' if number % 2 else 'bad'}" for number in range(60)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *lines]))
    (tmp_path / "test.csv").write_text(
        "\n".join(["text,label", *lines[:30], "other,good", "another,bad"])
    )
    words = (
        "--methods",
        "features",
        "--model",
        "tiny",
        "--data",
        "train.csv",
        "--test",
        "test.csv",
        "--text",
        "text",
    )
    more = ("--label", "label", "--kind", "classes", "--sizes", 20, "--draws", 2, "--inline")
    ended = bench(tmp_path, "run", *words, *more)
    assert ended.code == 0, ended.err
    assert "training or dev rows, in 2 draws (train): kept" in ended.out
    with Ledger(str(tmp_path / "results.db")) as ledger:
        assert all("also stand in the test rows" in entry.note for entry in ledger.entries())
