"""`bench predict`: apply a trained model to a text, to a pair of texts or to the rows of a file."""

import csv
import io
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from harness.artefacts import restore
from harness.artefacts.restore import StoredModel
from harness.atomic_write import write_output
from harness.errors import UsageError
from harness.scheduling.summary import print_line
from harness.tasks import user_files
from harness.tasks.base import Example, Task
from harness.tasks.findings import text_problem
from harness.tasks.table_files import (
    FileTable,
    Problems,
    Reading,
    as_number,
    column_names,
    read_bytes,
    read_table,
)

_FORMULA: Final = re.compile(r"[\s'\0]*[=+\-@\uff1d\uff0b\uff0d\uff20]")


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """What to predict: the class or value of one example's texts, or of every row of a file."""

    texts: Sequence[str]
    file: Path | None
    columns: str | None  # the text columns of the file, separated by commas
    output: Path | None


def predict_job(
    db: str, digest: str, request: PredictRequest, at: str | None, *, as_json: bool
) -> None:
    """Print the prediction for one example, or write a file's rows with their predictions.

    Raises:
        UsageError: the options contradict each other, the number of texts is not the task's, or a
            row has no text.
        Unavailable, CorruptData: the tensors are missing or were changed.
        CannotWrite: the output cannot be written.
    """
    _check(request, as_json=as_json)
    stored = restore.load(db, digest)
    if request.file is None:
        _check_count(stored, len(request.texts))
        (prediction,) = predict_texts(stored, [tuple(request.texts)], at)
        _print_prediction(stored, prediction, as_json=as_json)
    else:
        table, texts = read_texts(stored, request.file, request.columns)
        content = _as_csv(stored, table, predict_texts(stored, texts, at))
        if request.output is None:
            sys.stdout.buffer.write(content)
        else:
            write_output(request.output, content)


def predict_texts(
    stored: StoredModel, texts: Sequence[tuple[str, ...]], at: str | None = None
) -> list[dict[str, Any]]:
    """Return a trained model's prediction for each text or pair of texts, on the CPU.

    Args:
        stored: the trained model.
        texts: one text or two for each example.
        at: the point of the simplex; None: its centre.

    Returns:
        A dictionary for each example: `answer` is the class name or the value; for classes,
        `probabilities` maps each class name to its probability.

    Raises:
        UsageError: an example has neither one text nor two.
    """
    from harness.backbones import loading
    from harness.training import batching
    from harness.training.adapted_model import AdaptedModel, predict
    from harness.training.labels import Target

    backbone = replace(
        loading.load(stored.backbone, "cpu"),
        outputs=len(stored.labels) or 1,
        max_length=stored.recipe.max_length,
    )
    if {len(text) for text in texts} - {1, 2}:
        raise UsageError("pass one text, or the two texts of a pair")
    slots = stored.method.slots(backbone)
    adapted = AdaptedModel(backbone, slots, None)  # type: ignore[arg-type]  # nothing is trained here
    logits = predict(
        adapted,
        lambda _: stored.tensors_at(at),
        batching.encode(backbone, [Example(text, 0) for text in texts]),
    )
    slots.remove()
    task = Task(name="", title="", reader=None, labels=tuple(stored.labels), metrics=(), pair=False)  # type: ignore[arg-type]
    predictions = Target(task, **stored.metadata["scale"]).predictions(logits)
    if not stored.labels:
        return [{"answer": value} for value in predictions]
    return [
        {
            "answer": stored.labels[int(number)],
            "probabilities": dict(zip(stored.labels, probabilities, strict=True)),
        }
        for number, probabilities in zip(predictions, logits.softmax(1).tolist(), strict=True)
    ]


