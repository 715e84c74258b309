"""What a backbone supports: whether each method can be attached to it, and how many parameters it would train.

A trial finds out: the method is attached, and two rows go through a forward and a backward pass.
Results are cached, so that a plan that was made before needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.cache import DiskCache
from harness.jobs import BackboneSpec, canonical
from harness.provenance import environment
from harness.redaction import error_message
from methods import Method, plugin_of

if TYPE_CHECKING:
    from harness.backbones.loading import Backbone

BROKEN = "it does not work on this backbone"
LONGEST = 128  # tokens of a row in the trial; longer rows would only cost time


class Support(NamedTuple):
    """The result of attaching a method."""

    refused: str = ""  # why the method cannot be attached; empty if it can
    trained: int = 0  # parameters
    stored: int = 0  # bytes of the tensors of the final model, without the backbone


def find(
    spec: BackboneSpec,
    candidates: Sequence[Method],
    max_length: int,
    progress: Callable[[str], None] = lambda _: None,
    *,
    writes: bool = False,
) -> list[Support]:
    """Return what a backbone supports of each method.

    Args:
        spec: The backbone.
        candidates: The methods.
        max_length: Tokens of a row; 0: as many as leave room for the tokens of a method.
        progress: Called with a text about what is being done.
        writes: Whether it is to write text; otherwise, it classifies.

    Raises:
        Unavailable: The backbone is not available.
    """
    purpose = ("writes",) if writes else ()
    known = DiskCache("support", *purpose, canonical(asdict(spec)), max_length, environment())
    backbone: Backbone | None = None
    supports = []
    for method in candidates:
        key = canonical(
            {"name": method.name, "version": method.resolved_version, "options": method.resolved()}
        )
        values = known.get(key)
        # The code of a plug-in may change while its version stays the same.
        if values is None or plugin_of(method):
            if backbone is None:
                progress(f"trying the methods on {spec.title}")
                backbone = _load(spec, max_length, writes=writes)
            values = list(_attach(backbone, method))
            # An unforeseen error may be temporary, such as a lack of memory: it is not cached.
            if not values[0].startswith(BROKEN):
                known.set(key, values)
        supports.append(Support(*values))
    known.save()
    return supports


def _load(spec: BackboneSpec, max_length: int, *, writes: bool) -> Backbone:
    from harness.backbones import checkpoints, loading

    checkpoints.locate_verified(spec.name, spec.revision)
    backbone = loading.load(spec, "cpu", writes=writes)
    fits = min(LONGEST, (backbone.architecture.positions or 2 * LONGEST) // 2)
    return replace(backbone, max_length=max_length or fits)


def _attach(backbone: Backbone, method: Method) -> Support:
    """Attach a method and run two rows forward and backward, each at its own point of a simplex."""
    from harness.outcome import slot_bytes
    from harness.streams import Streams
    from harness.training.optimiser import check_gradients

    room = backbone.architecture.positions
    if room is not None and backbone.max_length > room:
        return Support(
            refused=f"rows of {backbone.max_length} tokens need as many positions, "
            f"this backbone has {room}: --max-length {room}"
        )
    try:
        slots = method.slots(backbone)
    except ValueError as reason:
        return Support(refused=str(reason))
    streams = Streams(("support", 1, 0, 0))
    stored = sum(slot_bytes(slot.shape) for slot in slots)
    try:
        # A method that trains most of the backbone can be attached; a copy may not fit into memory.
        if stored > 2 * backbone.architecture.size:
            return Support(trained=stored // 4, stored=stored)
        trainable = method.trainable_parameters(slots, streams).to(dtype=backbone.trained_in)
        slots.install(trainable(trainable.sample_points(2, streams.generator("simplex"))))
        logits = backbone(_rows(backbone))
        if method.closed_form is None and method.trains:
            logits.square().sum().backward()
            check_gradients(
                {name: parameter.grad for name, parameter in trainable.named_parameters()}
            )
        return Support(
            trained=sum(parameter.numel() for parameter in trainable.parameters()), stored=stored
        )
    except ValueError as reason:
        return Support(refused=str(reason))
    except Exception as error:  # an error now is better than one in the middle of a study
        return Support(refused=f"{BROKEN} ({error_message(error).splitlines()[0]})")
    finally:
        slots.remove()


def _rows(backbone: Backbone) -> dict[str, Any]:
    """Return two rows of the greatest length, the second half padding."""
    import torch

    length = min(backbone.max_length, LONGEST)
    body = backbone.model.get_submodule(backbone.architecture.body)
    token = 5 % int(body.get_input_embeddings().num_embeddings)  # type: ignore[operator]
    mask = torch.ones(2, length, dtype=torch.long)
    mask[1, length // 2 :] = 0
    return {"input_ids": torch.full((2, length), token), "attention_mask": mask}
