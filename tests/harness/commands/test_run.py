"""From the command to the ledger: whatever happens on the way, the same command ends with the same numbers."""

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
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from harness.ledger import Ledger
from harness.outcome import unpack_predictions
from harness.scheduling.display import LiveDisplay, PlainDisplay, duration
from harness.scheduling.executors.base import Where
from harness.scheduling.progress import Progress
from harness.tasks import metrics

BOTH = ("--methods", "prefix,lora", "--tasks", "toy-sentiment,toy-similarity")
SLOW = {"torch", "transformers", "datasets", "evaluate"}


@pytest.fixture(scope="module")
def whole(bench, tmp_path_factory):
    """A folder with a ledger in which four jobs ran undisturbed, one after the other."""
    folder = tmp_path_factory.mktemp("whole")
    ended = bench.run(folder, "r.db", *BOTH, "--draws", 1, "-j", 1)
    assert (ended.code, ended.err.strip()) == (0, "")
    assert "4 jobs" in ended.out
    assert "4 done in" in ended.out
    return folder


def numbers(db: Path) -> dict[str, tuple[dict[str, str], dict[str, bytes], dict[str, object]]]:
    """Everything that a ledger holds of each result, except times and places."""
    found = {}
    with Ledger(str(db)) as ledger:
        for entry in ledger.entries():
            assert entry.state == "done"
            assert entry.result is not None
            kept = {
                name: entry.result[name]
                for name in ("dev_score", "best_step", "trained", "stored", "artefact", "payload")
            }
            metrics = {name: value.hex() for name, value in entry.metrics.items()}
            found[entry.digest] = (metrics, ledger.blobs(entry.digest), kept)
    return found


def test_predictions_and_labels_give_the_metrics_again(whole):
    """What is kept of the test rows is enough to compute every metric of a run anew."""
    with Ledger(str(whole / "r.db")) as ledger:
        for entry in ledger.entries():
            blobs = ledger.blobs(entry.digest)
            given, right = (unpack_predictions(blobs[kind]) for kind in ("predictions", "labels"))
            assert len(given) == len(right) == entry.n_test
            names = [name.rpartition("/")[0] for name in entry.setting["task"]["metrics"]]
            assert metrics.compute(names, given, right) == pytest.approx(
                {name: entry.metrics[name] for name in names}, abs=1e-6
            )


def states(db: Path) -> Counter[str]:
    """How many jobs are in which state; none where there is no ledger yet."""
    if not db.exists() or not db.stat().st_size:
        return Counter()
    with Ledger(str(db)) as ledger:
        return Counter(entry.state for entry in ledger.entries())


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def owner(db: Path) -> int:
    """The number of the run that holds a job; 0: none does."""
    connection = sqlite3.connect(db)
    try:
        return connection.execute("SELECT coalesce(max(owner), 0) FROM job").fetchone()[0]
    finally:
        connection.close()


# -- the same numbers
# --------------------------------------------------------------------------------------------------


def test_the_same_command_again_does_nothing(bench, whole):
    """The second time no job is left, torch is not imported, and not a byte of a result changes."""
    before = numbers(whole / "r.db")
    ended = bench.run(whole, "r.db", *BOTH, "--draws", 1, "-j", 1)
    assert ended.code == 0
    assert "4 ended before, 0 to do" in ended.out
    assert not ended.loaded & SLOW
    assert numbers(whole / "r.db") == before


TURNED = ("--methods", "lora,prefix", "--tasks", "toy-similarity,toy-sentiment")


@pytest.mark.parametrize(
    "how", [(*BOTH, "-j", 2), (*TURNED, "--inline")], ids=["two workers", "inline, reversed"]
)
def test_workers_and_order_change_nothing(how, bench, whole, tmp_path):
    """Two workers at once, or no worker and the order reversed, give every metric, prediction, curve and tensor to the bit."""
    assert bench.run(tmp_path, "r.db", *how, "--draws", 1).code == 0
    assert numbers(tmp_path / "r.db") == numbers(whole / "r.db")


