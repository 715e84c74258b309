"""Load the trained tensors of a job from the files beside the ledger."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import methods
from harness.artefacts import tensor_files
from harness.errors import CorruptData, Unavailable, UsageError
from harness.jobs import BackboneSpec, Label, Recipe, recipe_from
from harness.ledger import Ledger, LedgerEntry
from harness.outcome import unpack_predictions
from harness.tasks import REGISTRY, Task
from methods import Method

if TYPE_CHECKING:
    from torch import Tensor

# The files of an exported model that this program reads itself.
TENSORS: Final = "model.safetensors"
DESCRIPTION: Final = "job.json"
# The key of the metadata of a model that was trained on all rows: how, and what to expect of it.
ALL_ROWS: Final = "all_rows"


@dataclass(frozen=True)
class StoredModel:
    """A trained model: its job's entry in the ledger, its tensors and their metadata."""

    entry: LedgerEntry
    tensors: Mapping[str, Tensor]  # [vertices, ...], or without a vertex axis
    metadata: Mapping[str, Any]
    predictions: Sequence[Label] = ()  # one per test example, at the centroid of the simplex
    # The labels of each test set by the suffix of its metrics, in the order of the predictions; empty for results
    # of versions that did not store them.
    test_labels: Mapping[str, Sequence[Label]] = field(default_factory=dict)

    @property
    def task(self) -> Task | None:
        """The task; None for a task from the user's files, whose paths the ledger does not store."""
        return REGISTRY.get(self.entry.task)

    @property
    def backbone(self) -> BackboneSpec:
        """The backbone of the job."""
        return BackboneSpec(**self.entry.setting["backbone"])

    @property
    def recipe(self) -> Recipe:
        """The recipe of the job."""
        return recipe_from(self.entry.setting["recipe"])

    @cached_property
    def method(self) -> Method:
        """The method of the job.

        Raises:
            Unavailable: its plug-in is not installed, is broken or is a different one.
        """
        method = self.entry.setting["method"]
        try:
            return methods.rebuild(
                method["name"], method["options"], method.get("distribution", "")
            )
        except ValueError as error:
            raise Unavailable(str(error)) from error

    @property
    def base_method(self) -> Method:
        """The method; of a simplex, the one whose models are its vertices."""
        return getattr(self.method, "base", self.method)

    @property
    def labels(self) -> list[str]:
        """The classes; empty for a regression."""
        return list(self.entry.setting["task"]["labels"])

    @property
    def multilabel(self) -> bool:
        """Whether a row has any number of the classes."""
        return bool(self.entry.setting["task"].get("multilabel", False))

    @property
    def writes(self) -> bool:
        """Whether the model writes text; otherwise, it predicts classes or a number."""
        return bool(self.entry.setting["task"].get("text", False))

    @property
    def texts(self) -> int | None:
        """The number of texts of an example; None if the tensors of a user's task are older than this number."""
        return 1 + self.task.pair if self.task else self.metadata.get("texts")

    @property
    def columns(self) -> list[str]:
        """The columns of the texts in the task's data; empty if they are not known."""
        known = getattr(self.task.reader, "fields", ()) if self.task else ()
        return list(known or self.metadata.get("columns", ()))

    @property
    def all_rows(self) -> Mapping[str, Any] | None:
        """How the model was trained on all rows, and what to expect of it; None for the model of a job."""
        return self.metadata.get(ALL_ROWS)

    @property
    def vertices(self) -> int:
        """Number of vertices; 1 if no tensor has a vertex axis."""
        shared = self.metadata["without_vertices"]
        return next((len(tensor) for name, tensor in self.tensors.items() if name not in shared), 1)

    def tensors_at(self, at: str | None) -> dict[str, Tensor]:
        """Return the slots' tensors at one point of the simplex, without the vertex axis.

        Args:
            at: a vertex's number (`3`), weights (`.5,.5,0`), or None for the centroid.

        Raises:
            UsageError: there is no such vertex, or the weights are not those of a point.
        """
        import torch

        from methods.core.parameters import mix

        shared = self.metadata["without_vertices"]
        products = self.metadata.get("products", {})
        vertices = {name: tensor for name, tensor in self.tensors.items() if name not in shared}
        weights = torch.tensor(
            [weights_of(at, self.vertices)], dtype=torch.float64
        )  # [1, vertices]
        mixed = mix(vertices, dict.fromkeys(vertices, None if at is None else weights), products)
        if at is not None:  # `mix` adds a row axis, except to the first factor A of a product
            mixed = {
                name: tensor if name in products else tensor[0] for name, tensor in mixed.items()
            }
        return mixed | {name: self.tensors[name] for name in shared}