def read_texts(
    stored: StoredModel, path: Path, columns: str | None
) -> tuple[FileTable, list[tuple[str, ...]]]:
    """Return a file's table and the texts of its rows.

    Args:
        stored: the trained model.
        path: a CSV, TSV, JSONL or Parquet file.
        columns: the text columns, separated by commas; None: those of the model's task.

    Raises:
        UsageError: the file cannot be read, its text columns are ambiguous, or a row has no text.
    """
    problems = Problems()
    wanted = tuple(column_names(columns)) if columns else ()
    table = read_table(path, read_bytes(path), problems, Reading(needed=wanted))
    problems.raise_if_any()
    names = column_names(columns) if columns is not None else _text_columns(stored, table)
    user_files.existing_columns(table, names, problems)
    if taken := [name for name in _added_columns(stored) if name in table.columns]:
        problems.add(
            f"{path} already has a column {taken[0]!r}, where a prediction would go: rename it"
        )
    problems.raise_if_any()
    _check_count(stored, len(names))
    rows = [
        [user_files.read_text(path, row, name, position, problems) for name in names]
        for position, row in zip(table.positions, table.rows, strict=True)
    ]
    problems.raise_if_any()
    return table, [tuple(text for text in row if text is not None) for row in rows]


def escape_formula(name: str) -> str:
    """Return a class name that a spreadsheet does not evaluate as a formula; numbers stay unchanged.

    The rule is that of `reports.escape.csv`.
    """
    return f"'{name}" if _FORMULA.match(name) and as_number(name) is None else name


def _check(request: PredictRequest, *, as_json: bool) -> None:
    """Raise UsageError naming every option that contradicts another."""
    file, output = request.file, request.output
    problems = [
        f"text {number}: {problem}"
        for number, text in enumerate(request.texts, 1)
        if (problem := text_problem(text))
    ]
    if request.texts and file:
        problems.append("pass either texts or --csv FILE, not both")
    if not request.texts and not file:
        problems.append("pass one text, the two texts of a pair, or --csv FILE")
    if file is None and (request.columns is not None or output is not None):
        problems.append("--text and --output require --csv FILE")
    if file is not None and as_json:
        problems.append("--json requires texts: predictions for a file are written as CSV")
    if output is not None and output.suffix.lower() != ".csv":
        problems.append(f"--output must end in .csv, got {output}")
    if file is not None and output is not None and output.resolve() == file.resolve():
        problems.append(f"--output {output} is the file of --csv: name another file")
    if problems:
        raise UsageError(*problems)


def _check_count(stored: StoredModel, count: int) -> None:
    """Raise UsageError if the task is known and has another number of texts per example."""
    if stored.task is not None and count != 1 + stored.task.pair:
        required = "two texts" if stored.task.pair else "one text"
        raise UsageError(f"an example of {stored.task.name} has {required}, got {count}")


def _print_prediction(stored: StoredModel, prediction: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        Console().print_json(data=prediction)
        return
    text = prediction["answer"] if stored.labels else f"{prediction['answer']:.3f}"
    if stored.labels:
        ranked = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])
        text += f"  ({', '.join(f'{name} {100 * value:.1f} %' for name, value in ranked)})"
    print_line(Console(), text)


def _text_columns(stored: StoredModel, table: FileTable) -> Sequence[str]:
    """Return the text columns of the task's own data, or all columns if there are as many as texts."""
    task = stored.task
    fields: Sequence[str] = getattr(task.reader, "fields", ()) if task else ()
    if fields and set(fields) <= set(table.columns):
        return fields
    if len(table.columns) == 1 + bool(task and task.pair):
        return table.columns
    raise UsageError(
        f"{table.path}: cannot tell which columns hold the texts; "
        f"pass --text COLUMN or --text COLUMN,COLUMN (columns: {', '.join(table.columns)})"
    )


def _added_columns(stored: StoredModel) -> list[str]:
    return ["answer", *(f"p({name})" for name in stored.labels)]


def _as_csv(
    stored: StoredModel, table: FileTable, predictions: Sequence[Mapping[str, Any]]
) -> bytes:
    """Return the rows, unchanged, with their predictions as further columns."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*table.columns, *_added_columns(stored)])
    for row, prediction in zip(table.rows, predictions, strict=True):
        value = prediction["answer"]
        writer.writerow(
            [
                *(row.get(name) for name in table.columns),
                escape_formula(value) if stored.labels else f"{value:.6g}",
                *(f"{prediction['probabilities'][name]:.6g}" for name in stored.labels),
            ]
        )
    return text.getvalue().encode("utf-8", "backslashreplace")
