"""The commands that read results: parse and call."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Baseline, Database, Json, Methods, Model, Recipe, Sizes, Tasks

app = typer.Typer()


class Format(StrEnum):
    """How a report is written."""

    terminal = "terminal"
    markdown = "markdown"
    latex = "latex"
    html = "html"
    csv = "csv"
    json = "json"


class Prose(StrEnum):
    """How a comparison of two databases is written: there are no figures in it and no cells to spread."""

    terminal = "terminal"
    markdown = "markdown"
    latex = "latex"
    json = "json"


@app.command(rich_help_panel="Read")
def report(
    *,
    db: Database = "results.db",
    format: Annotated[  # noqa: A002  # the option's name
        Format, typer.Option("--format", help="How it is written.")
    ] = Format.terminal,
    methods: Methods = None,
    tasks: Tasks = None,
    sizes: Sizes = None,
    model: Model = None,
    recipe: Recipe = None,
    baseline: Baseline = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to a file.", metavar="FILE")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="Put the numbers of a paper beside these: unipelt, li-liang.",
            metavar="STUDY",
        ),
    ] = None,
    browse: Annotated[
        bool, typer.Option("--open", help="With --format html: open the page in the browser.")
    ] = False,
    task_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--task-file",
            help="With --format html or --characteristics: a TOML file that describes a task, for the texts of its rows.",
            metavar="FILE",
        ),
    ] = None,
    characteristics: Annotated[
        bool,
        typer.Option(
            "--characteristics", help="Also: what the tasks are like, and whether gains go with it."
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 if a finding (!) stands in the way of a claim."),
    ] = False,
) -> None:
    """Say whether the differences are real: the verdict in words, the tables, the tests."""
    from harness.commands.report import write_report
    from harness.commands.stored_runs import ResultQuery

    query = ResultQuery(db=db, methods=methods, tasks=tasks, sizes=sizes, model=model, recipe=recipe)
    code = write_report(
        query,
        format.value,
        baseline,
        output,
        strict=strict,
        against=against,
        browse=browse,
        task_files=task_file or [],
        characteristics=characteristics,
    )
    raise typer.Exit(code)


@app.command(rich_help_panel="Read")
def plot(
    name: Annotated[
        str | None,
        typer.Argument(
            help="curve, diagram, forest, pareto, seeds, optimism, profile or option; without, they are explained."
        ),
    ] = None,
    *,
    db: Database = "results.db",
    methods: Methods = None,
    tasks: Tasks = None,
    sizes: Sizes = None,
    model: Model = None,
    recipe: Recipe = None,
    baseline: Baseline = None,
    cost: Annotated[
        str,
        typer.Option(
            "--cost", help="Of pareto: trained, seconds, stored or evaluation.", metavar="COST"
        ),
    ] = "trained",
    option: Annotated[
        str | None,
        typer.Option(
            "--option",
            help="Of option: its name, and its default if that should stand among the others.",
            metavar="NAME[=DEFAULT]",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="An SVG, PDF or PNG; NAME.svg by default.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Draw a figure of the results.

    Example:  bench plot curve --baseline prefix -o curve.pdf
    """
    from harness.commands.plot import list_figures, write_figure
    from harness.commands.stored_runs import ResultQuery

    if name is None:
        list_figures()
        return
    query = ResultQuery(db=db, methods=methods, tasks=tasks, sizes=sizes, model=model, recipe=recipe)
    write_figure(query, name, baseline=baseline, cost=cost, option=option, output=output)


@app.command(rich_help_panel="Read")
def status(
    *,
    db: Database = "results.db",
    as_json: Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on showing it, every two seconds, until Ctrl-C.")
    ] = False,
) -> None:
    """Show what is done, failed and still to do, and the last errors."""
    from harness.commands.status import show_status, watch_status

    if watch:
        watch_status(db)
    else:
        show_status(db, as_json=as_json)


