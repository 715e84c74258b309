"""`bench predict`: apply a trained model to a text, to a pair of texts or to the rows of a file."""

import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from harness.artefacts import restore
from harness.artefacts.restore import StoredModel
from harness.atomic_write import write_output
from harness.errors import UsageError
from harness.scheduling.summary import print_line
from harness.tasks.files.cells import as_label, as_number, column_names, is_blank, text_problem
from harness.tasks.files.delimiters import delimiter_named
from harness.tasks.files.file_table import FileTable, Reading
from harness.tasks.files.problems import Problems
from harness.tasks.files.table_files import read_bytes, read_table
from harness.training.predictor import Predictions, Predictor, check_count
from harness.wording import escaped, listed, plural

_FORMULA: Final = re.compile(r"[\s'\0]*[=+\-@\uff1d\uff0b\uff0d\uff20]")


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """What to predict: the class or value of one example's texts, or of every row of a file."""

    texts: Sequence[str]
    file: Path | None
    columns: str | None  # the text columns of the file, separated by commas
    output: Path | None
    delimiter: str | None = None  # of the file; None: recognise it
    encoding: str | None = None  # of the file; None: recognise it
    force: bool = False  # whether an output that exists is replaced
    model_column: str | None = None  # the column of the file that names the model of each row


