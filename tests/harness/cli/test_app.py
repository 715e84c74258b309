"""The command line reports every problem at once, in words, without importing anything heavy."""

import errno
import json
import subprocess
import sys

import pytest

from harness.cli import app

VALID = {"--methods": "lora", "--tasks": "toy-sentiment"}


def words(command: str = "run", **options: object) -> list[object]:
    """Return a valid command line with some options changed; a list gives an option several times."""
    changed: dict[str, object] = VALID | {
        f"--{name.rstrip('_').replace('_', '-')}": value for name, value in options.items()
    }
    base = {"--model": "tiny", "--sizes": "20", "--test-limit": "30", "--steps": "2"}
    flat: list[object] = [command]
    for name, value in (base | changed).items():
        for entry in value if isinstance(value, list) else [value]:
            flat += [name, entry]
    return flat


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("--help",),
        ("run", "--help"),
        ("plan", "-h"),
        ("report", "--help"),
        ("list", "--help"),
        ("--version",),
    ],
)
def test_help_imports_nothing_heavy(command, bench, tmp_path):
    """Help and version import none of the slow libraries, and create no file."""
    ended = bench(tmp_path, *command)
    assert ended.code == (2 if command == () else 0)
    assert ended.loaded == frozenset()
    assert "bench" in ended.out
    assert list(tmp_path.iterdir()) == []


WRONG = {
    "unknown method": (words(methods="lora,lorra"), ["'lorra'", "lora"]),
    "unknown task": (
        words(tasks="toy-sentimant"),
        ["'toy-sentimant'", "did you mean 'toy-sentiment'"],
    ),
    "unknown option": (words(set_="lora.rankk=3"), ["rankk"]),
    "unknown option of all": (words(set_="rankk=3"), ["rankk", "did you mean 'rank'"]),
    "option of another method": (words(set_="prefix.length=3"), ["prefix is not among --methods"]),
    "values of options": (
        words(set_=["lora.rank=0,2.5", "lora.lr=fast"]),
        ["rank must be 1", "'2.5'", "'fast'"],
    ),
    "no numbers": (
        words(set_=["lora.rank=٣,1_0", "lora.lr=inf,nan,1e999"]),
        ["'٣'", "'1_0'", "'inf'", "'nan'", "'1e999'"],
    ),
    "forms of set": (
        words(set_=["rank", "lora.rank=", "=3", "lora.=3"]),
        ["'rank'", "'lora.rank='", "'=3'", "'lora.=3'"],
    ),
    "sizes": (
        words(sizes="0,-5,1.5,5O,٣,²"),
        ["0 is not", "-5 is not", "'1.5'", "'5O'", "'٣'", "'²'"],
    ),
    "sizes beyond reason": (words(sizes="99999999999999999999999"), ["99999999999999999999999"]),
    "sizes that no task gives": (words(sizes="3999"), ["3999 is too large"]),
    "a size below the classes": (words(sizes="1", tasks="toy-entailment"), ["--sizes: 1 is"]),
    "empty lists": (
        words(methods="", tasks=",", sizes=" "),
        ["--methods is empty", "--tasks is empty", "--sizes is empty"],
    ),
    "an empty model": (words(model=""), ["--model is empty"]),
    "a model too long for a file": (words(model=300 * "a"), ["aaa: File name too long"]),
    "a database too long for a file": (words(db=300 * "a"), ["aaa: File name too long"]),
    "a folder too long for one": (["convert", "tiny", 300 * "a"], ["aaa: File name too long"]),
    "a grid beyond reason": (
        words(draws="10000", seeds="10000"),
        ["100,000,000 jobs", "fewer --draws"],
    ),
    "variants beyond reason": (
        words(
            set_=[
                f"lora.{name}={','.join(map(str, range(1, 101)))}"
                for name in ("rank", "alpha", "lr", "weight_decay")
            ]
        ),
        ["100,000,000 variants"],
    ),
    "dev": (words(dev="some"), ["--dev", "some"]),
    "dev rows": (words(dev="0"), ["--dev", "0"]),
    "devices": (words(devices="cuda:a"), ["--devices", "cuda:a"]),
    "compiled alone": (
        [*words(pack="1"), "--compile"],
        ["--compile compiles packs, and --pack 1 runs without packs"],
    ),
    "captured alone": (
        [*words(), "--cuda-graphs", "--timing"],
        ["--cuda-graphs captures packs, and --timing runs without packs"],
    ),
    "captured on a CPU": (
        [*words(devices="cpu"), "--cuda-graphs"],
        ["--cuda-graphs requires CUDA devices, got --devices cpu"],
    ),
    "jobs": (words(jobs="-1"), ["--jobs", "-1"]),
    "numbers": (
        words(
            draws="0",
            seeds="x",
            steps="0",
            batch_size="-1",
            eval_every="0",
            patience="-1",
            max_length="3",
            test_limit="٣",
        ),
        [
            "--draws",
            "--seeds",
            "--steps",
            "--batch-size",
            "--eval-every",
            "--patience",
            "--max-length",
            "--test-limit",
        ],
    ),
    "words": (
        words(pooling="max", dtype="float16", sampling="best", preset="none"),
        ["--pooling", "--dtype", "--sampling", "--preset"],
    ),
    "own data": (words(text="a", label="b"), ["--text", "--data"]),
    "a missing file": (words(task_file="missing.toml"), ["missing.toml"]),
    "keep": (words(keep="some"), ["--keep"]),
    "no such option": (words(nonsense="1"), ["--nonsense"]),
    "no such command": (["rum"], ["rum"]),
    "plan": (words("plan", methods="lorra", sizes="0"), ["lorra", "0 is not"]),
    "fetch": (words("fetch", methods="lorra", sizes="0"), ["lorra", "0 is not"]),
    "list": (["list", "songs"], ["songs"]),
    "format": (["report", "--format", "song"], ["song"]),
}


