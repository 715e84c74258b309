"""The commands `bench db ...`: parse and call."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.command import Command, Group
from harness.cli.result_options import Database

app = typer.Typer(
    cls=Group,
    help="Maintain a database of results: verify, copy, merge and clean it.",
    no_args_is_help=True,
)


@app.command(cls=Command)
def verify(
    *,
    db: Database = "results.db",
    rerun: Annotated[
        str | None,
        typer.Option(
            "--rerun",
            help="Train this many results again, chosen at random, and compare the numbers.",
            metavar="1%|N",
        ),
    ] = None,
    task_file: Annotated[
        list[Path] | None,
        typer.Option("--task-file", help="A TOML file that describes a task.", metavar="FILE"),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="The device for --rerun: cpu, cuda:0.", metavar="NAME")
    ] = "cpu",
) -> None:
    """Check that a database is intact and, with --rerun, that its numbers are reproducible. Changes nothing.

    Example:  bench db verify --rerun 1%
    """
    from harness.commands.verify import verify

    raise typer.Exit(verify(db, rerun, task_file or [], device))


@app.command(cls=Command)
def upgrade(*, db: Database = "results.db") -> None:
    """Upgrade a database of an older version. A copy of the old database stays beside it."""
    from harness.commands import database

    database.upgrade(db)


@app.command(cls=Command)
def backup(
    copy: Annotated[Path, typer.Argument(help="A file that does not exist yet.")],
    *,
    db: Database = "results.db",
) -> None:
    """Copy a database and its files of trained tensors, consistently even while a run writes to it."""
    from harness.commands import database

    database.backup(db, copy)


@app.command(cls=Command)
def merge(
    target: Annotated[
        str,
        typer.Argument(
            help="The database that receives the results. It is created if it does not exist."
        ),
    ],
    sources: Annotated[
        list[str], typer.Argument(help="Databases whose results are copied. They are not changed.")
    ],
) -> None:
    """Copy the results of several databases, such as shards, into one, and report numbers that differ for the same job.

    Example:  bench db merge results.db results.1-of-3.db results.2-of-3.db results.3-of-3.db
    """
    from harness.commands import database

    raise typer.Exit(database.merge(target, sources))


@app.command(cls=Command)
def prune(
    *,
    db: Database = "results.db",
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Delete cells that have no result.")
    ] = False,
    outdated: Annotated[
        bool, typer.Option("--outdated", help="Delete results on earlier data of a task.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Delete. Without it, only list what would be deleted."),
    ] = False,
) -> None:
    """Delete files of tensors that belong to no result, and the cells that the options choose."""
    from harness.commands import database

    database.prune(db, unfinished=unfinished, outdated=outdated, yes=yes)


@app.command(cls=Command)
def vacuum(*, db: Database = "results.db") -> None:
    """Return the space of deleted rows to the file system."""
    from harness.commands import database

    database.vacuum(db)