def predict_job(
    db: str, digest: str, request: PredictRequest, at: str | None, *, as_json: bool
) -> None:
    """Print the prediction for one example, or write a file's rows with their predictions.

    Args:
        db: the database of results; not read for a folder.
        digest: the job's digest, or its beginning, or a folder with an exported model; with a model column, a folder
            of such folders.
        request: the texts, or the file.
        at: the point of the simplex; None: its centre, or the point that was exported.
        as_json: whether a single prediction is printed as JSON.

    Raises:
        UsageError: the options contradict each other, the number of texts is not the task's, or a
            row's text cannot be read.
        Unavailable, CorruptData: the tensors are missing or were changed.
        CannotWrite: the output cannot be written.
    """
    _check(request, as_json=as_json)
    if request.file is None:
        stored = restore.load_any(db, digest, at)
        check_count(stored, len(request.texts))
        (prediction,) = predict_texts(stored, [tuple(request.texts)], at)
        _print_prediction(stored, prediction, as_json=as_json)
        return
    if request.model_column is None:
        models = {"": restore.load_any(db, digest, at)}
        table = _read(request, models[""].columns)
        names: list[str] = [""] * len(table.rows)
    else:
        folders = _model_folders(Path(digest))
        table = _read(request, ())
        names = _model_names(table, request.model_column, folders)
        # Without a name in any row, one of them says which columns the answers have.
        used = dict.fromkeys(name for name in names if name) or [next(iter(folders))]
        models = {name: restore.load_folder(folders[name]) for name in used}
    stored = next(iter(models.values()))
    table, texts = read_texts(stored, request, table)
    if request.model_column is not None:
        texts = [row if name else None for row, name in zip(texts, names, strict=True)]
    log = Console(stderr=True)
    for note in (*table.notes, *_unanswered(table, texts, request)):
        print_line(log, f"note: {note}")
    examples = [(row, name) for row, name in zip(texts, names, strict=True) if row is not None]
    predictions = Predictions([])
    if examples:
        predictions = Predictor(models, at).predict(
            [row for row, _ in examples], [name for _, name in examples]
        )
    answers = iter(_as_dictionaries(stored, predictions))
    content = _as_csv(stored, table, [None if row is None else next(answers) for row in texts])
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
        A dictionary for each example: `answer` is the class name, the list of the names of a multilabel
        task, the value, or the text that the model writes. For classes, `probabilities` maps each class
        name to its probability; of a multilabel task, the answer has the classes with a probability above
        `threshold`.

    Raises:
        UsageError: an example has another number of texts than those of the task.
    """
    return _as_dictionaries(stored, Predictor({"": stored}, at).predict(texts))


def _as_dictionaries(stored: StoredModel, predictions: Predictions) -> list[dict[str, Any]]:
    """Return one dictionary for each example: see `predict_texts`."""
    dictionaries: list[dict[str, Any]] = [{"answer": answer} for answer in predictions.answers]
    if predictions.probabilities is not None:
        for one, row in zip(dictionaries, predictions.probabilities.tolist(), strict=True):
            one["probabilities"] = dict(zip(stored.labels, row, strict=True))
    if predictions.thresholds:
        for one, threshold in zip(dictionaries, predictions.thresholds, strict=True):
            one["threshold"] = threshold
    return dictionaries


def _read(request: PredictRequest, columns: Sequence[str]) -> FileTable:
    """Return the table of the file; `columns` are those of the texts, as far as they are known.

    Raises:
        UsageError: the file cannot be read.
    """
    path, problems = request.file, Problems()
    assert path is not None
    wanted = column_names(request.columns) if request.columns is not None else columns
    more = [] if request.model_column is None else [request.model_column]
    reading = Reading(
        needed=(*wanted, *more),
        delimiter=delimiter_named(request.delimiter) if request.delimiter is not None else None,
        encoding=request.encoding,
    )
    table = read_table(path, read_bytes(path), problems, reading)
    problems.raise_if_any()
    return replace(table, notes=(*table.notes, *problems.notes))


def read_texts(
    stored: StoredModel, request: PredictRequest, table: FileTable
) -> tuple[FileTable, list[tuple[str, ...] | None]]:
    """Return a file's table, with notes, and the texts of each row; None for a row that lacks one.

    Args:
        stored: the trained model.
        request: names the text columns, unless they are those of the model's task.
        table: that of the file.

    Raises:
        UsageError: the text columns are ambiguous, or a text cannot be used.
    """
    path, problems = request.file, Problems()
    wanted = tuple(column_names(request.columns)) if request.columns is not None else ()
    names = wanted or _text_columns(stored, table)
    if stored.columns and not wanted and tuple(names) != tuple(stored.columns):
        taken_as = listed(map(repr, names))
        note = (
            f"the first line is taken as the header, and the text is read from {taken_as}; the model was trained "
            f"on {listed(stored.columns)}"
        )
        table = replace(table, notes=(*table.notes, f"{table.name}: {note}"))
    table.lacks(names, problems)
    if len(set(names)) < len(names):
        problems.add(f"--text names the column {names[0]!r} twice")
    if taken := [name for name in _added_columns(stored) if name in table.columns]:
        problems.add(
            f"{path} already has a column {taken[0]!r}, where a prediction would go: rename it"
        )
    problems.raise_if_any()
    check_count(stored, len(names))
    texts: list[tuple[str, ...] | None] = []
    for position, row in zip(table.positions, table.rows, strict=True):
        found = [row.get(name) for name in names]
        blank = any(text is None or (isinstance(text, str) and is_blank(text)) for text in found)
        if blank or table.repeats_header(row, table.columns):
            texts.append(None)
        else:
            read = [table.text(row, name, position, problems) for name in names]
            texts.append(tuple(text for text in read if text is not None))
    problems.raise_if_any()
    return table, texts


def _model_folders(parent: Path) -> dict[str, Path]:
    """Return the folders with a model in a folder, by name.

    Raises:
        UsageError: there is none.
    """
    folders = {}
    if parent.is_dir():
        folders = {one.name: one for one in sorted(parent.iterdir()) if restore.is_model(one)}
    if not folders:
        raise UsageError(
            f"{parent} has no folders with models: --model-column names folders of `bench fit` in one folder"
        )
    return folders


def _model_names(table: FileTable, column: str, known: Mapping[str, Path]) -> list[str]:
    """Return the name of the model that answers each row; empty if the row names none.

    Raises:
        UsageError: there is no such column, or no model of a name.
    """
    problems = Problems()
    table.lacks([column], problems)
    problems.raise_if_any()
    names = [
        "" if table.repeats_header(row, table.columns) else as_label(row.get(column))
        for row in table.rows
    ]
    for position, name in zip(table.positions, names, strict=True):
        if name and name not in known:
            problems.add(f"{position}: no model {name!r}; there are {listed(known)}")
    problems.raise_if_any()
    return names


def _unanswered(
    table: FileTable, texts: Sequence[tuple[str, ...] | None], request: PredictRequest
) -> Iterator[str]:
    """Yield a sentence on the rows that get no answer."""
    without = "text" if request.model_column is None else f"text, without {request.model_column}"
    rows = [where for where, row in zip(table.positions, texts, strict=True) if row is None]
    if rows:
        more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
        yield (
            f"{table.name}: {plural(len(rows), 'row')} without {without} or repeating the header "
            f"({', '.join(rows[:3])}{more}): the answer is empty"
        )


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
    of_file = ("columns", "output", "delimiter", "encoding", "model_column")
    if file is None and any(getattr(request, name) is not None for name in of_file):
        problems.append(
            "--text, --output, --delimiter, --encoding and --model-column require --csv FILE"
        )
    if request.columns is not None and not all(column_names(request.columns)):
        problems.append(f"--text names no column: {request.columns!r}")
    if file is not None and as_json:
        problems.append("--json requires texts: predictions for a file are written as CSV")
    if output is not None and output.suffix.lower() != ".csv":
        problems.append(f"--output must end in .csv, got {output}")
    if file is not None and output is not None and output.resolve() == file.resolve():
        problems.append(f"--output {output} is the file of --csv: name another file")
    elif output is not None and output.exists() and not request.force:
        problems.append(f"--output {output} exists: name another file, or add --force")
    if problems:
        raise UsageError(*problems)


def _print_prediction(stored: StoredModel, prediction: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        Console().print_json(data=prediction)
        return
    answer = prediction["answer"]
    if stored.multilabel:
        text = ", ".join(name if "," not in name else repr(name) for name in answer)
        text = text or "none of the classes"
    else:
        text = answer if stored.labels or stored.writes else f"{answer:.6g}"
    if stored.labels:
        ranked = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])
        shown = ", ".join(f"{name} {100 * value:.1f} %" for name, value in ranked)
        above = f"threshold {100 * prediction['threshold']:.1f} %: " if stored.multilabel else ""
        text += f"  ({above}{shown})"
    print_line(Console(), escaped(text))


def _text_columns(stored: StoredModel, table: FileTable) -> Sequence[str]:
    """Return the text columns of the task's own data, or all columns if there are as many as texts."""
    if stored.columns and set(stored.columns) <= set(table.columns):
        return stored.columns
    if len(table.columns) == (stored.texts or 1):
        return table.columns
    trained = f" (the model was trained on {listed(stored.columns)})" if stored.columns else ""
    raise UsageError(
        f"{escaped(str(table.path))}: cannot tell which columns hold the texts{trained}; "
        f"pass --text COLUMN or --text COLUMN,COLUMN (columns: {listed(table.columns)})"
    )


