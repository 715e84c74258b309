"""What a backbone allows: whether each method can be attached to it, and how many numbers it would train.

Found by doing it: the method puts its slots in, starts, and two rows go through and back. What was
found is kept, so a plan that was made before needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.cache import Kept
from harness.jobs import BackboneSpec, canonical
from harness.provenance import environment
from harness.redaction import told
from methods import Method, plugin_of

if TYPE_CHECKING:
    from harness.backbones.loading import Backbone

BROKEN = "it does not work on this backbone"
LONGEST = 128  # tokens in the rows of the trial: longer ones would only take longer


class Support(NamedTuple):
    """What came of attaching a method."""

    refused: str = ""  # why it cannot be attached; empty if it can
    trained: int = 0  # parameters
    stored: int = 0  # bytes to keep the model that is used in the end, without the backbone


def find(
    spec: BackboneSpec,
    wanted: Sequence[Method],
    max_length: int,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Support]:
    """What a backbone allows of each method.

    Args:
        spec: the backbone.
        wanted: methods.
        max_length: tokens a row; 0: so many as leave room for a method's own.
        progress: told in words what is being done.

    Raises:
        Unavailable: the backbone cannot be had.
    """
    known = Kept("support", canonical(asdict(spec)), max_length, environment())
    backbone: Backbone | None = None
    found = []
    for method in wanted:
        key = canonical(
            {"name": method.name, "version": method.resolved_version, "options": method.resolved()}
        )
        kept = known.get(key)
        if kept is None or plugin_of(
            method
        ):  # whose code changes without notice while it is written
            if backbone is None:
                progress(f"looking at {spec.name}")
                backbone = _load(spec, max_length)
            kept = list(_attach(backbone, method))
            if not kept[0].startswith(
                BROKEN
            ):  # it may have been the moment: no memory was left, or a package half installed
                known.set(key, kept)
        found.append(Support(*kept))
    known.save()
    return found


def _load(spec: BackboneSpec, max_length: int) -> Backbone:
    from dataclasses import replace

    from harness.backbones import checkpoints, loading

    checkpoints.intact(spec.name, spec.revision)
    backbone = loading.load(spec, "cpu")
    fits = min(LONGEST, (backbone.architecture.positions or 2 * LONGEST) // 2)
    return replace(backbone, max_length=max_length or fits)


def _attach(backbone: Backbone, method: Method) -> Support:
    """Attach a method and let two rows through and back, each at its own point of a simplex."""
    from harness.outcome import slot_bytes
    from harness.streams import Streams
    from harness.training.optimiser import see_gradients

    room = backbone.architecture.positions
    if room is not None and backbone.max_length > room:
        return Support(
            refused=f"rows of {backbone.max_length} tokens need as many positions, there are {room}: --max-length {room}"
        )
    try:
        slots = method.slots(backbone)
    except ValueError as reason:
        return Support(refused=str(reason))
    streams = Streams(("support", 1, 0, 0))
    stored = sum(slot_bytes(slot.shape) for slot in slots)
    try:
        if (
            stored > 2 * backbone.architecture.size
        ):  # most of the backbone itself: it fits, and a copy may not
            return Support(trained=stored // 4, stored=stored)
        trainable = method.trainable_parameters(slots, streams).to(dtype=backbone.trained_in)
        slots.install(trainable(trainable.weights(2, streams.generator("simplex"))))
        logits = backbone(_rows(backbone))
        if method.closed_form is None:
            logits.square().sum().backward()
            see_gradients({name: parameter.grad for name, parameter in trainable.named_parameters()})
        return Support(
            trained=sum(parameter.numel() for parameter in trainable.parameters()), stored=stored
        )
    except ValueError as reason:
        return Support(refused=str(reason))
    except Exception as error:  # whatever it was, better now than in the middle of a study
        return Support(refused=f"{BROKEN} ({told(error).splitlines()[0]})")
    finally:
        slots.remove()


def _rows(backbone: Backbone) -> dict[str, Any]:
    """Two rows as long as may be, the second with padding."""
    import torch

    length = min(backbone.max_length, LONGEST)
    body = backbone.model.get_submodule(backbone.architecture.body)
    token = 5 % int(body.get_input_embeddings().num_embeddings)  # type: ignore[operator]
    mask = torch.ones(2, length, dtype=torch.long)
    mask[1, length // 2 :] = 0
    return {"input_ids": torch.full((2, length), token), "attention_mask": mask}