def test_more_draws_add_only_the_new(bench, whole, tmp_path):
    """Asking for more draws later trains those alone; what was there stays as it was."""
    shutil.copy(whole / "r.db", tmp_path)
    ended = bench.run(tmp_path, "r.db", *BOTH, "--draws", 2, "--inline", "--keep", "none")
    assert ended.code == 0
    assert "8 jobs" in ended.out
    assert "4 ended before, 4 to do" in ended.out
    found = numbers(tmp_path / "r.db")
    assert len(found) == 8
    assert numbers(whole / "r.db").items() <= found.items()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_interruptions_change_nothing(bench, whole, tmp_path):
    """Killed outright, Ctrl-C twice, SIGTERM, Ctrl-C once: the same command goes on, and the numbers are the same."""
    db, expected = tmp_path / "r.db", numbers(whole / "r.db")
    slow = ("--draws", 2, "-j", 1, "--keep", "none")
    command = bench.run_words("r.db", *BOTH, *slow)

    process = bench.start(tmp_path, *command)
    wait_until(lambda: states(db)["done"])
    process.kill()
    bench.end(process)
    assert states(db)["done"] >= 1

    held = owner(db)
    process = bench.start(tmp_path, *command)
    wait_until(lambda: owner(db) > held)
    time.sleep(0.3)  # the worker is about to start
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.3)  # two signals at the same moment are one
    os.killpg(process.pid, signal.SIGINT)
    ended = bench.end(process)
    assert ended.code == 130
    assert time.monotonic() - began < 5
    assert "Traceback" not in ended.err
    assert set(states(db)) <= {"done", "planned"}

    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        before = states(db)
        assert set(before) == {"done", "planned"}
        process = bench.start(tmp_path, *command)
        wait_until(lambda: owner(db))
        os.killpg(process.pid, number)  # as a terminal or a cluster does: workers get it too
        ended = bench.end(process)
        assert ended.code == code
        assert "Traceback" not in ended.err
        assert "the same command goes on" in ended.out
        assert states(db) == before + Counter(done=1) - Counter(planned=1)

    ended = bench(tmp_path, *command)
    assert ended.code == 0
    found = numbers(db)
    assert len(found) == 8
    assert {digest: found[digest][:2] for digest in expected} == {
        digest: one[:2] for digest, one in expected.items()
    }
    assert [path.name for path in tmp_path.iterdir()] == ["r.db"]


def test_artefacts_are_what_the_ledger_says(whole):
    """The tensors of every result lie beside the ledger, with the hash that its row tells."""
    files = {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (whole / "r.db.artefacts").iterdir()
    }
    assert files == {
        digest: kept["artefact"] for digest, (_, _, kept) in numbers(whole / "r.db").items()
    }


# -- failures
# ----------------------------------------------------------------------------------------------------------


def test_a_job_that_fails_is_told_of_and_tried_again_when_asked(bench, whole, tmp_path):
    """A job that cannot keep its tensors ends the command with 1; status says why; it is tried again with --retry-failed only.

    The job beside it has the numbers that it has among others.
    """
    wanted = ("--methods", "prefix,lora", "--tasks", "toy-sentiment", "--draws", 1)
    planned = json.loads(
        bench(tmp_path, "plan", *bench.grid, *wanted, "--db", "r.db", "--json").out
    )
    (prefix,) = (job["digest"] for job in planned["jobs"] if job["method"] == "prefix")
    in_the_way = tmp_path / "r.db.artefacts" / f"{prefix}.draft"
    in_the_way.mkdir(parents=True)
    ended = bench.run(tmp_path, "r.db", *wanted, "--inline")
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert "1 done, 1 failed" in ended.out
    status = bench(tmp_path, "status", "--db", "r.db")
    assert "IsADirectoryError" in status.out
    typed = json.loads(bench(tmp_path, "status", "--db", "r.db", "--json").out)
    assert [one["error"].partition(":")[0] for one in typed["errors"]] == ["IsADirectoryError"]
    again = bench.run(tmp_path, "r.db", *wanted, "--inline")
    assert (again.code, again.loaded & SLOW) == (1, frozenset())
    assert "--retry-failed" in again.out
    assert states(tmp_path / "r.db") == Counter(done=1, failed=1)
    in_the_way.rmdir()
    assert bench.run(tmp_path, "r.db", *wanted, "--inline", "--retry-failed").code == 0
    assert states(tmp_path / "r.db") == Counter(done=2)
    with Ledger(str(tmp_path / "r.db")) as alone, Ledger(str(whole / "r.db")) as among:
        [mate] = [entry for entry in alone.entries() if entry.label == "lora"]
        [same] = among.entries(mate.digest)
        assert mate.metrics == same.metrics
        assert alone.blobs(mate.digest) == among.blobs(mate.digest)


