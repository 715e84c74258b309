"""The commands that use a trained model: parse and call."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion
from harness.cli.command import Command, GridCommand, HelpAll, with_options
from harness.cli.result_options import Database, Filters, Json, Point
from harness.errors import UsageError
from harness.study.grid_options import GridOptions

app = typer.Typer()


ExportFormat = StrEnum("ExportFormat", ["peft", "transformers", "safetensors", "onnx"])


@app.command(cls=GridCommand, rich_help_panel="Use")
@with_options
def fit(
    folder: Annotated[
        Path, typer.Argument(help="A folder that does not exist yet.", show_default=False)
    ],
    *,
    grid: GridOptions,
    db: Database = "results.db",
    help_all: HelpAll = False,  # noqa: ARG001  # its callback shows the help
) -> None:
    """Train the best method of a study on all labelled rows, and write the model to a folder.

    Pass the options that `bench run` had. Dev scores choose the method and its steps; test scores tell what to expect.

    Example:  bench fit FOLDER --preset quick --data reviews.csv --text review --label stars
    """
    from harness.commands.fit import fit as fit_best

    fit_best(grid, db, folder)


@app.command(cls=Command, rich_help_panel="Use")
@with_options
def export(
    digest: Annotated[
        str,
        typer.Argument(
            help="The digest of a job, or its beginning, or a folder of `bench fit`. With --best, leave it out.",
            autocompletion=completion.digests,
        ),
    ],
    folder: Annotated[
        Path | None, typer.Argument(help="A folder that does not exist yet.", show_default=False)
    ] = None,
    *,
    best: Annotated[
        bool,
        typer.Option(
            "--best",
            help="Choose the method with the best mean dev score at the greatest size, and of its draws the best.",
        ),
    ] = False,
    filters: Filters,
    db: Database = "results.db",
    format: Annotated[  # noqa: A002  # the option's name
        ExportFormat | None,
        typer.Option(
            "--format",
            help="peft: read by PeftModel.from_pretrained; transformers: merged weights with class names, for a "
            "pipeline; safetensors: the trained tensors of any method, read by `bench predict FOLDER`; onnx: a graph "
            "with the backbone, of any method that does not write (needs the extra `onnx`). Default: "
            "peft; with --best, the first of transformers, peft and safetensors that holds the model.",
        ),
    ] = None,
    at: Point = None,
) -> None:
    """Write a trained model to a folder: the centroid of a simplex, a vertex, or any other point.

    Example:  bench export --best FOLDER
    """
    from harness.commands.export import export_best, export_job

    form = format.value if format else None
    if best:
        if folder is not None:
            raise UsageError("--best chooses the job: pass only a folder")
        export_best(filters.of(db), Path(digest), form, at)
        return
    if filters != Filters():
        raise UsageError(
            "--tasks, --methods and the like are for --best: a digest already names one job"
        )
    if folder is None:
        raise UsageError("pass the digest of a job and a folder, or --best and a folder")
    export_job(db, digest, folder, form or "peft", at)


@app.command(cls=Command, rich_help_panel="Use")
def predict(
    digest: Annotated[
        str,
        typer.Argument(
            metavar="DIGEST|FOLDER",
            help="The digest of a job, or its beginning, or a folder of `bench fit` or `bench export --format "
            "safetensors`. With --model-column, a folder of such folders.",
            autocompletion=completion.digests,
        ),
    ],
    texts: Annotated[
        list[str] | None, typer.Argument(help="The text, or the two texts of a pair.")
    ] = None,
    *,
    db: Database = "results.db",
    at: Point = None,
    as_json: Json = False,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            help="Predict every row of this file: CSV, TSV, JSON or Parquet.",
            metavar="FILE",
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            help="The column of the file that holds the text, or two columns. Default: those of the task.",
            metavar="COLUMN[,COLUMN]",
        ),
    ] = None,
    model_column: Annotated[
        str | None,
        typer.Option(
            "--model-column",
            help="The column of the file that names the model of each row: a folder in FOLDER. All models are of one "
            "method and have the same classes.",
            metavar="COLUMN",
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            help="What separates the columns of the file; by default it is recognised.",
            metavar="CHARACTER",
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            help="The encoding of the file, such as cp1252; by default it is recognised.",
            metavar="NAME",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the rows and predictions to this file.",
            metavar="FILE.csv",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file of --output if it exists.")
    ] = False,
) -> None:
    """Predict the label of a text with a trained model, or of every row of a file, written as CSV.

    Example:  bench predict 3f2a --csv reviews.csv --text review -o answered.csv
    """
    from harness.commands.predict import PredictRequest, predict_job

    predict_job(
        db,
        digest,
        PredictRequest(
            texts=texts or [],
            file=csv,
            columns=text,
            output=output,
            delimiter=delimiter,
            encoding=encoding,
            force=force,
            model_column=model_column,
        ),
        at,
        as_json=as_json,
    )
