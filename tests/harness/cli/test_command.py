"""Options of other programs, two lengths of help, and one declaration of each option."""

from dataclasses import fields

import pytest
from typer.main import get_command

from harness.cli.app import app
from harness.cli.command import INSTEAD, SAME, GridCommand
from harness.errors import UsageError
from harness.scheduling.run_options import RunOptions
from harness.study.grid_options import GridOptions

GROUP = get_command(app)


def options_of(name):
    """Return the option strings of a command."""
    return {option for parameter in GROUP.commands[name].params for option in parameter.opts}


def parse(name, *words):
    """Return the values of a command's options."""
    with GROUP.commands[name].make_context(name, list(words)) as context:
        return context.params


@pytest.mark.parametrize("option", ["--text", "--label", "--metrics", "--data", "--test"])
def test_an_option_that_says_what_the_data_are_is_given_once(option):
    """Of two values, none is dropped; other options may be overridden."""
    with pytest.raises(UsageError, match=f"{option} is given twice"):
        parse("run", option, "a", option, "b")
    assert parse("run", "--sizes", "10", "--sizes", "20")["sizes"] == "20"


def help_of(words, capsys):
    """Return the help that a command line prints."""
    with pytest.raises(SystemExit) as ended:
        app(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "option", "value"),
    [
        (("--method", "lora"), "methods", "lora"),
        (("--method=lora",), "methods", "lora"),
        (("--task", "toy"), "tasks", "toy"),
        (("--size", "50"), "sizes", "50"),
        (("--device", "cpu"), "devices", "cpu"),
        (("--max-steps", "9"), "steps", "9"),
        (("--batch_size", "8"), "batch_size", "8"),
        (("--lr", "1e-4"), "set_", ["lr=1e-4"]),
        (("--learning-rate=1e-4",), "set_", ["lr=1e-4"]),
        (("--learning_rate", "1e-4", "--set", "rank=4"), "set_", ["lr=1e-4", "rank=4"]),
    ],
)
def test_options_of_other_programs_with_one_meaning_are_accepted(words, option, value):
    """`--lr 1e-4` and the like set the option of bench that means the same."""
    assert parse("run", *words)[option] == value


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (("--seed", "3"), ["no option --seed", "--draws N", "--seeds N"]),
        (("--epochs", "3"), ["--steps N"]),
        (("--num-epochs", "3"), ["--steps N"]),
        (("--num_train_epochs=3",), ["no option --num_train_epochs", "--steps N"]),
        (
            ("--output-dir", "x", "--output", "y"),
            ["--output-dir: --db FILE", "--output: --db FILE"],
        ),
        (("--rank", "8"), ["--set rank=VALUE"]),
        (("--Metods", "lora"), ["did you mean '--methods'?"]),
        (("--testlimit", "3"), ["did you mean '--test-limit'?"]),
        (("--nonsense",), ["no option --nonsense", "--help lists the options"]),
    ],
)
def test_other_options_are_refused_with_the_right_one(words, messages):
    """All unknown options are reported at once, each with what to type instead."""
    with pytest.raises(UsageError) as caught:
        parse("run", *words)
    assert caught.value.exit_code == 2
    assert [message for message in messages if message not in str(caught.value)] == []


def test_values_and_arguments_are_not_taken_for_options():
    """A value may look like an option, and everything after `--` is an argument."""
    assert parse("run", "--label", "--epochs")["label"] == "--epochs"
    assert parse("run", "-j", "2")["jobs"] == "2"
    assert parse("predict", "3f2a", "--", "--seed")["texts"] == ["--seed"]


def test_the_options_that_are_named_instead_exist():
    """Every equivalent and every advice starts with an option of `run`."""
    known = options_of("run")
    assert {advice.partition(" ")[0] for advice in INSTEAD.values()} <= known
    assert set(SAME.values()) <= known
    assert not (set(SAME) | set(INSTEAD)) & known


def test_every_option_is_declared_once():
    """The options of `run` are the fields of two dataclasses; those of `fetch` are the grid's."""
    grid = {field.name for field in fields(GridOptions)}
    run = {field.name for field in fields(RunOptions)}
    assert not grid & run
    assert set(parse("run")) == grid | run | {"help_all"}
    assert set(parse("fetch")) == grid | {"help_all"}


def test_help_shows_the_everyday_options_and_help_all_the_others(capsys, monkeypatch):
    """`--help` fits on a screen; `--help-all` names every option; both leave the command as it was."""
    monkeypatch.setenv("COLUMNS", "200")
    short = help_of(["run", "--help"], capsys)
    full = help_of(["run", "--help-all"], capsys)
    assert help_of(["run", "--help"], capsys) == short
    assert "--methods" in short
    assert "--cuda-graphs" not in short
    assert [option for option in options_of("run") if option not in full] == []
    assert len(short.splitlines()) < 60


def test_help_shows_whole_defaults_and_flags_without_a_type(capsys, monkeypatch):
    """At 80 columns no default is cut, none has brackets to type, and no flag seems to take a value."""
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(["run", "--help-all"], capsys)
    assert "…" not in text
    assert "<bool>" not in text + help_of(["--help"], capsys) + help_of(["db", "--help"], capsys)
    words = " ".join(text.replace("│", " ").split())
    assert "[default: fine-tuning, prefix, lora, adapter, simplex]" in words
    assert "[default: 500]" in words


def test_the_everyday_options_exist():
    """Each is an option of `run`, `plan` or `fit`, or an argument."""
    names = {
        parameter.name
        for name in ("run", "plan", "fit")
        for parameter in GROUP.commands[name].params
    }
    assert GridCommand.everyday <= names | {"help"}


def test_help_names_the_exit_codes(capsys, monkeypatch):
    """`bench --help` ends with the exit codes and their meaning."""
    monkeypatch.setenv("COLUMNS", "300")
    assert "2 the request is wrong" in " ".join(help_of(["--help"], capsys).split())