def _added_columns(stored: StoredModel) -> list[str]:
    return ["answer", *(f"p({name})" for name in stored.labels)]


def _as_csv(
    stored: StoredModel, table: FileTable, predictions: Sequence[Mapping[str, Any] | None]
) -> bytes:
    """Return the rows, unchanged, with their predictions as further columns."""
    added = _added_columns(stored)
    rows = [[*table.columns, *added]]
    for row, prediction in zip(table.rows, predictions, strict=True):
        cells = [_cell(row.get(name)) for name in table.columns]
        answer = [""] * len(added) if prediction is None else _answer_cells(stored, prediction)
        rows.append([*cells, *answer])
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for cells in rows:
        # Before Python 3.13, the library does not quote a lone carriage return, which ends a row when it is read.
        (quoted if any("\r" in cell for cell in cells) else plain).writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _answer_cells(stored: StoredModel, prediction: Mapping[str, Any]) -> list[str]:
    value = prediction["answer"]
    if stored.writes:
        return [escape_formula(value)]
    if not stored.labels:
        return [f"{value:.9g}"]
    probabilities = [f"{prediction['probabilities'][name]:.6g}" for name in stored.labels]
    return [escape_formula(_named(value)), *probabilities]


def _named(answer: str | Sequence[str]) -> str:
    """Return a class, or all classes of a row as a JSON list, in which no comma of a name is ambiguous."""
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def _cell(value: object) -> str:
    """Return a value of JSON or Parquet as it would be written in a CSV file; a text stays as it is."""
    if isinstance(value, str):
        return value
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, bool | int | float | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