def test_training_that_explodes_is_no_accident(bench, tmp_path):
    """Numbers beyond all bounds end as NaN or as diverged, are kept as such, and every way of reading copes with them."""
    wanted = (
        "--methods",
        "lora",
        "--tasks",
        "toy-similarity,toy-sentiment",
        "--draws",
        1,
        "--set",
        "lr=1e30",
    )
    ended = bench.run(tmp_path, "r.db", *wanted, "--inline", "--steps", 1)
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


def test_the_smoke_preset(bench, tmp_path):
    """`bench run --preset smoke` trains every method, ends well and leaves nothing behind."""
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


def test_a_database_may_have_a_name_that_is_no_text(bench, tmp_path):
    """File systems allow it: the run and a look at it end well, whatever the terminal can show."""
    db = "caf\udce9.db"
    ended = bench.run(
        tmp_path, db, "--methods", "lora", "--tasks", "toy-sentiment", "--draws", 1, "-j", 1
    )
    assert (ended.code, "Traceback" in ended.err) == (0, False)
    assert bench(tmp_path, "status", "--db", db).code == 0
    assert bench(tmp_path, "db", "verify", "--db", db).code == 0


# -- reading
# -----------------------------------------------------------------------------------------------------------


def test_reading_imports_no_torch(bench, whole):
    """Status, report and show read results without torch, and their JSON is JSON."""
    digest = next(iter(numbers(whole / "r.db")))
    for command in (("status",), ("report", "--format", "json"), ("show", digest[:10])):
        ended = bench(
            whole, *command, "--db", "r.db", *(["--json"] if command[0] != "report" else [])
        )
        assert ended.code == 0
        assert json.loads(ended.out)
        assert not ended.loaded & SLOW
        ended = bench(whole, command[0], *command[1:2] * (command[0] == "show"), "--db", "r.db")
        assert (ended.code, ended.loaded & SLOW) == (0, frozenset())
    shown = json.loads(bench(whole, "show", digest, "--db", "r.db", "--json").out)
    assert [point["step"] for point in shown["curve"]] == [2, 4]
    assert len(shown["predictions"]) == shown["rows"]["test"] == 30


def test_a_changed_metric_is_noticed(bench, whole, tmp_path):
    """After a metric was changed by hand, `show` says so."""
    shutil.copy(whole / "r.db", tmp_path)
    digest = next(iter(numbers(whole / "r.db")))
    assert "changed" not in bench(tmp_path, "show", digest, "--db", "r.db").out
    connection = sqlite3.connect(tmp_path / "r.db")
    connection.execute("UPDATE metric SET value = 0.987")
    connection.commit()
    connection.close()
    assert "was changed" in bench(tmp_path, "show", digest, "--db", "r.db").out


# -- what is seen
# ------------------------------------------------------------------------------------------------------


