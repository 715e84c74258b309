"""What `export` and `predict` do with a trained model."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.artefacts import model_card, peft_format, restore
from harness.artefacts.restore import Stored
from harness.errors import CannotWrite, UsageError
from harness.tasks import own
from harness.tasks.base import Row, Task
from harness.tasks.sheets import Problems, Sheet, as_number, read_bytes, read_sheet

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]

_FORMULA: Final = re.compile(r"[\s'\0]*[=+\-@\uff1d\uff0b\uff0d\uff20]")


def export_job(db: str, digest: str, folder: Path, form: str, at: str | None) -> None:
    """`bench export`.

    Raises:
        UsageError: the format cannot hold this model, or the point does not exist.
        CannotWrite: the folder exists or cannot be made.
    """
    from rich.console import Console
    from safetensors.torch import save_file

    one = restore.load(db, digest)
    tensors = one.point(at)
    files = (
        peft_format.files(one, tensors)
        if form == "peft"
        else {"model.safetensors": dict(tensors), "job.json": _job(one)}
    )
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be made: {error.strerror}") from error
    for name, content in files.items():
        if name.endswith(".safetensors"):
            flat = {key: tensor.float().contiguous() for key, tensor in content.items()}
            save_file(flat, folder / name, metadata={"format": "pt"})
        else:
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    (folder / "README.md").write_text(model_card.text(one, form, at), "utf-8")
    Console().print(
        f"{folder}: {', '.join([*files, 'README.md'])}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _job(one: Stored) -> dict[str, Any]:
    return {"digest": one.entry.digest, "label": one.entry.label, "labels": one.labels, **one.about}


# -- predict
# -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to answer: one row's texts, or the rows of a file."""

    texts: Sequence[str]
    sheet: Path | None
    columns: str | None  # of the sheet, separated by commas
    output: Path | None


def predict_job(db: str, digest: str, question: Question, at: str | None, *, as_json: bool) -> None:
    """`bench predict`.

    Raises:
        UsageError: the question is none, the number of texts is not that of the task, or rows have
            no text.
        CannotWrite: the answers cannot be written.
    """
    _check(question, as_json=as_json)
    one = restore.load(db, digest)
    if question.sheet is None:
        _check_count(one, len(question.texts))
        _say(one, answer(one, [tuple(question.texts)], at)[0], as_json=as_json)
    else:
        sheet, texts = rows_of(one, question.sheet, question.columns)
        _write(_answered(one, sheet, answer(one, texts, at)), question.output)


def _check(question: Question, *, as_json: bool) -> None:
    sheet, output = question.sheet, question.output
    problems = []
    if bool(question.texts) == (sheet is not None):
        problems.append(
            "give one text, the two texts of a pair, or --csv FILE"
            + (", not both" if sheet else "")
        )
    if sheet is None and (question.columns is not None or output is not None):
        problems.append("--text and --output go with --csv FILE")
    if sheet is not None and as_json:
        problems.append("--json goes with texts; the answers to a file's rows are written as CSV")
    if output is not None and output.suffix.lower() != ".csv":
        problems.append(f"the answers are written as CSV: --output must end in .csv, got {output}")
    if sheet is not None and output is not None and output.resolve() == sheet.resolve():
        problems.append(f"{output} is the file with the rows: name another one for the answers")
    if problems:
        raise UsageError(*problems)


def _check_count(one: Stored, count: int) -> None:
    """Refuse too many or too few texts, as far as the task is known."""
    if one.task is not None and count != 1 + one.task.pair:
        raise UsageError(
            f"{one.task.name} has {'two texts' if one.task.pair else 'one text'} a row, got {count}"
        )


def _say(one: Stored, found: Mapping[str, Any], *, as_json: bool) -> None:
    from rich.console import Console

    if as_json:
        Console().print_json(json.dumps(found))
    elif one.labels:
        shown = ", ".join(
            f"{name} {100 * p:.1f} %"
            for name, p in sorted(found["probabilities"].items(), key=lambda item: -item[1])
        )
        Console().print(
            f"{found['answer']}  ({shown})", markup=False, highlight=False, soft_wrap=True
        )
    else:
        Console().print(f"{found['answer']:.3f}", highlight=False)


