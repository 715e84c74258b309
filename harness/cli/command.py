"""The classes of commands: they understand options of other programs, and show options in two lengths."""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from harness.cli import completion
from harness.errors import UsageError

R = TypeVar("R")

# Options of other programs with the option of bench that means the same.
SAME: Final = MappingProxyType(
    {
        "--method": "--methods",
        "--task": "--tasks",
        "--size": "--sizes",
        "--device": "--devices",
        "--max-steps": "--steps",
        "--max-seq-length": "--max-length",
    }
)
# Options of other programs that set an option of a method here.
OF_METHODS: Final = MappingProxyType({"--lr": "lr", "--learning-rate": "lr"})
# Options of other programs that bench has not: the options to use instead, and why.
INSTEAD: Final = MappingProxyType(
    {
        "--seed": "--draws N sets the number of few-shot samples and --seeds N the trainings on each",
        "--random-state": "--draws N sets the number of few-shot samples and --seeds N the trainings on each",
        "--epoch": "--steps N sets the length of training",
        "--epochs": "--steps N sets the length of training",
        "--num-epochs": "--steps N sets the length of training",
        "--num-train-epochs": "--steps N sets the length of training",
        "--max-epochs": "--steps N sets the length of training",
        "--train-batch-size": "--batch-size N sets the examples per step",
        "--per-device-train-batch-size": "--batch-size N sets the examples per step",
        "--output": "--db FILE names the database of results, and `bench report --output FILE` writes a report",
        "--output-dir": "--db FILE names the database of results, and `bench report --output FILE` writes a report",
        "--output-path": "--db FILE names the database of results, and `bench report --output FILE` writes a report",
        "--model-name": "--model NAME names the backbone",
        "--model-name-or-path": "--model NAME names the backbone",
        "--pretrained": "--model NAME names the backbone",
        "--train-file": "--data FILE names a file of labelled examples",
        "--validation-file": "--dev sets how dev examples are drawn from the training data",
        "--test-file": "--test FILE names a file of test examples",
        "--limit": "--test-limit N limits the test examples",
        "--num-fewshot": "--sizes N sets the number of labelled examples",
        "--shots": "--sizes N sets the number of labelled examples",
        "--gpu": "--devices names the devices, such as cuda:0,1",
        "--gpus": "--devices names the devices, such as cuda:0,1",
        "--workers": "--jobs N sets the jobs at once on each device",
        "--num-workers": "--jobs N sets the jobs at once on each device",
        "--fp16": "--dtype sets the precision: float32, tf32, bfloat16 or float64",
        "--bf16": "--dtype bfloat16 sets this precision",
    }
)

# Of an option that is given twice, the last value counts; not of these, which say what the data are.
ONCE: Final = frozenset(
    f"--{name}"
    for name in (
        *("data", "dataset", "config", "split", "test-split", "test", "csv", "text", "label"),
        *("kind", "group", "positive", "metrics", "name", "delimiter", "encoding"),
    )
)

# What the shell offers for an option, by the name of its field.
COMPLETIONS: Final = MappingProxyType(
    {"methods": completion.methods, "tasks": completion.tasks, "set_": completion.settings}
)