@app.command(rich_help_panel="Read")
def show(
    digest: Annotated[
        str | None,
        typer.Argument(help="A job's digest, or its beginning; without, all jobs are listed."),
    ] = None,
    *,
    db: Database = "results.db",
    as_json: Json = False,
) -> None:
    """Show everything about one job: options, rows, metrics, dev curve, provenance. Without a digest, list the jobs."""
    from harness.commands.show import show_job, show_jobs

    if digest is None:
        show_jobs(db, as_json=as_json)
    else:
        show_job(db, digest, as_json=as_json)


@app.command(rich_help_panel="Read")
def compare(
    before: Annotated[str, typer.Argument(help="A database of results.", metavar="BEFORE")],
    after: Annotated[str, typer.Argument(help="Another one, of the same jobs.", metavar="AFTER")],
    *,
    format: Annotated[Prose, typer.Option("--format", help="How it is written.")] = Prose.terminal,  # noqa: A002  # the option's name
    methods: Methods = None,
    tasks: Tasks = None,
    sizes: Sizes = None,
    model: Model = None,
    recipe: Recipe = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to a file.", metavar="FILE")
    ] = None,
) -> None:
    """Say which cells moved between two databases, and what is not settled; exits with 1 if one moved beyond noise.

    Example:  bench compare main.db branch.db
    """
    from harness.commands.compare import compare_ledgers
    from harness.commands.stored_runs import ResultQuery

    query = ResultQuery(
        db=before, methods=methods, tasks=tasks, sizes=sizes, model=model, recipe=recipe
    )
    raise typer.Exit(compare_ledgers(before, after, query, format.value, output))


@app.command(rich_help_panel="Read")
def landscape(
    digest: Annotated[
        str | None,
        typer.Argument(
            help="A job's digest, or its beginning; without, all kept models of --methods and --tasks."
        ),
    ] = None,
    *,
    db: Database = "results.db",
    methods: Methods = None,
    tasks: Tasks = None,
    sizes: Sizes = None,
    model: Model = None,
    recipe: Recipe = None,
    baseline: Baseline = None,
    vertices: Annotated[
        str | None,
        typer.Option(
            "--vertices",
            help="Two or three, by number from 1; the first if not given.",
            metavar="N,N,N",
        ),
    ] = None,
    edges: Annotated[
        bool, typer.Option("--edges", help="Along the edges between all vertices, instead.")
    ] = False,
    steps: Annotated[int, typer.Option("--steps", help="Parts of an edge.", min=1, max=40)] = 6,
    directions: Annotated[
        int,
        typer.Option(
            "--directions",
            help="Look at losses along so many random directions as well.",
            min=0,
            max=100,
        ),
    ] = 0,
    tested: Annotated[
        int,
        typer.Option(
            "--test-rows",
            help="Test rows to look at; 0: none, dev scores are drawn instead.",
            min=0,
        ),
    ] = 500,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="FILE.svg, .pdf or .png; FILE.json has the numbers.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Draw how scores change over the simplex of a trained model, vertices, edges and between; chooses nothing by it.

    Of many models it says how centres compare with vertices and sampled models, and how flat the
    loss is around them.

    Example:  bench landscape 3f2a --vertices 1,2,3 -o landscape.pdf

    Example:  bench landscape --methods prefix,simplex --tasks glue
    """
    from harness.commands.landscape import Wanted, show_landscape
    from harness.errors import UsageError
    from harness.study.request import numbers

    if digest is None:
        from harness.commands.landscape_study import show_surroundings
        from harness.commands.stored_runs import ResultQuery

        if methods is None and tasks is None:
            raise UsageError("landscape wants a job's digest, or --methods or --tasks for many")
        query = ResultQuery(
            db=db, methods=methods, tasks=tasks, sizes=sizes, model=model, recipe=recipe
        )
        show_surroundings(query, baseline, tested, directions, output)
        return
    wanted = Wanted(
        vertices=numbers("--vertices", vertices),
        edges=edges,
        steps=steps,
        directions=directions,
        tested=tested,
    )
    show_landscape(db, digest, wanted, output)
