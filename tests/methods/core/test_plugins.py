"""Methods of other distributions: they are found by metadata, isolated if broken, and stored with their results."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SHIFT = '''
from dataclasses import dataclass
from typing import ClassVar

from methods import Method

print("an import may print")


@dataclass(frozen=True, kw_only=True)
class Shift(Method):
    """Adds a trained vector to the output of every block."""

    name: ClassVar[str] = "shift"
    INTERFACE: ClassVar[int] = 2
    summary: ClassVar[str] = "a trained vector \\x1b[31mafter every block"
    spread: float = 0.02
    every: int = 1

    @property
    def default_lr(self):
        return 5e-3

    def place(self, slots):
        from methods import row_bias

        for number, block in enumerate(slots.architecture.layers[:: self.every]):
            slots.add(block, "shift", (slots.architecture.hidden,), number)
            slots.hook(block, lambda module, inputs, output: output + row_bias(module.shift))

    def start(self, slots, streams, vertices):
        from methods import InitialParameters, initialise, normal

        added = [slot for slot in slots if slot.role == "added"]
        initialiser = normal(self.spread)
        return InitialParameters(
            {slot.name: initialise(streams, slot.name, slot.shape, vertices, initialiser) for slot in added}
        )
'''
GRID = ["--model", "tiny", "--tasks", "toy-sentiment", "--sizes", "20", "--draws", "1"]
OWN = "from methods.bitfit import Bitfit\nclass Own(Bitfit):\n    name = {!r}\n"
BROKEN = {  # name of the method: (code of its module, part of the message)
    "raises": (
        "raise RuntimeError('no such thing\\x1b[2J\\nand more')",
        "RuntimeError: no such thing",
    ),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "dies": ("import os; os._exit(0)", "its import ended the process (exit code 0)"),
    "hangs": ("while True: pass", "its import takes longer than 8 s"),
    "unprintable": (
        "class Unprintable(BaseException):\n    def __str__(self): raise self\nraise Unprintable",
        "Unprintable",
    ),
    "lacks": ("import not_there", "ModuleNotFoundError: No module named 'not_there'"),
    "classless": ("", "AttributeError"),
    "no-method": ("class Own: pass", "it is not a subclass of methods.Method"),
    "older": (
        "from methods import Method\nclass Own(Method):\n    name = 'older'",
        "it lacks default_lr, place, start",
    ),
    "misnamed": (
        OWN.format("other"),
        "its entry point has the name 'misnamed', and its class 'other'",
    ),
    "refuses": (
        OWN.format("refuses") + "    lr = -1.0\n    def __init__(self): raise ValueError('no')",
        "ValueError: no",
    ),
    "odd": (
        "import dataclasses\n"
        + OWN.format("odd").replace("class", "@dataclasses.dataclass(frozen=True)\nclass")
        + "    when: list = ()",
        "options must be of type str, int, float, bool, or that or None; others: when",
    ),
    "undecided": (
        "import dataclasses\n"
        + OWN.format("undecided").replace("class", "@dataclasses.dataclass(frozen=True)\nclass")
        + "    much: float | None = None",
        "`options()` must give every option the value in use; much has none",
    ),
    "newer": (
        OWN.format("newer") + "    INTERFACE = 99",
        "it is written for interface 99 of bench, and this bench has interface 2",
    ),
    "Capitals": (OWN.format("Capitals"), "lower-case letters"),
    "lora": (OWN.format("lora"), "bench has a built-in method of that name"),
    "all": (OWN.format("all"), "bench has a built-in method of that name"),
}


# A plug-in for interface 1, as its documentation showed it.
OLD_SHIFT = '''
from dataclasses import dataclass
from typing import ClassVar

from methods import Method


@dataclass(frozen=True, kw_only=True)
class Shift(Method):
    """Adds a trained vector to the output of every block."""

    name: ClassVar[str] = "shift"
    summary: ClassVar[str] = "a trained vector added after every block"

    @property
    def default_lr(self) -> float:
        return 5e-3

    def place(self, slots):
        from methods.sites import row_bias

        for number, block in enumerate(slots.anatomy.layers):
            slots.add(block, "shift", (slots.anatomy.hidden,), number)
            slots.hook(block, lambda module, inputs, output: output + row_bias(module.shift))

    def start(self, slots, streams, vertices):
        from methods.source import Start, draw, normal

        added = [slot for slot in slots if slot.role == "added"]
        initialiser = normal(0.02)
        return Start({slot.name: draw(streams, slot.name, slot.shape, vertices, initialiser) for slot in added})
'''


def install(folder, distribution, version, code, entry, *, requires=()):
    """Write a distribution as pip installs it: a module, its metadata and its entry points."""
    module = distribution.replace("-", "_")
    (folder / f"{module}.py").write_text(code, "utf-8")
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{needs}", "utf-8"
    )
    (info / "entry_points.txt").write_text(
        f"[simplexbench.methods]\n{entry} = {module}:Own\n".replace(":Own", f":{_class(entry)}")
    )


def _class(entry):
    return "Shift" if entry == "shift" else "Own"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Return a folder with one working plug-in."""
    folder = tmp_path_factory.mktemp("sound")
    install(
        folder,
        "bench-shift",
        "1.2",
        SHIFT,
        "shift",
        requires=["simplexbench>=0.1", "nothing>99; extra == 'more'"],
    )
    return folder


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Return a folder with every kind of broken plug-in, and a working one."""
    folder = tmp_path_factory.mktemp("broken")
    install(folder, "bench-shift", "1.2", SHIFT, "shift")
    for name, (code, _) in BROKEN.items():
        install(folder, f"bad-{name.lower()}", "0.3", code, name)
    for number in (1, 2):
        install(folder, f"twin-{number}", "1.0", OWN.format("twin"), "twin")
    install(
        folder, "bench-future", "2", OWN.format("future"), "future", requires=["SimplexBench>=99"]
    )
    return folder


# Runs the command with a shorter time limit, and prints at its end which plug-ins this process imported.
PROBE = """
import atexit, sys
import methods.core.plugins
methods.core.plugins.IMPORT_TIMEOUT = 8.0
ours = ("bad_", "bench_", "twin_")
atexit.register(lambda: print("\\nimported:", *sorted(n for n in sys.modules if n.startswith(ours)), file=sys.stderr))
from harness.__main__ import main
main()
"""


@pytest.fixture
def with_plugins(bench, tmp_path):
    """Run the command with the plug-ins of a folder; return exit code, output, error stream and imported plug-ins."""

    def run(folder, *words):
        env = bench.env | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
        command = [sys.executable, "-c", PROBE, *map(str, words)]
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        errors, _, imported = done.stderr.rpartition("\nimported:")
        return done.returncode, done.stdout, errors, imported.split()

    return run


def test_broken_plugins_are_listed_with_their_distribution(with_plugins, broken):
    """F25: each is listed with distribution, version and a reason of one line, besides the methods that work."""
    code, out, _, _ = with_plugins(broken, "list", "methods", "--json")
    listed = json.loads(out)
    assert code == 0
    assert {"fine-tuning", "simplex", "shift"} <= {method["name"] for method in listed["methods"]}
    assert [method["distribution"] for method in listed["methods"] if "distribution" in method] == [
        "bench-shift"
    ]
    broken_ones = {(entry["name"], entry["distribution"]): entry for entry in listed["broken"]}
    for name, (_, reason) in BROKEN.items():
        entry = broken_ones.pop((name, f"bad-{name.lower()}"))
        assert reason in entry["reason"]
        assert "\n" not in entry["reason"]
        assert entry["version"] == "0.3"
    assert "twin-2 1.0 also offers" in broken_ones.pop(("twin", "twin-1"))["reason"]
    assert "twin-1 1.0 also offers" in broken_ones.pop(("twin", "twin-2"))["reason"]
    assert "it requires bench >=99" in broken_ones.pop(("future", "bench-future"))["reason"]
    assert broken_ones == {}


def test_unreadable_metadata_is_ignored(with_plugins, tmp_path):
    """A distribution whose entry points are not text does not hide other plug-ins."""
    install(tmp_path, "bench-shift", "1.2", SHIFT, "shift")
    (tmp_path / "spoilt-1.dist-info").mkdir()
    (tmp_path / "spoilt-1.dist-info" / "entry_points.txt").write_bytes(
        b"[simplexbench.methods]\nthis is not an entry\n\xff"
    )
    code, out, _, _ = with_plugins(tmp_path, "list", "methods", "--json")
    assert (code, json.loads(out)["broken"]) == (0, [])
    assert "shift" in {method["name"] for method in json.loads(out)["methods"]}


def test_broken_plugins_are_listed_on_a_terminal(with_plugins, broken):
    """The list names distribution, version and reason, without escape sequences from the plug-in."""
    code, out, _, imported = with_plugins(broken, "list", "methods")
    assert code == 0
    assert "shift  (of bench-shift 1.2)" in out
    assert re.search(
        r"^raises  \(of bad-raises 0\.3\)\n  broken: RuntimeError: no such thing +$", out, re.M
    )
    assert imported == ["bench_shift"]  # the others were imported in separate processes


@pytest.mark.slow
def test_only_a_request_for_a_broken_plugin_is_an_error(with_plugins, broken):
    """F25: broken plug-ins do not affect other methods; a request for one ends with its name and exit code 2."""
    code, _, errors, imported = with_plugins(broken, "plan", "--methods", "all", *GRID)
    assert (code, errors, imported) == (0, "", [])
    code, _, errors, imported = with_plugins(
        broken,
        "run",
        "--methods",
        "lora,raises,exits,hangs,twin,future",
        "--set",
        "lr=0.001",
        "--sizes",
        "0",
        *GRID[:4],
    )
    assert (code, imported) == (2, [])
    for text in (
        "bench: the method 'raises' of bad-raises 0.3 cannot be used: RuntimeError: no such thing",
        "bench: the method 'exits' of bad-exits 0.3 cannot be used: SystemExit: 3",
        "bench: the method 'hangs' of bad-hangs 0.3 cannot be used: its import takes longer than 8 s",
        "twin-2 1.0 also offers a method of that name",
        "it requires bench >=99",
        "bench: --sizes: 0 is not",
    ):
        assert text in errors
    code, _, errors, _ = with_plugins(
        broken, "plan", "--methods", "simplex", "--set", "simplex.base=raises", *GRID
    )
    assert code == 2
    assert "the method 'raises' of bad-raises 0.3 cannot be used" in errors
    code, _, errors, _ = with_plugins(broken, "plan", "--methods", "shiift", *GRID)
    assert code == 2
    assert "did you mean 'shift'?" in errors


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["list", "tasks"], ["status", "--db", ROOT / "results.db.example"]],
)
def test_commands_without_methods_import_no_plugin(with_plugins, broken, words):
    """Help and commands that only read import no plug-in."""
    code, _, _, imported = with_plugins(broken, *words)
    assert (code, imported) == (0, [])


@pytest.mark.slow
def test_the_doctor_names_plugins(with_plugins, broken):
    """The doctor names every plug-in with its distribution, and a broken one gives a warning, not an error."""
    _, out, _, _ = with_plugins(broken, "doctor", "--json")
    findings = [entry for entry in json.loads(out)["findings"] if entry["what"] == "plug-in"]
    assert {
        "what": "plug-in",
        "state": "well",
        "text": "method shift of bench-shift 1.2",
    } in findings
    assert {entry["state"] for entry in findings} == {"well", "mind"}


@pytest.mark.slow
def test_a_plugin_is_trained_by_a_worker_and_kept_with_its_version(with_plugins, sound, tmp_path):
    """Results of a plug-in and of a simplex over it name its distribution and version; other results do not."""
    grid = [
        *GRID,
        "--steps",
        "4",
        "--test-limit",
        "30",
    ]
    variants = ["--set", "simplex.base=shift", "--set", "shift.every=2"]
    code, _, errors, _ = with_plugins(
        sound, "run", "--methods", "shift,simplex,lora", *variants, *grid, "-j", "1"
    )
    assert code == 0, errors
    _, out, _, imported = with_plugins(sound, "show", "--json")
    jobs = {job["label"]: job["digest"] for job in json.loads(out)["jobs"]}
    assert set(jobs) == {"shift(every=2)", "simplex(base=shift)", "lora"}
    assert imported == []
    for label, digest in jobs.items():
        job = json.loads(with_plugins(sound, "show", digest, "--json")[1])
        plugin = label != "lora"
        assert job["result"]["versions"].get("plug-in") == ("bench-shift 1.2" if plugin else None)
        assert job["setting"]["method"].get("distribution") == ("bench-shift" if plugin else None)
    code, out, _, _ = with_plugins(
        sound, "predict", jobs["shift(every=2)"], "a fine film", "--json"
    )
    assert code == 0
    assert with_plugins(sound, "db", "verify", "--rerun", "100%")[0] == 0
    code, _, errors, _ = with_plugins(tmp_path, "predict", jobs["shift(every=2)"], "a fine film")
    assert code == 69
    assert "no method 'shift'" in errors


@pytest.mark.slow
def test_the_same_name_of_another_distribution_is_another_job(with_plugins, sound, tmp_path):
    """The distribution of a method is part of a job's identity; its version is not."""
    plan = ["plan", "--methods", "shift", *GRID, "--json"]
    digests = []
    for folder, distribution, version in (
        ("newer", "bench-shift", "1.3"),
        ("other", "bench-slide", "1.2"),
    ):
        (tmp_path / folder).mkdir()
        install(tmp_path / folder, distribution, version, SHIFT, "shift")
        digests.append(json.loads(with_plugins(tmp_path / folder, *plan)[1])["jobs"][0]["digest"])
    first = json.loads(with_plugins(sound, *plan)[1])["jobs"][0]["digest"]
    assert digests[0] == first
    assert digests[1] != first


