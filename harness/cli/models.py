"""The commands that use a trained model: parse and call."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.command import Command
from harness.cli.result_options import Database, Digest, Json, Point

app = typer.Typer()


ExportFormat = StrEnum("ExportFormat", ["peft", "transformers", "safetensors"])


@app.command(cls=Command, rich_help_panel="Use")
def export(
    digest: Digest,
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    *,
    db: Database = "results.db",
    format: Annotated[  # noqa: A002  # the option's name
        ExportFormat,
        typer.Option(
            "--format",
            help="peft: read by PeftModel.from_pretrained; transformers: merged weights with class names, for a "
            "pipeline; safetensors: the trained tensors of any method.",
        ),
    ] = ExportFormat.peft,
    at: Point = None,
) -> None:
    """Write a trained model to a folder: the centroid of a simplex, a vertex, or any other point."""
    from harness.commands.export import export_job

    export_job(db, digest, folder, format.value, at)


@app.command(cls=Command, rich_help_panel="Use")
def predict(
    digest: Digest,
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
        ),
        at,
        as_json=as_json,
    )