def rows_of(one: Stored, path: Path, asked: str | None) -> tuple[Sheet, list[tuple[str, ...]]]:
    """A file's table and the texts of its rows, from the columns asked for or those of the task.

    Raises:
        UsageError: the file cannot be read, it is not certain which columns are meant, or rows have
            no text.
    """
    problems = Problems()
    sheet = read_sheet(path, read_bytes(path), problems)
    problems.done()
    columns = (
        [name.strip() for name in asked.split(",")]
        if asked is not None
        else _text_columns(one, sheet)
    )
    own.columns_of(sheet, columns, problems)
    if taken := [name for name in _added(one) if name in sheet.columns]:
        problems.add(f"{path} has a column {taken[0]!r} already: rename it, the answers go there")
    problems.done()
    _check_count(one, len(columns))
    rows = [
        [own.text_of(row, name, sheet.at(number), problems) for name in columns]
        for number, row in enumerate(sheet.rows)
    ]
    problems.done()
    return sheet, [tuple(text for text in row if text is not None) for row in rows]


def _text_columns(one: Stored, sheet: Sheet) -> Sequence[str]:
    """The columns that the task's own data have; or all, where there are no more than it has texts."""
    named: Sequence[str] = getattr(one.task.reader, "fields", ()) if one.task else ()
    if named and set(named) <= set(sheet.columns):
        return named
    if len(sheet.columns) == 1 + bool(one.task and one.task.pair):
        return sheet.columns
    raise UsageError(
        f"{sheet.path}: which columns hold the texts? Say --text COLUMN[,COLUMN]; there are {', '.join(sheet.columns)}"
    )


def _added(one: Stored) -> list[str]:
    return ["answer", *(f"p({name})" for name in one.labels)]


def _answered(one: Stored, sheet: Sheet, found: Sequence[Mapping[str, Any]]) -> bytes:
    """The rows as they are with their answers added, as CSV. The user's own cells stay as they are, formulas too."""
    text = io.StringIO(newline="")
    out = csv.writer(text, lineterminator="\n")
    out.writerow([*sheet.columns, *_added(one)])
    for row, said in zip(sheet.rows, found, strict=True):
        chances = [f"{said['probabilities'][name]:.6g}" for name in one.labels]
        answered = harmless(said["answer"]) if one.labels else f"{said['answer']:.6g}"
        out.writerow([*(row.get(name) for name in sheet.columns), answered, *chances])
    return text.getvalue().encode("utf-8", "backslashreplace")


def harmless(name: str) -> str:
    """A class's name that no spreadsheet takes for a formula, by the rule of the reports; numbers stay numbers."""
    return f"'{name}" if _FORMULA.match(name) and as_number(name) is None else name


def _write(content: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(content)
        return
    draft = output.with_name(f".{output.name}.{os.getpid()}.draft")
    try:
        draft.write_bytes(content)
        draft.replace(output)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise CannotWrite(f"{output} cannot be written: {error.strerror}") from error


def answer(
    one: Stored, texts: Sequence[tuple[str, ...]], at: str | None = None
) -> list[dict[str, Any]]:
    """What a trained model says of each text or pair: the answer, and for classes their probabilities.

    Raises:
        UsageError: the number of texts is not that of the task.
    """
    from harness.backbones import loading
    from harness.training import batching
    from harness.training.adapted_model import Adapted, predict
    from harness.training.labels import Target

    backbone = replace(
        loading.load(one.backbone, "cpu"),
        outputs=len(one.labels) or 1,
        max_length=one.recipe.max_length,
    )
    if {len(text) for text in texts} - {1, 2}:
        raise UsageError("give one text, or the two texts of a pair")
    slots = one.method.slots(backbone)
    adapted = Adapted(backbone, slots, None)  # type: ignore[arg-type]  # nothing is trained here
    rows = batching.encode(backbone, [Row(text, 0) for text in texts])
    logits = predict(adapted, lambda _: one.point(at), rows)
    slots.remove()
    task = Task(name="", title="", reader=None, labels=tuple(one.labels), metrics=(), pair=False)  # type: ignore[arg-type]
    found = Target(task, **one.about["scale"]).predictions(logits)
    if not one.labels:
        return [{"answer": value} for value in found]
    chances = logits.softmax(1).tolist()
    return [
        {
            "answer": one.labels[int(number)],
            "probabilities": dict(zip(one.labels, row, strict=True)),
        }
        for number, row in zip(found, chances, strict=True)
    ]
