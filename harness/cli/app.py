"""The commands that compute: parse, call, print. Nothing here imports torch at import time."""

import errno
import sys
import traceback
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion
from harness.cli.command import Command, GridCommand, Group, HelpAll, with_options
from harness.cli.database import app as database
from harness.cli.models import app as models
from harness.cli.result_options import Database, Json
from harness.cli.results import app as results
from harness.errors import FULL, BenchError, DiskTrouble, ExitCode, Unavailable, UsageError
from harness.scheduling.run_options import RunOptions
from harness.study.grid_options import GridOptions

EXIT_CODES = "Exit codes: " + "; ".join(f"{code.value} {code.meaning}" for code in ExitCode) + "."

app = typer.Typer(
    name="bench",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(results)
app.add_typer(models)
app.add_typer(database, name="db", rich_help_panel="Maintain")


ListKind = StrEnum("ListKind", ["methods", "tasks", "models"])  # what `list` lists


def run_command_line() -> None:
    """Run the command. Print what the user can fix as a sentence, and end with the exit code of its kind."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # The name of a file may be no valid text, and a terminal may lack a character.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except Exception as error:  # every error ends with the exit code of its kind
        known = _as_bench_error(error)
        if known is None:
            traceback.print_exc()
            sys.exit(ExitCode.BUG)
        from reports.escape import plain

        for line in str(known).splitlines():
            print(f"bench: {plain(line)}", file=sys.stderr)  # noqa: T201  # needs no library
        sys.exit(known.exit_code)


def _as_bench_error(error: Exception) -> BenchError | None:
    """Return an error that the user can fix in place of one of the system; None for an error in bench itself."""
    if isinstance(error, BenchError):
        return error
    if isinstance(error, UnicodeDecodeError):
        from harness.provenance import unreadable_distributions

        if folders := unreadable_distributions():
            return Unavailable(
                "the metadata of an installed package are not valid text: "
                f"reinstall or remove {', '.join(folders)}"
            )
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return UsageError(f"{error.filename}: {error.strerror}")
    if isinstance(error, OSError) and error.errno in FULL:
        return DiskTrouble(
            f"writing failed ({error}): "
            "free some space and run the command again; committed results are safe"
        )
    return None


def _show_version(requested: bool) -> None:
    if requested:
        from harness.provenance import program_version, python_line

        typer.echo(f"bench {program_version()}, {python_line()}")
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def bench(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Compare ways of adapting a pretrained language model to few labelled examples, and test whether they differ.

    Start here, without a download:  bench demo
    """


@app.command(cls=Command, rich_help_panel="Compute")
def demo() -> None:
    """Compare two methods on two small tasks, in about a minute. Needs no network; results go into demo.db.

    The same command again continues an interrupted demo, or prints its report.
    """
    from harness.commands.demo import run_demo

    raise typer.Exit(run_demo())


@app.command(cls=Command, rich_help_panel="Compute")
def advise(
    file: Annotated[
        Path, typer.Argument(help="Labelled texts: CSV, TSV, JSON or Parquet.", metavar="FILE")
    ],
    *,
    text: Annotated[
        str | None,
        typer.Option(
            help="The text column, or two. Default: a guess, which is stated.",
            metavar="COLUMN[,COLUMN]",
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The label column. Default: a guess.", metavar="COLUMN")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="classes or number, where a guess is not possible.", metavar="KIND"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The backbone. Default: that of `--preset quick`, or `tiny` without the Hub.",
            metavar="NAME",
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            help="The most time that the study is estimated to take, on a CPU, such as 30m.",
            metavar="TIME",
        ),
    ] = "10m",
    db: Annotated[
        str | None,
        typer.Option(
            help="The database of results. Default: the file's name with .db.", metavar="FILE"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the model to this folder. Default: the file's name with -model.",
            metavar="FOLDER",
        ),
    ] = None,
) -> None:
    """Compare methods on a file, say which one to use and what to expect of it, and write its model to a folder.

    Every step is a usual command, which is printed.  Example:  bench advise reviews.csv
    """
    from harness.commands.advise import AdviseOptions
    from harness.commands.advise import advise as give_advice
    from harness.study import option_reader

    most = option_reader.seconds("--budget", budget)
    options = AdviseOptions(
        file=file,
        text=text,
        label=label,
        kind=kind,
        model=model,
        budget=most,
        db=db,
        output=output,
    )
    raise typer.Exit(give_advice(options).code)


@app.command(cls=GridCommand, rich_help_panel="Compute")
@with_options
def run(grid: GridOptions, options: RunOptions, help_all: HelpAll = False) -> None:  # noqa: ARG001  # its callback shows the help
    """Train and test all jobs (methods × tasks × sizes × draws × seeds) that have not been run yet.

    The same command again continues an interrupted run.
    To run failed jobs again, add --retry-failed or --retry (see --help-all).

    Example:  bench run --model tiny --methods prefix,simplex --tasks toy --sizes 50,100 --draws 3
    """
    from harness.commands.run import run_grid

    raise typer.Exit(run_grid(grid, options))


@app.command(cls=GridCommand, rich_help_panel="Compute")
@with_options
def plan(
    grid: GridOptions,
    *,
    db: Database = "results.db",
    detect: Annotated[
        str | None,
        typer.Option(
            "--detect",
            help="Print the number of draws that detects a difference of this many points, instead of the plan.",
            metavar="POINTS",
        ),
    ] = None,
    spread: Annotated[
        str | None,
        typer.Option(
            "--spread",
            help="With --detect: the standard deviation of the difference in one draw. Default: from the database.",
            metavar="POINTS",
        ),
    ] = None,
    as_json: Json = False,
    help_all: HelpAll = False,  # noqa: ARG001  # its callback shows the help
) -> None:
    """Show what `run` would do: the jobs that are done, missing or impossible. Trains nothing and writes nothing.

    Example:  bench plan --detect 2 --spread 3 --tasks glue --methods prefix,simplex
    """
    if detect is not None or spread is not None:
        from harness.commands.power import show_draws

        show_draws(grid, db, detect, spread)
        return
    from harness.commands.plan import show_plan

    show_plan(grid, db, as_json=as_json)


@app.command(cls=GridCommand, rich_help_panel="Compute")
@with_options
def fetch(grid: GridOptions, help_all: HelpAll = False) -> None:  # noqa: ARG001  # its callback shows the help
    """Download the model and the data of a grid into the cache, for a machine that goes offline."""
    from harness.commands.fetch import fetch_grid

    fetch_grid(grid)


@app.command(cls=Command, rich_help_panel="Compute")
def convert(
    name: Annotated[
        str, typer.Argument(help="A model on the Hub, or a folder, with pytorch_model.bin.")
    ],
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
) -> None:
    """Write the weights of a model that is published only as pytorch_model.bin as safetensors.

    Example:  bench convert microsoft/deberta-v3-base deberta && bench run --model deberta
    """
    from harness.backbones.convert import convert_model

    convert_model(name, folder)


@app.command(cls=Command, rich_help_panel="Maintain")
def doctor(*, db: Database = "results.db", as_json: Json = False) -> None:
    """Check this machine: devices, versions, the Hub, the cache and the database."""
    from harness.commands.doctor import examine

    raise typer.Exit(examine(db, as_json=as_json))


@app.command("list", cls=Command, rich_help_panel="Read")
def list_(
    kind: Annotated[ListKind, typer.Argument(help="What to list: methods, tasks or models.")],
    name: Annotated[
        str | None,
        typer.Argument(
            help="With methods: the one method to explain, with all its options.",
            autocompletion=completion.methods,
        ),
    ] = None,
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="With methods: show what works with this model, and how many parameters it trains.",
            metavar="NAME",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the methods, the tasks, or the models on this machine; or explain one method.

    Example:  bench list methods simplex
    """
    from harness.commands.list import list_methods, list_models, list_tasks, show_method

    if name is not None and kind is not ListKind.methods:
        raise UsageError(
            f"list {kind.value} takes no name; `bench list methods NAME` explains a method"
        )
    if name is not None:
        show_method(name, model, as_json=as_json)
    elif kind is ListKind.methods:
        list_methods(model, as_json=as_json)
    elif kind is ListKind.tasks:
        list_tasks(as_json=as_json)
    else:
        list_models(as_json=as_json)
