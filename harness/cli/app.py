"""The commands: parse, call, print. No torch at import; what a command needs is imported in its body."""

import errno
import sys
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from harness.cli.database import app as database
from harness.cli.models import app as using
from harness.cli.options import Database, Json
from harness.cli.results import app as reading
from harness.errors import FULL, BenchError, DiskTrouble, Unavailable, UsageError
from harness.study.grid_options import GridOptions, with_grid

app = typer.Typer(
    name="bench",
    help="Which way of adapting a pretrained language model to few labelled examples, and is the difference real?",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(reading)
app.add_typer(using)
app.add_typer(database, name="db", rich_help_panel="Look after")


class Kind(StrEnum):
    """What `list` lists."""

    methods = "methods"
    tasks = "tasks"
    models = "models"


class Rules(StrEnum):
    """Whose choice of a checkpoint is tested."""

    own = "own"
    all = "all"


class Executors(StrEnum):
    """Where jobs run."""

    local = "local"
    ray = "ray"


class Keep(StrEnum):
    """Which trained tensors stay."""

    none = "none"
    small = "small"
    all = "all"


def run_command_line() -> None:
    """Run the command; what the user can mend is told in a sentence, with the exit code that belongs to it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # names of files need be no text, and terminals lack letters
    try:
        app()
    except BenchError as error:
        _end(error)
    except UnicodeDecodeError:
        from harness.provenance import unreadable

        if not (folders := unreadable()):
            raise
        said = "the metadata of an installed package are no text: install it again, or remove"
        _end(Unavailable(f"{said} {', '.join(folders)}"))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _end(UsageError(f"{error.filename}: {error.strerror}"))  # whichever option named it
        if error.errno in FULL:
            _end(
                DiskTrouble(
                    f"writing failed ({error}): free some space, then run again; what was committed is safe"
                )
            )
        raise


def _end(error: BenchError) -> NoReturn:
    from reports.escape import plain

    for line in str(error).splitlines():
        print(f"bench: {plain(line)}", file=sys.stderr)  # noqa: T201  # the message of last resort needs no library
    sys.exit(error.exit_code)


def _version(wanted: bool) -> None:
    if wanted:
        from harness.provenance import program_version, python_line

        typer.echo(f"bench {program_version()}, {python_line()}")
        raise typer.Exit


@app.callback()
def bench(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and end."
        ),
    ] = False,
) -> None:
    """Which way of adapting a pretrained language model to few labelled examples, and is the difference real?

    A first look, with nothing to download:  bench run --preset smoke
    """


@app.command(rich_help_panel="Compute")
@with_grid
def run(
    grid: GridOptions,
    *,
    db: Database = "results.db",
    devices: Annotated[
        str,
        typer.Option(
            "--devices", help="auto, cpu, mps, cuda or cuda:0,1.", rich_help_panel="Running"
        ),
    ] = "auto",
    jobs: Annotated[
        str,
        typer.Option(
            "-j",
            "--jobs",
            help="Jobs at once on each device; 0: chosen here.",
            rich_help_panel="Running",
            metavar="N",
        ),
    ] = "0",
    keep: Annotated[
        Keep,
        typer.Option(
            "--keep",
            help="Trained tensors to keep: all but whole backbones by default.",
            rich_help_panel="Running",
        ),
    ] = Keep.small,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Try again what failed or diverged.", rich_help_panel="Running"
        ),
    ] = False,
    retry: Annotated[
        str | None,
        typer.Option(
            "--retry",
            help="Try again what ended so: failed, diverged, or a class of errors such as Timeout.",
            rich_help_panel="Running",
            metavar="CLASS,CLASS",
        ),
    ] = None,
    max_failures: Annotated[
        str | None,
        typer.Option(
            "--max-failures",
            help="Begin no more jobs after so many failed.",
            rich_help_panel="Running",
            metavar="N",
        ),
    ] = None,
    fail_fast: Annotated[
        bool,
        typer.Option(
            "--fail-fast", help="The same as --max-failures 1.", rich_help_panel="Running"
        ),
    ] = False,
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout",
            help="Seconds that a job may take; then it failed.",
            rich_help_panel="Running",
            metavar="S",
        ),
    ] = None,
    zeroed: Annotated[
        bool,
        typer.Option(
            "--zeroed",
            help="Also test the trained head alone: what do the method's own tensors carry?",
            rich_help_panel="Running",
        ),
    ] = False,
    pack: Annotated[
        str,
        typer.Option(
            "--pack",
            help="Jobs in one forward pass, where they can be; auto: as many as a GPU holds, 1 elsewhere.",
            rich_help_panel="Running",
            metavar="auto|N",
        ),
    ] = "auto",
    executor: Annotated[
        Executors,
        typer.Option(
            "--executor",
            help="Workers on this machine, or on a Ray cluster.",
            rich_help_panel="Running",
        ),
    ] = Executors.local,
    ray_address: Annotated[
        str,
        typer.Option(
            "--ray-address",
            help="Of the cluster; auto: the one that is running here; local: one for this run.",
            rich_help_panel="Running",
            metavar="ADDRESS",
        ),
    ] = "auto",
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            help="Only a part of the grid, into a database of its own; `bench db merge` brings the parts together.",
            rich_help_panel="Running",
            metavar="K/N",
        ),
    ] = None,
    hypothesis: Annotated[
        str | None,
        typer.Option(
            "--hypothesis",
            help="The comparison that this study is for, said before its first result: simplex:prefix.",
            rich_help_panel="Running",
            metavar="METHOD:BASELINE",
        ),
    ] = None,
    rope: Annotated[
        str | None,
        typer.Option(
            "--rope",
            help="With --hypothesis: points below which a difference does not matter; 1 if not said.",
            rich_help_panel="Running",
            metavar="POINTS",
        ),
    ] = None,
    timing: Annotated[
        bool,
        typer.Option(
            "--timing",
            help="One job at a time on each device, so that seconds and memory are its own.",
            rich_help_panel="Running",
        ),
    ] = False,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the training step of packs: a minute or so for every kind of jobs, and faster after.",
            rich_help_panel="Running",
        ),
    ] = False,
    captured: Annotated[
        bool,
        typer.Option(
            "--cuda-graphs",
            help="Record the training step of packs as a CUDA graph, which a GPU starts by one call.",
            rich_help_panel="Running",
        ),
    ] = False,
    rules: Annotated[
        Rules,
        typer.Option(
            "--rules",
            help="all: also test what other selection rules would choose in this run.",
            rich_help_panel="Running",
        ),
    ] = Rules.own,
    inline: Annotated[
        bool,
        typer.Option(
            "--inline",
            help="Run the jobs in this process, for a debugger.",
            rich_help_panel="Running",
        ),
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", help="Do not ask before a long run.", rich_help_panel="Running"
        ),
    ] = False,
) -> None:
    """Train and test what is not in the database yet. The same command again goes on where it was stopped.

    Example:  bench run --model tiny --methods prefix,simplex --tasks toy --sizes 50,100 --draws 3
    """
    from harness.commands.run import Running, run_grid

    how = Running(
        db=db,
        devices=devices,
        jobs=jobs,
        keep=keep.value,
        retry_failed=retry_failed,
        retry=retry,
        max_failures="1" if fail_fast else max_failures,
        timeout=timeout,
        zeroed=zeroed,
        rules=rules.value,
        pack=pack,
        executor=executor.value,
        ray_address=ray_address,
        timing=timing,
        compiled=compiled,
        captured=captured,
        shard=shard,
        hypothesis=hypothesis,
        rope=rope,
        inline=inline,
        yes=yes,
    )
    raise typer.Exit(run_grid(grid, how))


@app.command(rich_help_panel="Compute")
@with_grid
def plan(
    grid: GridOptions,
    *,
    db: Database = "results.db",
    detect: Annotated[
        str | None,
        typer.Option(
            "--detect",
            help="Instead, how many draws a difference of so many points needs.",
            metavar="POINTS",
        ),
    ] = None,
    spread: Annotated[
        str | None,
        typer.Option(
            "--spread",
            help="With --detect: standard deviation of the difference in one draw; otherwise as in the database.",
            metavar="POINTS",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what `run` would do: how many jobs, what is done, missing or impossible. Trains nothing, writes nothing.

    Example:  bench plan --detect 2 --spread 3 --tasks glue --methods prefix,simplex
    """
    if detect is not None or spread is not None:
        from harness.commands.power import show_draws

        show_draws(grid, db, detect, spread)
        return
    from harness.commands.run import show_plan

    show_plan(grid, db, as_json=as_json)


@app.command(rich_help_panel="Compute")
@with_grid
def fetch(grid: GridOptions) -> None:
    """Bring the model and the data into the cache, for a machine that goes offline."""
    from harness.commands.run import fetch_grid

    fetch_grid(grid)


@app.command(rich_help_panel="Compute")
def convert(
    name: Annotated[
        str, typer.Argument(help="A model of the Hub, or a folder, with pytorch_model.bin.")
    ],
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
) -> None:
    """Make safetensors of a model that is published only as pytorch_model.bin, without running anything in it.

    Example:  bench convert microsoft/deberta-v3-base deberta && bench run --model deberta
    """
    from harness.backbones.convert import convert_model

    convert_model(name, folder)


@app.command(rich_help_panel="Look after")
def doctor(*, db: Database = "results.db", as_json: Json = False) -> None:
    """Say what this machine can do, and what is wrong with it: devices, versions, the Hub, the cache, the database."""
    from harness.commands.doctor import examine

    raise typer.Exit(examine(db, as_json=as_json))


@app.command("list", rich_help_panel="Read")
def list_(
    kind: Annotated[Kind, typer.Argument(help="methods, tasks or models.")],
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="With methods: what this backbone allows, and how many parameters.",
            metavar="NAME",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the methods with their options, the tasks, or the models at hand."""
    from harness.commands.list import list_methods, list_models, list_tasks

    if kind is Kind.methods:
        list_methods(model, as_json=as_json)
    elif kind is Kind.tasks:
        list_tasks(as_json=as_json)
    else:
        list_models(as_json=as_json)
