"""A job's trained tensors, back from beside the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import methods
from harness.artefacts import tensor_files
from harness.errors import Unavailable, UsageError
from harness.jobs import BackboneSpec, Recipe, recipe_from
from harness.ledger import Entry, Ledger
from harness.outcome import unpack_predictions
from harness.tasks import REGISTRY, Task
from methods import Method

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Stored:
    """What a job left: its row in the ledger, its tensors, and what is known about them."""

    entry: Entry
    tensors: Mapping[str, Tensor]  # [vertices, ...], or as they are in the backbone
    about: Mapping[str, Any]
    predictions: Sequence[float] = ()  # for the test rows in their order, at the centre

    @property
    def task(self) -> Task | None:
        """Its task; None for one of the user's own files, which the ledger does not name."""
        return REGISTRY.get(self.entry.task)

    @property
    def backbone(self) -> BackboneSpec:
        """The backbone that it was trained on."""
        return BackboneSpec(**self.entry.setting["backbone"])

    @property
    def recipe(self) -> Recipe:
        """The recipe that it was trained by."""
        return recipe_from(self.entry.setting["recipe"])

    @cached_property
    def method(self) -> Method:
        """The method that it was trained by.

        Raises:
            Unavailable: its plug-in is missing here, broken or another one.
        """
        said = self.entry.setting["method"]
        try:
            return methods.rebuild(said["name"], said["options"], said.get("distribution", ""))
        except ValueError as error:
            raise Unavailable(str(error)) from error

    @property
    def labels(self) -> list[str]:
        """The classes; empty for a regression."""
        return list(self.entry.setting["task"]["labels"])

    @property
    def vertices(self) -> int:
        """How many vertices the tensors have."""
        return next(
            (
                len(t)
                for name, t in self.tensors.items()
                if name not in self.about["without_vertices"]
            ),
            1,
        )

    def point(self, at: str | None) -> dict[str, Tensor]:
        """The slots' tensors at the centre, at a vertex (`3`) or at weights (`.5,.5,0`).

        Raises:
            UsageError: there is no such vertex, or the weights do not fit.
        """
        import torch

        from methods.core.parameters import mix

        fixed = self.about["without_vertices"]
        corners = {name: tensor for name, tensor in self.tensors.items() if name not in fixed}
        weights = torch.tensor(
            [weights_of(at, self.vertices)], dtype=torch.float64
        )  # [1, vertices]
        products = self.about.get("products", {})
        mixed = mix(corners, dict.fromkeys(corners, None if at is None else weights), products)
        if at is not None:  # all but the first factors of products carry a row axis then
            mixed = {
                name: tensor if name in products else tensor[0] for name, tensor in mixed.items()
            }
        return mixed | {name: self.tensors[name] for name in fixed}


def weights_of(at: str | None, vertices: int) -> Sequence[float]:
    """Weights for the vertices.

    Raises:
        UsageError: the text names no point of the simplex.
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
            f"--at wants a vertex's number or weights separated by commas, got {at!r}"
        ) from None
    if (
        len(weights) != vertices
        or abs(sum(weights) - 1) > 1e-6
        or not all(0 <= weight <= 1 for weight in weights)
    ):
        raise UsageError(f"--at wants {vertices} weights from 0 to 1 that sum to 1, got {at!r}")
    return weights


def find(ledger: Ledger, digest: str) -> Entry:
    """The one job whose digest begins so.

    Raises:
        UsageError: there is none, or there are several.
    """
    found = ledger.entries(digest.lower())
    if len(found) != 1:
        several = (
            f"{len(found)} jobs begin with {digest!r}: give more digits"
            if found
            else f"no job begins with {digest!r}"
        )
        raise UsageError(f"{several} (`bench show` lists them)")
    return found[0]


def load(db: str, digest: str) -> Stored:
    """The tensors of a finished job.

    Raises:
        UsageError: there is no such job. Unavailable: it has no tensors. CorruptData: they were
            changed.
    """
    with Ledger(db) as ledger:
        entry = find(ledger, digest)
        blobs = ledger.blobs(entry.digest)
    if entry.result is None:
        raise Unavailable(
            f"{entry.digest[:12]} is {entry.state}, not done: there are no trained tensors"
        )
    if entry.result["artefact"] is None:
        raise Unavailable(
            f"the tensors of {entry.digest[:12]} were not kept: `bench run --keep all` keeps whole backbones as well"
        )
    where = tensor_files.folder(db)
    tensors, about = tensor_files.read(where, entry.digest, entry.result["artefact"])
    return Stored(
        entry,
        tensors,
        about,
        unpack_predictions(blobs["predictions"]) if "predictions" in blobs else (),
    )
