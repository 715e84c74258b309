"""The commands that read results: parse and call."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion
from harness.cli.command import Command, with_options
from harness.cli.result_options import Baseline, Database, Filters, Json, Output, PageLayout
from harness.errors import UsageError

app = typer.Typer()

OptionalDigest = Annotated[
    str | None,
    typer.Argument(
        help="The digest of a job, or its beginning. Without one: every job.",
        autocompletion=completion.digests,
    ),
]


ReportFormat = StrEnum("ReportFormat", ["terminal", "markdown", "latex", "html", "csv", "json"])
# A comparison of two databases has no figures for HTML and no cells for CSV.
ComparisonFormat = StrEnum("ComparisonFormat", ["terminal", "markdown", "latex", "json"])


@app.command(cls=Command, rich_help_panel="Read")
@with_options
def report(
    *,
    db: Database = "results.db",
    format: Annotated[  # noqa: A002  # the option's name
        ReportFormat, typer.Option("--format", help="How the report is written.")
    ] = ReportFormat.terminal,
    filters: Filters,
    baseline: Baseline = None,
    output: Output = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="Show the numbers of a paper beside these: unipelt, li-liang.",
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
            help="With --format html or --characteristics: a TOML file that describes a task, "
            "to read the texts of its examples.",
            metavar="FILE",
        ),
    ] = None,
    characteristics: Annotated[
        bool,
        typer.Option(
            "--characteristics",
            help="Also show the characteristics of the tasks and whether gains correlate with them.",
        ),
    ] = False,
    temperature: Annotated[
        bool,
        typer.Option(
            "--temperature",
            help="Also show the scores of class probabilities that are scaled by a temperature, "
            "which is fitted on the dev examples.",
        ),
    ] = False,
    classes: Annotated[
        bool,
        typer.Option(
            "--classes",
            help="Also show the confusion matrix, and precision, recall and F1 of each class.",
        ),
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Show all tables, tests and notes.")] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 if a finding marked ! prevents a claim."),
    ] = False,
) -> None:
    """Report whether the differences are real: the verdict in words, the tables and the tests."""
    from harness.commands.report import write_report

    raise typer.Exit(
        write_report(
            filters.of(db),
            format.value,
            baseline,
            output,
            strict=strict,
            against=against,
            browse=browse,
            task_files=task_file or [],
            characteristics=characteristics,
            temperature=temperature,
            classes=classes,
            full=full,
        )
    )


@app.command(cls=Command, rich_help_panel="Read")
@with_options
def plot(
    name: Annotated[
        str | None,
        typer.Argument(
            help="curve, diagram, forest, pareto, seeds, optimism, profile, reliability or option. "
            "Without one: explain the figures.",
            autocompletion=completion.figures,
        ),
    ] = None,
    *,
    db: Database = "results.db",
    filters: Filters,
    baseline: Baseline = None,
    cost: Annotated[
        str,
        typer.Option(
            "--cost",
            help="The cost axis of pareto: trained, seconds, stored or evaluation.",
            metavar="COST",
        ),
    ] = "trained",
    option: Annotated[
        str | None,
        typer.Option(
            "--option",
            help="The option that the figure option varies, with its default to plot that too.",
            metavar="NAME[=DEFAULT]",
        ),
    ] = None,
    temperature: Annotated[
        bool,
        typer.Option(
            "--temperature",
            help="Scale the probabilities of the figure reliability by the temperature, "
            "which is fitted on the dev examples.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write to this SVG, PDF or PNG file. Default: NAME.svg.",
            metavar="FILE",
        ),
    ] = None,
    page: PageLayout,
) -> None:
    """Draw a figure of the results.

    Example:  bench plot curve --baseline prefix -o curve.pdf

    Example:  bench plot forest --width 3.3 --no-caption -o column.pdf
    """
    from harness.commands.plot import FigureRequest, list_figures, write_figure

    layout = page.layout()
    if name is None:
        list_figures()
        return
    write_figure(
        filters.of(db),
        FigureRequest(name=name, cost=cost, option=option, layout=layout, temperature=temperature),
        baseline=baseline,
        output=output,
    )


@app.command(cls=Command, rich_help_panel="Read")
def status(
    *,
    db: Database = "results.db",
    as_json: Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Repeat every two seconds, until Ctrl-C.")
    ] = False,
) -> None:
    """Show how many jobs are done, failed and still to do, and the last errors."""
    from harness.commands.status import show_status, watch_status

    if watch:
        watch_status(db)
    else:
        show_status(db, as_json=as_json)


@app.command(cls=Command, rich_help_panel="Read")
def show(
    digest: OptionalDigest = None, *, db: Database = "results.db", as_json: Json = False
) -> None:
    """Show everything about one job: options, data, metrics, dev curve, provenance. Without a digest, list the jobs."""
    from harness.commands.show import show_job, show_jobs

    if digest is None:
        show_jobs(db, as_json=as_json)
    else:
        show_job(db, digest, as_json=as_json)


@app.command(cls=Command, rich_help_panel="Read")
@with_options
def compare(
    before: Annotated[str, typer.Argument(help="A database of results.", metavar="BEFORE")],
    after: Annotated[
        str, typer.Argument(help="Another database with results of the same jobs.", metavar="AFTER")
    ],
    *,
    format: Annotated[  # noqa: A002  # the option's name
        ComparisonFormat, typer.Option("--format", help="How the comparison is written.")
    ] = ComparisonFormat.terminal,
    filters: Filters,
    output: Output = None,
) -> None:
    """Show which cells differ between two databases. Exit with 1 if one differs by more than noise.

    Example:  bench compare main.db branch.db
    """
    from harness.commands.compare import compare_ledgers

    raise typer.Exit(compare_ledgers(before, after, filters.of(before), format.value, output))


@app.command(cls=Command, rich_help_panel="Read")
@with_options
def landscape(
    digest: Annotated[
        str | None,
        typer.Argument(
            help="The digest of a job, or its beginning. "
            "Without one: all kept models of --methods and --tasks.",
            autocompletion=completion.digests,
        ),
    ] = None,
    *,
    db: Database = "results.db",
    filters: Filters,
    baseline: Baseline = None,
    vertices: Annotated[
        str | None,
        typer.Option(
            "--vertices",
            help="Two or three vertices, by number from 1. Default: the first ones.",
            metavar="N,N,N",
        ),
    ] = None,
    edges: Annotated[
        bool, typer.Option("--edges", help="Plot the edges between all vertices instead.")
    ] = False,
    steps: Annotated[
        int, typer.Option("--steps", help="Number of parts of an edge.", min=1, max=40)
    ] = 6,
    directions: Annotated[
        int,
        typer.Option(
            "--directions",
            help="Also evaluate the loss along this many random directions.",
            min=0,
            max=100,
        ),
    ] = 0,
    tested: Annotated[
        int,
        typer.Option(
            "--test-rows", help="Number of test rows to evaluate; 0 plots dev scores.", min=0
        ),
    ] = 500,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write to FILE.svg, .pdf or .png, and the numbers to FILE.json.",
            metavar="FILE",
        ),
    ] = None,
    page: PageLayout,
) -> None:
    """Plot scores over the simplex of a trained model: vertices, edges and points between. It never selects a model.

    For several models, report how centroids compare with vertices and sampled models, and how flat
    the loss is around them.

    Example:  bench landscape 3f2a --vertices 1,2,3 -o landscape.pdf

    Example:  bench landscape --methods prefix,simplex --tasks glue
    """
    from harness.commands.landscape import LandscapeRequest, show_landscape
    from harness.study.option_reader import numbers

    layout = page.layout()
    if digest is None:
        from harness.commands.landscape_study import show_study

        if filters.methods is None and filters.tasks is None:
            raise UsageError(
                "landscape needs the digest of a job, or --methods or --tasks for several models"
            )
        show_study(filters.of(db), baseline, tested, directions, output)
        return
    show_landscape(
        db,
        digest,
        LandscapeRequest(
            vertices=numbers("--vertices", vertices),
            edges=edges,
            steps=steps,
            directions=directions,
            test_rows=tested,
        ),
        output,
        layout,
    )
