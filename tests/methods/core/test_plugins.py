"""Methods of other distributions: found by their metadata, isolated where they are broken, and kept with what they trained."""

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
    """Adds a trained vector to what every block puts out."""

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
        return InitialParameters({slot.name: initialise(streams, slot.name, slot.shape, vertices, normal(self.spread)) for slot in added})
'''
OWN = "from methods.bitfit import Bitfit\nclass Own(Bitfit):\n    name = {!r}\n"
BROKEN = {  # name of the method: (what its module holds, what is said of it)
    "raises": (
        "raise RuntimeError('no such thing\\x1b[2J\\nand more')",
        "RuntimeError: no such thing",
    ),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "dies": ("import os; os._exit(0)", "its import ended the process (exit code 0)"),
    "hangs": ("while True: pass", "its import takes longer than 8 s"),
    "unspeakable": (
        "class Unspeakable(BaseException):\n    def __str__(self): raise self\nraise Unspeakable",
        "Unspeakable",
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
        "its entry point is called 'misnamed', and its class 'other'",
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
    "lora": (OWN.format("lora"), "bench has a method of that name itself"),
    "all": (OWN.format("all"), "bench has a method of that name itself"),
}


# Written for interface 1, as the documentation of that time showed it.
OLD_SHIFT = '''
from dataclasses import dataclass
from typing import ClassVar

from methods import Method


@dataclass(frozen=True, kw_only=True)
class Shift(Method):
    """Adds a trained vector to what every block puts out."""

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
        return Start({slot.name: draw(streams, slot.name, slot.shape, vertices, normal(0.02)) for slot in added})
