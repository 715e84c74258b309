"""`bench export`: write a trained model to a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from harness.artefacts import (
    model_card,
    onnx_format,
    peft_format,
    restore,
    transformers_format,
)
from harness.artefacts.restore import StoredModel
from harness.atomic_write import atomic_folder
from harness.errors import UsageError
from harness.results import best_model
from harness.results.query import ResultQuery
from harness.scheduling.summary import print_line

if TYPE_CHECKING:
    from torch import Tensor


# Why a format cannot hold a model; empty if it can. The formats that most programs read come first.
OBSTACLES: Final[Mapping[str, Callable[[StoredModel], str]]] = {
    "transformers": transformers_format.obstacle,
    "peft": peft_format.obstacle,
    "safetensors": lambda _: "",
    "onnx": onnx_format.obstacle,
}

# The formats whose folders hold the backbone's weights too.
WHOLE: Final = {"transformers": transformers_format.write, "onnx": onnx_format.write}


def export_job(db: str, digest: str, folder: Path, form: str, at: str | None) -> None:
    """Write a job's tensors, their description and a model card to a new folder.

    Args:
        db: the database of results; not read for a folder.
        digest: the job's digest, or its beginning, or a folder that `load_folder` reads.
        folder: a folder that does not exist yet.
        form: `peft`, `transformers`, `safetensors` or `onnx`.
        at: the point of the simplex; None: its centre.

    Raises:
        UsageError: the format cannot hold this model, or there is no such job or point.
        Unavailable, CorruptData: the tensors are missing or were changed.
        CannotWrite: the folder exists or cannot be made.
    """
    stored = restore.load_any(db, digest, at)
    _check_format(stored, form)
    write_folder(stored, folder, form, at)


def export_best(query: ResultQuery, folder: Path, form: str | None, at: str | None) -> str:
    """Write the model with the best dev scores to a new folder, print why it was chosen, and return its digest.

    Args:
        query: the results to choose from.
        folder: a folder that does not exist yet.
        form: as in `export_job`; None: the first of them that holds the model.
        at: the point of the simplex; None: its centre.

    Raises:
        UsageError, Unavailable, CorruptData, CannotWrite: as `best_model.choose` and `export_job`.
    """
    choice = best_model.choose(query)
    stored = restore.load(query.db, choice.digest)
    form = form or _fitting(stored)[0]
    _check_format(stored, form)
    print_line(Console(), choice.reason)
    write_folder(stored, folder, form, at)
    return choice.digest


def _fitting(stored: StoredModel) -> list[str]:
    """Return the formats that hold a model."""
    return [form for form, obstacle in OBSTACLES.items() if not obstacle(stored)]


def _check_format(stored: StoredModel, form: str) -> None:
    if obstacle := OBSTACLES[form](stored):
        fitting = [f"--format {other}" for other in _fitting(stored)]
        raise UsageError(f"{obstacle}: use {' or '.join(fitting)}")


def write_folder(stored: StoredModel, folder: Path, form: str, at: str | None) -> None:
    """Write a model to a new folder in a format that can hold it; arguments are those of `export_job`.

    Raises:
        UsageError: there is no such point.
        CannotWrite: the folder exists or cannot be made.
    """
    tensors = stored.tensors_at(at)
    with atomic_folder(folder) as draft:
        if form in WHOLE:
            names = WHOLE[form](stored, tensors, draft)
        else:
            files = peft_format.files(stored, tensors) if form == "peft" else _own(stored, tensors)
            names = _write(files, draft)
            if form == "peft":
                transformers_format.write_tokenizer(stored, draft)
                names = sorted(path.name for path in draft.iterdir())
        (draft / "README.md").write_text(model_card.text(stored, form, at), "utf-8")
    print_line(Console(), f"wrote {', '.join([*names, 'README.md'])} to {folder}")


def _own(stored: StoredModel, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the trained tensors of any method with their description, which `restore.load_folder` reads."""
    entry = {key: value for key, value in vars(stored.entry).items() if key != "result"}
    # The tensors are those of one point: they have no vertices, and no products to mix.
    metadata = {**stored.metadata, "without_vertices": sorted(tensors), "products": {}}
    description = {"entry": entry, "metadata": metadata}
    return {restore.TENSORS: dict(tensors), restore.DESCRIPTION: description}


def _write(files: Mapping[str, Any], folder: Path) -> list[str]:
    """Write files of tensors and of JSON, and return their names."""
    from safetensors.torch import save_file

    for name, content in files.items():
        if name.endswith(".safetensors"):
            save_file(
                {key: tensor.float().contiguous() for key, tensor in content.items()},
                folder / name,
                metadata={"format": "pt"},
            )
        else:
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    return list(files)
