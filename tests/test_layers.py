"""Imports run one way."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "methods": ("harness", "reports"),
    "reports": ("harness", "methods"),
    "harness/ledger": ("torch", "transformers", "reports"),
}
ORDER = ("cli", "running", "scheduler", "ledger", "worker", "training", "tasks")


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


def test_the_harness_imports_downwards():
    """No module of the harness imports one that stands above it in the path of a job."""
    for number, name in enumerate(ORDER):
        paths = (
            [ROOT / "harness" / f"{name}.py"]
            if (ROOT / "harness" / f"{name}.py").exists()
            else (ROOT / "harness" / name).glob("*.py")
        )
        for path in paths:
            above = {f"harness.{one}" for one in ORDER[:number]}
            wrong = [one for one in imports(path) if any(one == up or one.startswith(up + ".") for up in above)]
            assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_sql_is_known_in_one_folder():
    """Nothing outside the ledger imports a database library."""
    for package in ("harness", "methods", "reports"):
        for path in (ROOT / package).rglob("*.py"):
            if "ledger" not in path.parts:
                assert not [name for name in imports(path) if name.split(".")[0] in ("sqlalchemy", "sqlmodel", "sqlite3")], path


@pytest.mark.parametrize(
    "module",
    [*(f"harness.{name}" for name in ("cli", "request", "planning", "reading", "reporting", "status")), "reports", "methods"],
)
def test_what_answers_at_once_imports_nothing_heavy(module):
    """Commands that only read, and the whole of a plan, do without torch, transformers and datasets."""
    heavy = ["torch", "transformers", "datasets", "evaluate", "matplotlib", "pandas", "sklearn", "scipy"]
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_status_imports_little():
    """Most of the time of `status` is the start of Python: it does without table classes, numpy, all that plans or runs."""
    spared = ["sqlmodel", "sqlalchemy.orm", "numpy", "methods", "reports"]
    spared += [f"harness.{name}" for name in ("tasks", "outcome", "planning", "scheduler", "ledger.ledger", "ledger.reader")]
    code = f"""import sys; from harness.cli.app import app
app(["status", "--db", "results.db.example"], standalone_mode=False)
print([name for name in {spared} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "360 of 360 cells done" in done.stdout
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
