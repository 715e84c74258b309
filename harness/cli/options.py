"""Options that several commands have."""

from typing import Annotated

import typer

Database = Annotated[
    str, typer.Option("--db", envvar="BENCH_DB", help="The database of results.", metavar="FILE")
]
Methods = Annotated[
    str | None, typer.Option("--methods", help="Only these methods.", metavar="NAME,NAME")
]
Tasks = Annotated[
    str | None, typer.Option("--tasks", help="Only these tasks or groups.", metavar="NAME,NAME")
]
Sizes = Annotated[str | None, typer.Option("--sizes", help="Only these sizes.", metavar="N,N")]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Only this backbone (part of its name will do).", metavar="NAME"),
]
Recipe = Annotated[
    int | None,
    typer.Option(
        "--recipe", help="Which recipe, by its number, if there are several.", metavar="N"
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        "--baseline", help="The method that the others are compared with.", metavar="METHOD"
    ),
]
Point = Annotated[
    str | None,
    typer.Option(
        "--at",
        help="A vertex's number from 1, or weights that sum to 1; the centre if not given.",
        metavar="N|W,W,..",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
