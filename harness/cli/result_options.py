"""Options and arguments of the commands that read results.

Those of `bench run` are in study/grid_options.py and scheduling/run_options.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import completion
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.results.query import ResultQuery
    from reports.figures import Layout

Database = Annotated[
    str, typer.Option("--db", envvar="BENCH_DB", help="The database of results.", metavar="FILE")
]
Digest = Annotated[
    str,
    typer.Argument(
        help="The digest of a job, or its beginning.", autocompletion=completion.digests
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        help="The method that the others are compared with.",
        metavar="METHOD",
        autocompletion=completion.methods,
    ),
]
Point = Annotated[
    str | None,
    typer.Option(
        "--at",
        help="The point of a simplex: a vertex by number from 1, or weights that sum to 1. Default: the centroid.",
        metavar="N|W,W,..",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write to this file.", metavar="FILE"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, kw_only=True)
class PageLayout:
    """The options that fit a figure to a page."""

    width: Annotated[
        float | None,
        typer.Option(
            "--width",
            help="Width of the figure in inches, 3 to 20. Letters keep their size: panels are "
            "rearranged. Default: at most 7.1, the text width of a paper.",
            metavar="INCHES",
            show_default=False,
        ),
    ] = None
    no_caption: Annotated[
        bool,
        typer.Option("--no-caption", help="Leave out the caption below the figure."),
    ] = False

    def layout(self) -> "Layout":
        """Return the layout of a figure.

        Raises:
            UsageError: The width is not one that a figure can have.
        """
        from reports.figures import Layout

        try:
            return Layout(width=self.width, caption=not self.no_caption)
        except ValueError as error:
            raise UsageError(f"--width: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Filters:
    """The options that choose results of a database."""

    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            help="Only these methods.",
            metavar="NAME,NAME",
        ),
    ] = None
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks",
            help="Only these tasks or groups.",
            metavar="NAME,NAME",
        ),
    ] = None
    sizes: Annotated[
        str | None, typer.Option("--sizes", help="Only these sizes.", metavar="N,N")
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Only this backbone (a part of its name is enough).", metavar="NAME"
        ),
    ] = None
    recipe: Annotated[
        int | None,
        typer.Option(
            "--recipe", help="Only this recipe, by number, if there are several.", metavar="N"
        ),
    ] = None
    method_version: Annotated[
        str | None,
        typer.Option(
            "--method-version",
            help="Only this version of a method, if its results have several.",
            metavar="METHOD:N",
        ),
    ] = None

    def of(self, db: str) -> "ResultQuery":
        """Return the query for these results of a database."""
        from harness.results.query import ResultQuery

        return ResultQuery(
            db=db,
            methods=self.methods,
            tasks=self.tasks,
            sizes=self.sizes,
            model=self.model,
            recipe=self.recipe,
            method_version=self.method_version,
        )
