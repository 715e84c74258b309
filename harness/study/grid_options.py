"""The options that `run`, `plan` and `fetch` share: which grid. Texts as they were typed; `request.py` reads them."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeVar, get_type_hints

import typer

R = TypeVar("R")
Text = str | None

# What holds where neither the command line nor a preset says anything.
DEFAULTS: Final = MappingProxyType(
    {
        "methods": "fine-tuning,prefix,lora,adapter,simplex",
        "tasks": "glue",
        "sizes": "50,100,200,500",
        "draws": "10",
        "seeds": "1",
        "model": "google-bert/bert-base-cased",
        "pooling": "model",
        "dtype": "float32",
        "steps": "500",
        "batch_size": "16",
        "eval_every": "50",
        "patience": "0",
        "max_length": "128",
        "dev": "extra",
        "sampling": "random",
        "test_limit": "2000",
    }
)
PRESETS: Final = MappingProxyType(
    {
        # Every method once on two tasks of the embedded default, in under a minute: does the
        # installation work?
        "smoke": {
            "methods": "all",
            "tasks": "toy-sentiment,toy-entailment",
            "sizes": "50",
            "draws": "1",
            "model": "tiny",
            "steps": "20",
            "eval_every": "10",
            "test_limit": "100",
        },
        # Five draws of two seeds each, as Li & Liang 2021, section 6.3.
        "low-data": {"draws": "5", "seeds": "2"},
    }
)

WHAT, OWN, DRAW, TRAIN = (
    "What to compare",
    "Data of your own",
    "How examples are drawn",
    "How everything is trained",
)


def _option(name: str, text: str, panel: str, *, default: str = "", metavar: str = "TEXT") -> Any:
    key = name.removeprefix("--").replace("-", "_")
    shown = default or DEFAULTS.get(key, "")
    return typer.Option(
        name, help=text, rich_help_panel=panel, show_default=shown or False, metavar=metavar
    )


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """The grid as typed; None where nothing was said."""

    methods: Annotated[
        Text, _option("--methods", "Methods, or all (see `bench list methods`).", WHAT)
    ] = None
    tasks: Annotated[
        Text, _option("--tasks", "Tasks or groups: glue, toy (see `bench list tasks`).", WHAT)
    ] = None
    sizes: Annotated[
        Text, _option("--sizes", "Numbers of labelled examples.", WHAT, metavar="N,N")
    ] = None
    draws: Annotated[
        Text,
        _option(
            "--draws", "Few-shot samples of each size; more can be added later.", WHAT, metavar="N"
        ),
    ] = None
    seeds: Annotated[
        Text,
        _option("--seeds", "Trainings of each sample (start, order, dropout).", WHAT, metavar="N"),
    ] = None
    model: Annotated[
        Text, _option("--model", "A model of the Hub, a folder, or `tiny` (embedded).", WHAT)
    ] = None
    set_: Annotated[
        list[str],
        typer.Option(
            "--set",
            help="An option of a method, or of all that have it; several values give variants: simplex.vertices=2,6.",
            rich_help_panel=WHAT,
            metavar="[METHOD.]OPTION=VALUE[,VALUE]",
        ),
    ] = field(default_factory=list)
    preset: Annotated[
        Text,
        typer.Option(
            "--preset",
            help="smoke: a check of the installation; low-data: 5 draws x 2 seeds.",
            rich_help_panel=WHAT,
        ),
    ] = None
    wnli: Annotated[
        bool,
        typer.Option(
            "--wnli",
            help="Let the group `glue` include WNLI.",
            rich_help_panel=WHAT,
            show_default=False,
        ),
    ] = False
    task_file: Annotated[
        list[Path],
        typer.Option(
            "--task-file",
            help="A TOML file that describes a task.",
            rich_help_panel=OWN,
            metavar="FILE",
        ),
    ] = field(default_factory=list)
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="A file of labelled rows: CSV, TSV, JSONL, Parquet.",
            rich_help_panel=OWN,
            metavar="FILE",
        ),
    ] = None
    text: Annotated[
        Text, _option("--text", "Its column with the text, or two.", OWN, metavar="COLUMN[,COLUMN]")
    ] = None
    label: Annotated[
        Text, _option("--label", "Its column with the label.", OWN, metavar="COLUMN")
    ] = None
    test: Annotated[
        Path | None,
        typer.Option(
            "--test",
            help="A file to test on; else rows are held out anew for each draw.",
            rich_help_panel=OWN,
            metavar="FILE",
        ),
    ] = None
    kind: Annotated[
        Text, _option("--kind", "What the label is: classes or number.", OWN, metavar="KIND")
    ] = None
    dev: Annotated[
        Text,
        _option(
            "--dev",
            "Dev rows: extra (30 % of the size, further rows), carved (30 % of the size itself), or a number.",
            DRAW,
        ),
    ] = None
    sampling: Annotated[Text, _option("--sampling", "random, or stratified by class.", DRAW)] = None
    per_class: Annotated[
        bool,
        typer.Option(
            "--per-class",
            help="Sizes count rows of each class.",
            rich_help_panel=DRAW,
            show_default=False,
        ),
    ] = False
    test_limit: Annotated[
        Text,
        _option("--test-limit", "Test rows at most, a fixed subset; 0: all.", DRAW, metavar="N"),
    ] = None
    steps: Annotated[Text, _option("--steps", "Training steps.", TRAIN, metavar="N")] = None
    batch_size: Annotated[Text, _option("--batch-size", "Rows a step.", TRAIN, metavar="N")] = None
    eval_every: Annotated[
        Text, _option("--eval-every", "Steps between looks at the dev rows.", TRAIN, metavar="N")
    ] = None
    patience: Annotated[
        Text,
        _option(
            "--patience",
            "Looks without a better one before a job stops; 0: never.",
            TRAIN,
            metavar="N",
        ),
    ] = None
    max_length: Annotated[Text, _option("--max-length", "Tokens a row.", TRAIN, metavar="N")] = None
    pooling: Annotated[
        Text, _option("--pooling", "model (its own), cls, or mean (for sentence encoders).", TRAIN)
    ] = None
    dtype: Annotated[
        Text,
        _option(
            "--dtype",
            "float32, bfloat16, float64, or tf32 (float32 whose products CUDA rounds).",
            TRAIN,
        ),
    ] = None

    def value(self, name: str) -> str:
        """An option as typed, else as the preset has it, else the default."""
        typed: str | None = getattr(self, name)
        if typed is not None:
            return typed
        preset = PRESETS.get(self.preset or "", {})
        return preset.get(name, DEFAULTS[name])


def with_grid(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command every option of the grid; its first argument becomes the `GridOptions`."""
    own = list(inspect.signature(command).parameters.values())[1:]
    hints = get_type_hints(GridOptions, include_extras=True)
    shared = []
    for one in fields(GridOptions):
        default = one.default_factory() if callable(one.default_factory) else one.default
        shared.append(
            inspect.Parameter(
                one.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=default,
                annotation=hints[one.name],
            )
        )

    @functools.wraps(command)
    def called(**values: Any) -> R:
        grid = GridOptions(**{one.name: values.pop(one.name) for one in fields(GridOptions)})
        return command(grid, **values)

    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    called.__signature__ = inspect.Signature([*shared, *own])  # type: ignore[attr-defined]  # what Typer reads
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in (*shared, *own)}
    return called
