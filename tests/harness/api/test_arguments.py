"""Arguments of Python calls become the options of the command line."""

import inspect
import shlex
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.api import arguments
from harness.cli.command import GridCommand
from harness.errors import UsageError
from harness.scheduling.run_options import RunOptions
from harness.study.grid_options import GridOptions


def test_values_of_python_become_what_one_would_type():
    """Lists get commas, and mappings, paths, numbers and flags their form."""
    grid, options = arguments.read(
        "run",
        {
            "methods": ["prefix", "lora"], "sizes": [50, 100], "draws": 4, "model": Path("folder"), "wnli": True,
            "set": {"simplex.vertices": [2, 6], "lora.lr": 1e-4}, "data": "rows.csv", "task_file": ["a.toml"],
            "keep": "all", "cuda_graphs": True, "compile": False, "timeout": 2.5, "seeds": None,
        },
    )  # fmt: skip
    assert grid == GridOptions(
        methods="prefix,lora", sizes="50,100", draws="4", model="folder", wnli=True,
        set_=["simplex.vertices=2,6", "lora.lr=0.0001"], data=Path("rows.csv"), task_file=[Path("a.toml")],
    )  # fmt: skip
    assert options == RunOptions(keep="all", captured=True, timeout="2.5")


def test_a_column_in_a_list_may_have_a_comma():
    """A list holds names; a text is what the command line takes."""
    grid, _ = arguments.read("run", {"text": ["what, exactly", "why"], "label": "a,b"})
    assert (grid.text, grid.label) == ('"what, exactly",why', "a,b")


def test_numbers_of_numpy_and_flags_of_methods_are_values():
    """Arrays are lists, and an item with spaces stays one item."""
    grid, _ = arguments.read(
        "run",
        {
            "sizes": np.array([50, 100]), "draws": np.int64(4), "test_limit": range(3, 5),
            "set": {"lora.rslora": True, "prompt.words": ["a good film", "b"], "x": ("simplex(a=2, b=3)",)},
        },
    )  # fmt: skip
    assert (grid.sizes, grid.draws, grid.test_limit) == ("50,100", "4", "3,4")
    assert grid.set_ == [
        "lora.rslora=true", 'prompt.words="a good film",b', "x=simplex(a=2, b=3)",
    ]  # fmt: skip


def test_the_database_is_that_of_the_environment(monkeypatch):
    """As for the commands."""
    monkeypatch.setenv("BENCH_DB", "study.db")
    assert arguments.database(None) == "study.db"
    assert arguments.database(Path("other.db")) == "other.db"


def test_fit_takes_no_options_of_a_run():
    """They would have no effect."""
    with pytest.raises(TypeError, match=r"fit\(\) has no argument 'devices'"):
        arguments.grid("fit", {"tasks": "toy-sentiment", "devices": "cpu"})


def test_an_unknown_argument_is_named_with_the_right_one():
    """As Python does for its own functions, but with a suggestion."""
    with pytest.raises(TypeError, match=r"run\(\) has no argument 'test_limt'.*test_limit"):
        arguments.read("run", {"test_limt": 3})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("yes", "no", "yes must be True or False, got 'no'"),
        ("keep", "most", "keep must be one of none, small, all, got 'most'"),
        ("data", 3, "data must be the name of a file, got 3"),
        ("draws", True, "draws must be text, a number or a list of them, got True"),
        ("sizes", {50}, "sizes must be text, a number or a list of them"),
        ("methods", [], "methods must be text, a number or a list of them"),
        ("methods", b"lora", "methods must be text, a number or a list of them"),
        ("task_file", 3, "task_file must be text or a list of texts"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(name, value, message):
    """The message names the argument and the value."""
    with pytest.raises(UsageError, match=message):
        arguments.read("run", {name: value})


def test_the_ledger_records_a_command_that_does_the_same():
    """Its words, read by the command line, are the options of the call."""
    options = arguments.read("run", {"methods": ["prefix"], "set": {"a": 1, "b": "x y"}, "yes": True})  # fmt: skip
    line = arguments.command("run", *options)
    assert line == "bench run --methods prefix --set a=1 --set 'b=x y' --yes"
    assert shlex.split(line)[-2] == "b=x y"


def test_run_has_the_everyday_options_by_name():
    """What `bench run --help` shows is in the signature, so that editors and type checkers know it."""
    known = set(inspect.signature(harness.run).parameters) - {"others"}
    options = arguments._names(GridOptions) | arguments._names(RunOptions)
    everyday = {name for name, field in options.items() if field.name in GridCommand.everyday}
    assert known == everyday
