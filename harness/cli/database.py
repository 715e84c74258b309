"""The commands `bench db ...`: parse and call."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Look after a database of results: is it whole, copy it, bring several together.",
    no_args_is_help=True,
)

Database = Annotated[
    str, typer.Option("--db", envvar="BENCH_DB", help="The database of results.", metavar="FILE")
]


@app.command()
def verify(
    *,
    db: Database = "results.db",
    rerun: Annotated[
        str | None,
        typer.Option(
            "--rerun",
            help="Train so many results once more, chosen at random, and compare.",
            metavar="1%|N",
        ),
    ] = None,
    task_file: Annotated[
        list[Path] | None,
        typer.Option("--task-file", help="A TOML file that describes a task.", metavar="FILE"),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="Where to train: cpu, cuda:0.", metavar="NAME")
    ] = "cpu",
) -> None:
    """Is the database whole, and do its numbers come out again? Changes nothing.

    Example:  bench db verify --rerun 1%
    """
    from harness.commands.verify import verify

    raise typer.Exit(verify(db, rerun, task_file or [], device))


@app.command()
def upgrade(*, db: Database = "results.db") -> None:
    """Bring a database of an older bench up to date; a copy as it was stays beside it."""
    from harness.commands import database

    database.upgrade(db)


@app.command()
def backup(
    copy: Annotated[Path, typer.Argument(help="A file that does not exist yet.")],
    *,
    db: Database = "results.db",
) -> None:
    """Make a consistent copy, also while a run goes on, with the files of trained tensors."""
    from harness.commands import database

    database.backup(db, copy)


@app.command()
def merge(
    target: Annotated[
        str,
        typer.Argument(
            help="The database that takes the others' results; made if it is not there."
        ),
    ],
    sources: Annotated[
        list[str], typer.Argument(help="Databases whose results it takes; they stay as they are.")
    ],
) -> None:
    """Bring together what shards or colleagues computed. A job that several have is one job; numbers that differ are named.

    Example:  bench db merge results.db results.1-of-3.db results.2-of-3.db results.3-of-3.db
    """
    from harness.commands import database

    raise typer.Exit(database.merge(target, sources))


@app.command()
def prune(
    *,
    db: Database = "results.db",
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Cells that are not done.")
    ] = False,
    outdated: Annotated[
        bool, typer.Option("--outdated", help="Results on earlier data of a task.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do it; else only say what would go.")
    ] = False,
) -> None:
    """Take away files of tensors that belong to no result, and the cells asked for by options."""
    from harness.commands import database

    database.prune(db, unfinished=unfinished, outdated=outdated, yes=yes)


@app.command()
def vacuum(*, db: Database = "results.db") -> None:
    """Give the space of deleted rows back to the disk."""
    from harness.commands import database

    database.vacuum(db)
