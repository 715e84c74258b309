"""Imports run one way."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Folders from the top down: a module imports from its own folder and from those further down.
LEVELS = (
    "harness/api",
    "harness/cli",
    "harness/commands",
    "harness/results",
    "harness/scheduling",
    "harness/scheduling/executors",
    "harness/study",
    "harness/training/jobs",
    "harness/training",
    "harness/training/rows",
    "harness/artefacts",
    "harness/ledger",
    "harness/tiny",
    "harness/tasks",
    "harness/tasks/files",
    "harness/backbones",
    "harness/backbones/hub",
    "harness",
    "methods",
    "methods/core",
    "reports/formats",
    "reports/formats/html",
    "reports/figures",
    "reports/tables",
    "reports/analysis",
    "reports/published",
    "reports/statistics",
    "reports",
)
ENTRANCES = (
    "harness/__init__.py",
    "harness/__main__.py",
    "reports/__init__.py",
)  # each calls the top of its package
FORBIDDEN = {
    "methods": ("harness", "reports"),
    "reports": ("harness", "methods"),
    "harness/ledger": ("torch", "transformers", "reports"),
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_a_layer_does_not_know_what_is_above_it(folder):
    """Methods and reports import nothing of the harness; only the ledger's rows are not torch's business."""
    for path in (ROOT / folder).rglob("*.py"):
        wrong = [name for name in imports(path) if name.split(".")[0] in FORBIDDEN[folder]]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def modules():
    """Every module of the three packages: its dotted name and its file."""
    paths = (
        path
        for package in ("harness", "methods", "reports")
        for path in (ROOT / package).rglob("*.py")
    )
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in paths
    }


def graph():
    """The modules that each module imports, lazily or not, for types or not."""
    known = modules()

    def imported(path):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                full = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from (name if name in known else node.module for name in full)

    return {
        name: {one for one in imported(path) if one in known and one != name}
        for name, path in known.items()
    }


def test_no_import_runs_up():
    """A module imports from its own folder and from the folders below it in `LEVELS`; every folder has a level."""
    known = modules()
    folder = {name: path.parent.relative_to(ROOT).as_posix() for name, path in known.items()}
    assert set(folder.values()) == set(LEVELS)
    up = [
        f"{known[name].relative_to(ROOT)} imports {one}"
        for name, imported in graph().items()
        for one in imported
        if known[name].relative_to(ROOT).as_posix() not in ENTRANCES
        and LEVELS.index(folder[one]) < LEVELS.index(folder[name])
    ]
    assert not up


def test_no_imports_form_a_circle():
    """Modules can be put in an order in which each imports only earlier ones.

    Packages count as modules of their own.
    """
    left = graph()
    while ready := [name for name, imported in left.items() if not imported & set(left)]:
        for name in ready:
            del left[name]
    assert not left


@pytest.mark.parametrize("folder", LEVELS)
def test_a_folder_can_be_read_at_a_glance(folder):
    """No folder holds more than 20 modules side by side."""
    assert len([path for path in (ROOT / folder).glob("*.py") if path.stem != "__init__"]) <= 20


def test_sql_is_known_in_one_folder():
    """Nothing outside the ledger imports a database library."""
    for package in ("harness", "methods", "reports"):
        for path in (ROOT / package).rglob("*.py"):
            if "ledger" not in path.parts:
                assert not [
                    name
                    for name in imports(path)
                    if name.split(".")[0] in ("sqlalchemy", "sqlmodel", "sqlite3")
                ], path


@pytest.mark.parametrize(
    "module",
    [
        *(
            f"harness.{name}"
            for name in (
                "cli.app",
                "study.request",
                "study.planning",
                "commands.show",
                "commands.report",
                "commands.status",
            )
        ),
        "reports",
        "methods",
    ],
)
def test_what_answers_at_once_imports_nothing_heavy(module):
    """Commands that only read, and the whole of a plan, do without torch, transformers and datasets."""
    heavy = [
        "torch",
        "transformers",
        "datasets",
        "evaluate",
        "matplotlib",
        "pandas",
        "sklearn",
        "scipy",
    ]
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_status_imports_little():
    """`status` imports no table classes, no numpy and nothing that plans or runs jobs."""
    spared = ["sqlmodel", "sqlalchemy.orm", "numpy", "methods", "reports"]
    spared += [
        f"harness.{name}"
        for name in (
            "tasks",
            "outcome",
            "study.planning",
            "scheduling.scheduler",
            "ledger.ledger",
            "ledger.reader",
        )
    ]
    code = f"""import sys; from harness.cli.app import app
app(["status", "--db", "results.db.example"], standalone_mode=False)
print([name for name in {spared} if name in sys.modules])"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "360 of 360 jobs done" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_pickle_runs_anything_and_no_remote_code_is_allowed():
    """One file opens pickles, each time as weights only, and no option lets a repository's code run."""
    opening = set()
    for package in ("harness", "methods", "reports"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text("utf-8")
            opened = re.findall(r"torch\.load\b[^\n]*", text)
            assert all("weights_only=True" in line for line in opened), path
            opening |= {path.relative_to(ROOT).as_posix()} if opened else set()
            assert "import pickle" not in text, path
            assert "trust_remote_code" not in text, path
    assert opening == {"harness/backbones/convert.py"}