'''


def install(folder, distribution, version, code, entry, *, requires=()):
    """Make a distribution as pip leaves it: a module, its metadata and its entry points."""
    module = distribution.replace("-", "_")
    (folder / f"{module}.py").write_text(code, "utf-8")
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
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
    """A folder with one sound plug-in."""
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
    """A folder with a plug-in of every broken kind, a sound one among them."""
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


# Starts the command with less patience, and says at its end which plug-ins this process imported.
PROBE = """
import atexit, sys
import methods.core.plugins
methods.core.plugins.PATIENCE = 8.0
ours = ("bad_", "bench_", "twin_")
atexit.register(lambda: print("\\nimported:", *sorted(n for n in sys.modules if n.startswith(ours)), file=sys.stderr))
from harness.__main__ import main
main()
"""


@pytest.fixture
def with_plugins(bench, tmp_path):
    """Runs the command where the plug-ins of a folder are installed; gives exit code, output and error stream."""

    def run(folder, *words):
        env = bench.env | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
        command = [sys.executable, "-c", PROBE, *map(str, words)]
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        said, _, imported = done.stderr.rpartition("\nimported:")
        return done.returncode, done.stdout, said, imported.split()

    return run


def test_broken_plugins_are_listed_with_their_distribution(with_plugins, broken):
    """F25: each is shown with its distribution, version and reason in one line, beside methods of bench and sound plug-ins."""
    code, out, _, _ = with_plugins(broken, "list", "methods", "--json")
    found = json.loads(out)
    assert code == 0
    assert {"fine-tuning", "simplex", "shift"} <= {one["name"] for one in found["methods"]}
    assert [one["distribution"] for one in found["methods"] if "distribution" in one] == [
        "bench-shift"
    ]
    told = {(one["name"], one["distribution"]): one for one in found["broken"]}
    for name, (_, reason) in BROKEN.items():
        one = told.pop((name, f"bad-{name.lower()}"))
        assert reason in one["reason"]
        assert "\n" not in one["reason"]
        assert one["version"] == "0.3"
    assert "twin-2 1.0 offers" in told.pop(("twin", "twin-1"))["reason"]
    assert "twin-1 1.0 offers" in told.pop(("twin", "twin-2"))["reason"]
    assert "it is written for bench >=99" in told.pop(("future", "bench-future"))["reason"]
    assert told == {}


def test_metadata_that_cannot_be_read_offer_nothing(with_plugins, tmp_path):
    """A distribution whose entry points are no text hides no other one."""
    install(tmp_path, "bench-shift", "1.2", SHIFT, "shift")
    (tmp_path / "spoilt-1.dist-info").mkdir()
    (tmp_path / "spoilt-1.dist-info" / "entry_points.txt").write_bytes(
        b"[simplexbench.methods]\nthis is no entry\n\xff"
    )
    code, out, _, _ = with_plugins(tmp_path, "list", "methods", "--json")
    assert (code, json.loads(out)["broken"]) == (0, [])
    assert "shift" in {one["name"] for one in json.loads(out)["methods"]}


def test_people_see_them_too(with_plugins, broken):
    """The list on a terminal names distribution, version and reason, without a terminal sequence of theirs."""
    code, out, _, imported = with_plugins(broken, "list", "methods")
    assert code == 0
    assert "shift  (of bench-shift 1.2)" in out
    assert re.search(
        r"^raises  \(of bad-raises 0\.3\)\n  broken: RuntimeError: no such thing +$", out, re.M
    )
    assert imported == ["bench_shift"]  # the others were tried in processes of their own


def test_only_a_request_for_a_broken_plugin_is_an_error(with_plugins, broken):
    """F25: beside broken plug-ins others are planned and none is imported.

    Those asked for are named, with exit code 2.
    """
    grid = ["--model", "tiny", "--tasks", "toy-sentiment", "--sizes", "20", "--draws", "1"]
    code, _, said, imported = with_plugins(broken, "plan", "--methods", "all", *grid)
    assert (code, said, imported) == (0, "", [])
    code, _, said, imported = with_plugins(
        broken,
        "run",
        "--methods",
        "lora,raises,exits,hangs,twin,future",
        "--set",
        "lr=0.001",
        "--sizes",
        "0",
        *grid[:4],
    )
    assert (code, imported) == (2, [])
    for text in (
        "bench: the method 'raises' of bad-raises 0.3 cannot be used: RuntimeError: no such thing",
        "bench: the method 'exits' of bad-exits 0.3 cannot be used: SystemExit: 3",
        "bench: the method 'hangs' of bad-hangs 0.3 cannot be used: its import takes longer than 8 s",
        "twin-2 1.0 offers a method of that name too",
        "it is written for bench >=99",
        "bench: --sizes: 0 is not",
    ):
        assert text in said
    code, _, said, _ = with_plugins(
        broken, "plan", "--methods", "simplex", "--set", "simplex.base=raises", *grid
    )
    assert code == 2
    assert "the method 'raises' of bad-raises 0.3 cannot be used" in said
    code, _, said, _ = with_plugins(broken, "plan", "--methods", "shiift", *grid)
    assert code == 2
    assert "did you mean 'shift'?" in said


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["list", "tasks"], ["status", "--db", ROOT / "results.db.example"]],
)
def test_what_needs_no_plugin_looks_for_none(with_plugins, broken, words):
    """Help and what only reads import no plug-in, neither here nor elsewhere."""
    code, _, _, imported = with_plugins(broken, *words)
    assert (code, imported) == (0, [])


def test_the_doctor_names_plugins(with_plugins, broken):
    """The doctor names every plug-in with its distribution; a broken one is to be minded, and stops no run."""
    _, out, _, _ = with_plugins(broken, "doctor", "--json")
    found = [one for one in json.loads(out)["findings"] if one["what"] == "plug-in"]
    assert {
        "what": "plug-in",
        "state": "well",
        "text": "the method shift of bench-shift 1.2",
    } in found
    assert {one["state"] for one in found} == {"well", "mind"}


def test_a_plugin_is_trained_by_a_worker_and_kept_with_its_version(with_plugins, sound, tmp_path):
    """A whole run on the embedded backbone, a simplex over the plug-in too: results name the plug-in, other results do not."""
    grid = [
        "--model",
        "tiny",
        "--tasks",
        "toy-sentiment",
        "--sizes",
        "20",
        "--draws",
        "1",
        "--steps",
        "4",
        "--test-limit",
        "30",
    ]
    variants = ["--set", "simplex.base=shift", "--set", "shift.every=2"]
    code, _, said, _ = with_plugins(
        sound, "run", "--methods", "shift,simplex,lora", *variants, *grid, "-j", "1"
    )
    assert code == 0, said
    _, out, _, imported = with_plugins(sound, "show", "--json")
    jobs = {one["label"]: one["digest"] for one in json.loads(out)["jobs"]}
    assert set(jobs) == {"shift(every=2)", "simplex(base=shift)", "lora"}
    assert imported == []
    for label, digest in jobs.items():
        one = json.loads(with_plugins(sound, "show", digest, "--json")[1])
        mine = label != "lora"
        assert one["result"]["versions"].get("plug-in") == ("bench-shift 1.2" if mine else None)
        assert one["setting"]["method"].get("distribution") == ("bench-shift" if mine else None)
    code, out, _, _ = with_plugins(
        sound, "predict", jobs["shift(every=2)"], "a fine film", "--json"
    )
    assert code == 0
    assert with_plugins(sound, "db", "verify", "--rerun", "100%")[0] == 0
    code, _, said, _ = with_plugins(tmp_path, "predict", jobs["shift(every=2)"], "a fine film")
    assert code == 69
    assert "no method 'shift'" in said


def test_the_same_name_of_another_distribution_is_another_job(with_plugins, sound, tmp_path):
    """A method's distribution is part of a job's identity, and its version is not."""
    plan = [
        "plan",
        "--methods",
        "shift",
        "--model",
        "tiny",
        "--tasks",
        "toy-sentiment",
        "--sizes",
        "20",
        "--draws",
        "1",
        "--json",
    ]
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


def test_a_plugin_for_the_old_paths_works_with_a_warning(
    with_plugins, bench, tmp_path, monkeypatch
):
    """A plug-in that imports `methods.sites` and `methods.source` trains the same numbers, and each old name is reported."""
    monkeypatch.setitem(bench.env, "PYTHONWARNINGS", "always::DeprecationWarning")
    grid = [
        "--model",
        "tiny",
        "--tasks",
        "toy-sentiment",
        "--sizes",
        "20",
        "--draws",
        "1",
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
    """Every old name leads to the new one, with a warning that states its path."""
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