class Terminal:
    """A command on a terminal of its own, as a person would see it."""

    def __init__(self, bench, folder: Path, *words: object) -> None:
        self._ours, theirs = pty.openpty()
        env = bench.env | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        self._process = subprocess.Popen(
            bench.command(*words), cwd=folder, env=env, start_new_session=True, **streams
        )
        os.close(theirs)
        self.seen = ""

    def read_until(self, text: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while text not in self.seen and time.monotonic() < end and self._more():
            pass
        assert text in self.seen

    def _more(self) -> bool:
        if not select.select([self._ours], [], [], 0.5)[0]:
            return self._process.poll() is None
        try:
            found = os.read(self._ours, 65536)
        except OSError:  # what Linux says when nobody holds the other end any more
            return False
        self.seen += found.decode(errors="replace")
        return bool(found)

    def signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)

    def end(self, seconds: float = 60) -> int:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._more():
            pass
        os.close(self._ours)
        return self._process.wait(10)

    @property
    def plain(self) -> str:
        """What was written, without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
def test_on_a_terminal(bench, tmp_path):
    """A board is drawn while jobs run, a line stays for each that ended, and the terminal is left as it was."""
    terminal = Terminal(bench, tmp_path, *bench.run_words("r.db", *BOTH, "--draws", 1, "-j", 1))
    assert terminal.end() == 0
    assert "of 4 done" in terminal.plain
    assert "starting" in terminal.plain
    assert terminal.plain.count("✓") == 4
    assert "about 0.0 s" not in terminal.plain
    assert (
        terminal.seen.count("\x1b[?25l") == terminal.seen.count("\x1b[?25h") == 1
    )  # the cursor comes back
    assert "results in r.db" in terminal.plain.rpartition("✓")[2]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
def test_a_long_run_asks(bench, tmp_path):
    """Hours of work are asked for on a terminal; Ctrl-C at the question ends the command and its worker."""
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
    assert states(tmp_path / "r.db") == Counter(planned=10)


def board(*where: Where, jobs=None, **counts: int) -> str:
    """What the live board shows."""
    console = Console(file=StringIO(), force_terminal=True, width=100)
    progress = Progress(**({"total": 4, "before": 1} | counts))
    with LiveDisplay(console, jobs or {}) as display:
        display.show(progress, where)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())  # type: ignore[attr-defined]


def test_the_board(make_job):
    """The board tells done, failed and left, and for each slot the job and its step; an idle slot shows none."""
    job = make_job(task="toy[bold]")
    busy, idle = (
        Where("cuda:0", job.digest, 30, 60, False, 2.0),
        Where("cuda:1", None, 0, 0, False, 0.0),
    )
    shown = board(busy, idle, jobs={job.digest: job}, done=1, bad=1)
    assert "3 of 4 done" in shown
    assert "1 failed" in shown
    assert "1 to do · measuring" in shown
    assert "30 of 60" in shown
    assert "lora · toy[bold] · 20 · draw 0" in shown
    assert "idle" in shown
    several = board(Where("cuda:0", job.digest, 30, 60, False, 2.0, jobs=5), jobs={job.digest: job})
    assert "lora · toy[bold] · 20 · draw 0 and 4 more" in several
    assert "testing" in board(Where("cpu", job.digest, 60, 60, True, 9.0), jobs={job.digest: job})


def test_plain_lines(make_job, make_outcome):
    """Where there is no terminal each job is one line, whatever its name or error holds."""
    console = Console(file=StringIO(), width=40)
    with PlainDisplay(console) as display:
        display.finished(
            make_job("lora[red]"), make_outcome(make_job()), Progress(total=4, before=1, done=1)
        )
        failed = make_outcome(make_job(), status="failed", error="ValueError: [/] no\nmore")
        display.finished(make_job(), failed, Progress(total=4, before=1, bad=1))
        display.note("[bold]")
    first, second, third = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert first.startswith("[2/4] lora[red] · toy-sentiment · 20 · draw 0:  50.0")
    assert "failed: ValueError: [/] no" in second
    assert third == "[bold]"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.96, "10.0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_durations(seconds, text):
    """Lengths of time are told in two units at most."""
    assert duration(seconds) == text


def test_own_data_from_file_to_report(bench, tmp_path):
    """A CSV of one's own is trained on and reported; after an edit the report shows the new data only and says so."""
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
    report = bench(tmp_path, "report", "--format", "markdown", "--db", "own.db")
    assert "| lora |" in report.out
    assert "Nadeau" in report.out
    path.write_text(path.read_text().replace("film", "play"))
    assert bench.run(tmp_path, "own.db", *own).code == 0
    report = bench(tmp_path, "report", "--format", "markdown", "--db", "own.db")
    assert "reviews: left out 4 results on earlier data of that name" in report.err
    assert "4 of 4 have a score" in report.out


def test_draws_that_missed_a_class_are_named(bench, tmp_path):
    """With a class that is rare, the command says that draws were drawn again."""
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


def test_rows_that_also_stand_in_the_test_set_are_counted(bench, tmp_path):
    """They are kept, as the data are what they are; the run says how many there are, and each job remembers."""
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