@pytest.mark.slow
def test_a_plugin_for_the_old_paths_works_with_a_warning(
    with_plugins, bench, tmp_path, monkeypatch
):
    """A plug-in for `methods.sites` and `methods.source` gives the same score, and each old name is reported."""
    monkeypatch.setitem(bench.env, "PYTHONWARNINGS", "always::DeprecationWarning")
    grid = [
        *GRID,
        "--steps",
        "2",
        "--test-limit",
        "30",
    ]
    for folder, code in (("old", OLD_SHIFT), ("new", SHIFT)):
        (tmp_path / folder).mkdir()
        requires = ["simplexbench>=0.1,<0.2"]
        install(tmp_path / folder, "bench-shift", "1.2", code, "shift", requires=requires)
        run = ("run", "--methods", "shift", *grid, "--inline", "--db", f"{folder}.db")
        exit_code, _, errors, _ = with_plugins(tmp_path / folder, *run)
        assert exit_code == 0, errors
        for name in ("slots.anatomy", "methods.sites.row_bias", "methods.source.Start"):
            assert (f"{name} is now " in errors) == (folder == "old")
    results = [
        json.loads(with_plugins(tmp_path / "new", "show", "--json", "--db", f"{folder}.db")[1])[
            "jobs"
        ]
        for folder in ("old", "new")
    ]
    assert results[0][0]["score"] == results[1][0]["score"]


def test_the_old_modules_give_the_new_names():
    """Each old name gives the new object, with a warning that states the new path."""
    import methods
    from methods import base, sites, source

    for module, old, new in (
        (base, "Method", methods.Method),
        (base, "later", methods.added_option),
        (base, "one_of", methods.require_one_of),
        (sites, "Slots", methods.Slots),
        (source, "Source", methods.TrainableParameters),
        (source, "draw", methods.initialise),
    ):
        with pytest.warns(DeprecationWarning, match=f"{old} is now methods"):
            assert getattr(module, old) is new
    with pytest.warns(DeprecationWarning, match="per_vertex"):
        assert source.Start(given={"a": 1}).shared == {"a": 1}
    with pytest.raises(AttributeError, match="has no attribute 'Sauce'"):
        _ = source.Sauce