def weights_of(at: str | None, vertices: int) -> Sequence[float]:
    """Return one weight per vertex for a point of the simplex, given as in `StoredModel.tensors_at`.

    Raises:
        UsageError: there is no such vertex, or the weights are not those of a point.
    """
    if at is None:
        return [1 / vertices] * vertices
    if at.strip().isdecimal():
        number = int(at)
        if not 1 <= number <= vertices:
            raise UsageError(f"--at: there is no vertex {number}; there are 1 to {vertices}")
        return [float(vertex == number - 1) for vertex in range(vertices)]
    try:
        weights = [float(part) for part in at.split(",")]
    except ValueError:
        raise UsageError(
            f"--at requires a vertex's number or weights separated by commas, got {at!r}"
        ) from None
    valid = all(0 <= weight <= 1 for weight in weights) and abs(sum(weights) - 1) <= 1e-6
    if len(weights) != vertices or not valid:
        raise UsageError(f"--at requires {vertices} weights from 0 to 1 that sum to 1, got {at!r}")
    return weights


def find_entry(ledger: Ledger, digest: str) -> LedgerEntry:
    """Return the ledger's entry of the only job whose digest starts with `digest`.

    Raises:
        UsageError: there is no such job, or there are several.
    """
    entries = ledger.entries(digest.lower())
    if len(entries) != 1:
        problem = (
            f"{len(entries)} jobs start with {digest!r}: give more digits"
            if entries
            else f"no job starts with {digest!r}"
        )
        raise UsageError(f"{problem} (`bench show` lists all jobs)")
    return entries[0]


def is_model(folder: Path) -> bool:
    """Return whether a folder has the files that `load_folder` reads."""
    return all((folder / name).is_file() for name in (TENSORS, DESCRIPTION))


def load_folder(folder: Path) -> StoredModel:
    """Load a model from a folder that `bench export --format safetensors` wrote; no ledger is needed.

    Raises:
        UsageError: the folder holds no such model.
        CorruptData: its files cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not is_model(folder):
        raise UsageError(
            f"{folder} has no {TENSORS} and {DESCRIPTION}, which `bench export DIGEST FOLDER --format safetensors` "
            "writes"
        )
    try:
        described = json.loads((folder / DESCRIPTION).read_text("utf-8"))
        entry = LedgerEntry(**described["entry"], result=None)
        return StoredModel(entry, load_file(folder / TENSORS), described["metadata"])
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CorruptData(
            f"{folder} cannot be read ({type(error).__name__}): export the model again"
        ) from error


def load_any(db: str, name: str, at: str | None = None) -> StoredModel:
    """Load a model from a folder of that name, if there is one, or else that of a job with this digest.

    Args:
        db: path or URL of the database.
        name: the folder, or the first digits of the digest.
        at: the point of the simplex that is asked for.

    Raises:
        UsageError: a point is asked for, and the folder holds one; or there is no such folder or job.
        Unavailable, CorruptData: as `load_folder` and `load`.
    """
    if Path(name).is_dir():
        if at is not None:
            raise UsageError(
                f"{name} holds one point: choose it when it is exported from a job (`bench export --at`)"
            )
        return load_folder(Path(name))
    if not re.fullmatch("[0-9a-fA-F]+", name):
        raise UsageError(f"there is no folder {name}, and a digest has only digits and a to f")
    return load(db, name)


def load(db: str, digest: str) -> StoredModel:
    """Load the trained model of a finished job.

    Args:
        db: path or URL of the database.
        digest: the first digits of the job's digest.

    Raises:
        UsageError: there is no such job, or there are several.
        Unavailable: the job is not done, or its tensors were not kept or are missing.
        CorruptData: the file with the tensors was changed.
    """
    with Ledger(db) as ledger:
        entry = find_entry(ledger, digest)
        blobs = ledger.blobs(entry.digest)
    if entry.result is None:
        raise Unavailable(
            f"{entry.digest[:12]} is {entry.state}, not done: it has no trained tensors"
        )
    if entry.result["artefact"] is None:
        raise Unavailable(
            f"the tensors of {entry.digest[:12]} were not kept: `bench run --keep all` also keeps whole backbones"
        )
    tensors, metadata = tensor_files.read(
        tensor_files.folder(db), entry.digest, entry.result["artefact"]
    )
    predictions = unpack_predictions(blobs["predictions"]) if "predictions" in blobs else ()
    test_labels = {
        name.removeprefix("labels").removeprefix("/"): unpack_predictions(data)
        for name, data in sorted(blobs.items())
        if name.partition("/")[0] == "labels"
    }
    return StoredModel(entry, tensors, metadata, predictions, test_labels)