class _PlainFlags:
    """Flags are shown without the type that Typer adds: they take no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters of the command."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of the other base class
        for flag in [one for one in parameters if getattr(one, "is_flag", False)]:
            flag.metavar = ""
        return parameters


class Group(_PlainFlags, TyperGroup):
    """A group of commands."""


class Command(_PlainFlags, TyperCommand):
    """A command that accepts options of other programs if they have one meaning here, and else names the right one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            UsageError: Options that the command does not have; the text names the right ones.
        """
        return super().parse_args(ctx, self._translate(args, self._options(ctx)))

    def _options(self, ctx: Any) -> dict[str, bool]:
        """Return the options of this command; True for an option that takes a value."""
        return {
            name: not getattr(parameter, "is_flag", False)
            for parameter in self.get_params(ctx)
            for name in (*parameter.opts, *parameter.secondary_opts)
            if name.startswith("-")
        }

    def _translate(self, args: list[str], options: dict[str, bool]) -> list[str]:
        """Replace options of other programs, and collect those that have no equivalent."""
        words: list[str] = []
        problems: list[str] = []
        given: set[str] = set()
        left = iter(args)
        for word in left:
            if word == "--":
                words += [word, *left]
                break
            name, equals, value = word.partition("=")
            if name.startswith("--") and name not in options:
                plain = name.lower().replace("_", "-")
                plain = SAME.get(plain, plain)
                if plain in OF_METHODS and "--set" in options:
                    words.append(f"--set={OF_METHODS[plain]}={value if equals else next(left, '')}")
                    continue
                if plain not in options:
                    problems.append(self._no_such_option(name, plain, options))
                    continue
                name, word = plain, f"{plain}{equals}{value}"
            if name in ONCE & given:
                problems.append(
                    f"{name} is given twice: write it once, with commas between several columns or metrics"
                )
            given.add(name)
            words.append(word)
            if options.get(name) and not equals:
                words += [one for one in [next(left, None)] if one is not None]
        if problems:
            raise UsageError(*problems)
        return words

    def _no_such_option(self, name: str, plain: str, options: dict[str, bool]) -> str:
        """Return what is wrong with an unknown option, and what to type instead."""
        advice = INSTEAD.get(plain, "")
        if advice.partition(" ")[0] in options:
            return f"there is no option {name}: {advice}"
        if "--set" in options:
            import methods

            option = plain.strip("-").replace("-", "_")
            if any(option in methods.options_of(method) for method in methods.REGISTRY):
                return f"there is no option {name}: --set {option}=VALUE sets it for every method that has it"
        from methods.core.suggestions import did_you_mean

        return f"there is no option {name}{did_you_mean(name, options)}; --help lists the options"


class GridCommand(Command):
    """A command with the options of the grid: `--help` shows the everyday options, `--help-all` the others too."""

    everyday: Final = frozenset(
        (
            *("preset", "methods", "tasks", "sizes", "draws", "model", "steps", "set_"),
            *("data", "text", "label", "test"),
            *("folder", "db", "devices", "yes", "detect", "spread", "as_json", "help", "help_all"),
        )
    )

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help; without `--help-all`, only about the everyday options."""
        for parameter in [one for one in self.params if one.name not in self.everyday]:
            parameter.hidden = not ctx.meta.get("help_all")  # type: ignore[attr-defined]  # of options
        super().format_help(ctx, formatter)


def _show_all(context: typer.Context, requested: bool) -> None:
    if requested:
        context.meta["help_all"] = True
        typer.echo(context.get_help())
        raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option(
        "--help-all",
        is_eager=True,
        callback=_show_all,
        help="Show all options, such as --dev and --test-limit, and exit.",
    ),
]


def with_options(command: Callable[..., R]) -> Callable[..., R]:
    """Replace each parameter whose type is a dataclass by one option for each of its annotated fields.

    The command is called with instances of these classes.
    """
    parameters = inspect.signature(command).parameters
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hints[name] for name in parameters if is_dataclass(hints[name])}
    options = [
        one
        for name, parameter in parameters.items()
        for one in (
            _parameters(groups[name])
            if name in groups
            else [parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])]
        )
    ]

    @functools.wraps(command)
    def called(**values: Any) -> R:
        grouped = {
            name: cls(**{one.name: values.pop(one.name) for one in fields(cls)})
            for name, cls in groups.items()
        }
        return command(**grouped, **values)

    called.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]  # what Typer reads
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in options}
    return called


def _parameters(cls: Any) -> Iterator[inspect.Parameter]:
    """Yield a keyword parameter for each field of a dataclass."""
    hints = get_type_hints(cls, include_extras=True)
    for one in fields(cls):
        (option,) = hints[one.name].__metadata__
        option.autocompletion = COMPLETIONS.get(one.name)
        yield inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=one.default_factory() if callable(one.default_factory) else one.default,
            annotation=hints[one.name],
        )