# Runs many commands in one process, which saves most of the time, and prints the exit code and the
# message of each.
MANY = """
import contextlib, io, json, os, sys
from harness.cli.app import run_command_line
for case, words in json.load(sys.stdin).items():
    sys.argv, err, code = ["bench", *words], io.StringIO(), 0
    with contextlib.redirect_stderr(err):
        try:
            run_command_line()
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            err.write(f"Traceback of {error!r}")
    slow = sorted({"torch", "transformers", "datasets", "evaluate"} & set(sys.modules))
    print(json.dumps([case, code, err.getvalue(), slow, os.listdir()]))
"""


@pytest.fixture(scope="module")
def refusals(bench, tmp_path_factory):
    """Return the exit code, message, slow imports and files of every wrong command."""
    commands = json.dumps(
        {case: [str(word) for word in command] for case, (command, _) in WRONG.items()}
    )
    folder = tmp_path_factory.mktemp("wrong")
    done = subprocess.run(
        [sys.executable, "-c", MANY],
        input=commands,
        cwd=folder,
        env=bench.env,
        capture_output=True,
        text=True,
        check=True,
    )
    return {case: rest for case, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_refused(case, refusals):
    """The exit code is 2, all problems are named, and there is no traceback, file or heavy import."""
    code, message, slow, files = refusals[case]
    assert (code, slow, files) == (2, [], [])
    assert [text for text in WRONG[case][1] if text not in message] == []
    assert "Traceback" not in message


def test_all_problems_are_named_at_once(bench, tmp_path):
    """One command reports problems of every kind, including an unusable database path."""
    wrong = words(
        methods="lorra",
        tasks="none",
        sizes="0",
        dev="some",
        devices="abacus",
        jobs="x",
        db=tmp_path,
        set_="zz",
    )
    ended = bench(tmp_path, *wrong)
    assert ended.code == 2
    for text in (
        "lorra",
        "'none'",
        "--sizes",
        "--dev",
        "--devices",
        "--jobs",
        "is a folder",
        "'zz'",
    ):
        assert text in ended.err
    assert "torch" not in ended.loaded


def test_repeated_values_are_merged(bench, tmp_path):
    """An entry that is named twice counts once, with a notice on the error stream; the output stays JSON."""
    repeated = words(
        "plan", methods="lora,lora", tasks="toy-sentiment,toy-sentiment", sizes="20,20"
    )
    ended = bench(tmp_path, *repeated, "--json")
    assert ended.code == 0
    assert len(json.loads(ended.out)["jobs"]) == len(
        json.loads(bench(tmp_path, *words("plan", draws="10"), "--json").out)["jobs"]
    )
    for name in ("methods", "tasks", "sizes"):
        assert f"--{name}: " in ended.err
    assert "counted once" in ended.err


@pytest.mark.slow
def test_variants_have_readable_names(bench, tmp_path):
    """Several values of options make one variant per combination, named by its differences from the defaults."""
    ended = bench(
        tmp_path, *words("plan", methods="lora", draws="1", set_="lora.rank=2,4"), "--json"
    )
    assert [job["method"] for job in json.loads(ended.out)["jobs"]] == [
        "lora(rank=2)",
        "lora(rank=4)",
    ]
    ended = bench(tmp_path, *words("plan", methods="lora(rank=2),lora", draws="1"), "--json")
    assert ended.code in (
        0,
        2,
    )  # either is acceptable; a traceback is not
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("kind", ["methods", "tasks", "models"])
def test_lists(kind, bench, tmp_path):
    """Lists are printed as text and as JSON, without torch and without a network."""
    plain, typed = bench(tmp_path, "list", kind), bench(tmp_path, "list", kind, "--json")
    assert (plain.code, typed.code) == (0, 0)
    names = [entry["name"] for entry in json.loads(typed.out)[kind]]
    assert names
    assert all(name in plain.out for name in names)
    assert not (plain.loaded | typed.loaded) & {"torch", "transformers", "datasets"}


def test_a_plan_writes_nothing(bench, tmp_path):
    """A plan names its jobs and the infeasible cells, and creates no database; the second plan needs no torch."""
    ended = bench(
        tmp_path, *words("plan", sizes="20,3999", tasks="toy", draws="2", methods="lora,simplex")
    )
    assert ended.code == 2 or "infeasible" in ended.out
    for _ in range(2):
        ended = bench(
            tmp_path, *words("plan", tasks="toy-sentiment", draws="2", methods="lora,simplex")
        )
    assert ended.code == 0
    assert "4 jobs, 0 done, 4 to do, 0 infeasible" in ended.out
    assert list(tmp_path.iterdir()) == []
    assert not ended.loaded & {"torch", "transformers", "datasets"}


@pytest.mark.parametrize(
    "command", [("status",), ("report",), ("show", "ab"), ("report", "--format", "json")]
)
def test_a_missing_database_is_reported(command, bench, tmp_path):
    """Reading a missing database ends with exit code 69 and what to do, and creates none."""
    ended = bench(tmp_path, *command)
    assert ended.code == 69
    assert "bench run" in ended.err
    assert "Traceback" not in ended.err
    assert list(tmp_path.iterdir()) == []
    assert "torch" not in ended.loaded


@pytest.mark.parametrize(
    "command", [("status",), ("report",), ("show", "ab"), tuple(words()), tuple(words("plan"))]
)
def test_a_file_that_is_not_a_database_is_refused(command, bench, tmp_path):
    """Every command ends with exit code 65 before importing torch, and the file is unchanged."""
    (tmp_path / "diary.db").write_text("Dear diary,\n" * 400)
    ended = bench(tmp_path, *command, "--db", "diary.db")
    assert ended.code == 65
    assert "diary.db is not an SQLite database" in ended.err
    assert "Traceback" not in ended.err
    assert (tmp_path / "diary.db").read_text() == "Dear diary,\n" * 400
    assert [path.name for path in tmp_path.iterdir()] == ["diary.db"]
    assert "torch" not in ended.loaded


def test_missing_models_and_folders_have_their_own_exit_codes(bench, tmp_path):
    """69 for a model that cannot be found, 73 for a folder that does not exist."""
    ended = bench(tmp_path, *words(model="nobody/no-such-model"))
    assert (ended.code, "Traceback" in ended.err) == (69, False)
    ended = bench(tmp_path, *words(model="./missing"))
    assert (ended.code, "Traceback" in ended.err) == (69, False)
    ended = bench(tmp_path, *words(db="missing/r.db"))
    assert (ended.code, "Traceback" in ended.err) == (73, False)
    assert list(tmp_path.iterdir()) == []
    assert "torch" not in ended.loaded


def test_a_full_disk_is_reported_wherever_it_occurs(monkeypatch, capsys):
    """Also if a lock or a folder cannot be created: a sentence, and the exit code of a full disk."""

    def lock():
        raise OSError(errno.ENOSPC, "No space left on device", "r.db.lock")

    monkeypatch.setattr(app, "app", lock)
    with pytest.raises(SystemExit) as ended:
        app.run_command_line()
    assert ended.value.code == 74
    assert "No space left on device: 'r.db.lock'): free some space" in capsys.readouterr().err


def test_an_error_in_bench_has_its_own_exit_code(monkeypatch, capsys):
    """An unforeseen exception prints its traceback and ends with 70."""

    def broken():
        raise ZeroDivisionError

    monkeypatch.setattr(app, "app", broken)
    with pytest.raises(SystemExit) as ended:
        app.run_command_line()
    assert ended.value.code == 70
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_closed_pipe_is_not_an_error(bench, tmp_path):
    """If the reader of the output exits, the command ends without a traceback."""
    process = bench.start(tmp_path, "list", "methods", "--json")
    process.stdout.close()
    process.stdout = None
    ended = bench.end(process)
    assert "Traceback" not in ended.err


@pytest.mark.slow
def test_show_without_a_digest_lists_the_jobs(bench, tmp_path):
    """Every job is listed with its digest, state and score, as a table and as JSON."""
    ended = bench.run(
        tmp_path, "r.db", "--methods", "lora", "--tasks", "toy-sentiment", "--draws", 2, "-j", 1
    )
    assert ended.code == 0
    jobs = json.loads(bench(tmp_path, "show", "--json", "--db", "r.db").out)["jobs"]
    assert [(job["label"], job["draw"], job["state"]) for job in jobs] == [
        ("lora", 0, "done"),
        ("lora", 1, "done"),
    ]
    table = bench(tmp_path, "show", "--db", "r.db").out
    assert all(job["digest"][:12] in table for job in jobs)
