"""The commands that use a trained model: parse and call."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Database, Json, Point

app = typer.Typer()


class Export(StrEnum):
    """How trained tensors are written."""

    peft = "peft"
    safetensors = "safetensors"


@app.command(rich_help_panel="Use")
def export(
    digest: Annotated[str, typer.Argument(help="A job's digest, or its beginning.")],
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    *,
    db: Database = "results.db",
    format: Annotated[  # noqa: A002  # the option's name
        Export, typer.Option("--format", help="peft: what PeftModel.from_pretrained reads.")
    ] = Export.peft,
    at: Point = None,
) -> None:
    """Write a trained model out: the centre of a simplex, a vertex, or any point of it."""
    from harness.commands.export import export_job

    export_job(db, digest, folder, format.value, at)


@app.command(rich_help_panel="Use")
def predict(
    digest: Annotated[str, typer.Argument(help="A job's digest, or its beginning.")],
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
            "--csv", help="A file of rows to answer: CSV, TSV, JSONL or Parquet.", metavar="FILE"
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            help="Its column with the text, or two; the task's own by default.",
            metavar="COLUMN[,COLUMN]",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the answered rows to a file.", metavar="FILE.csv"
        ),
    ] = None,
) -> None:
    """Say what a trained model answers for a text, or for every row of a file, written out as CSV with the answers added.

    Example:  bench predict 3f2a --csv reviews.csv --text review -o answered.csv
    """
    from harness.commands.predict import PredictRequest, predict_job

    predict_job(
        db,
        digest,
        PredictRequest(texts=texts or [], sheet=csv, columns=text, output=output),
        at,
        as_json=as_json,
    )
