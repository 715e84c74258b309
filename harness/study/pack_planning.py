"""Which geometry each job of a plan trains in: lengths from its own rows, places from what a device holds.

A geometry hangs on the job and the plan, so that whoever trains beside a job changes none of its
numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from harness.backbones import checkpoints
from harness.cache import Kept
from harness.geometry import LOOKED_AT, Geometry, bucket
from harness.jobs import BackboneSpec, Job
from harness.study import compatibility
from harness.study.planning import Plan
from harness.tasks import draws
from harness.training.ticket import Ticket

PLACES = (2, 4, 8, 16, 32, 64)  # a few sizes, so that plans that grow mostly keep theirs
SHARE = 0.8  # of a device's memory that a pack may take
# numbers, in widths of the model, that a layer keeps of a token for the way back: inputs of
# products and functions
WIDTHS = 18
LOOK = 10  # numbers, in widths, of a token in a layer of a look, which keeps no other layer's
STATES = 4  # numbers a trained number: itself, its gradient, the optimiser's two


class Room(NamedTuple):
    """What a device has, and what a backbone takes there."""

    memory: int  # bytes of the device
    size: int  # numbers of the backbone
    width: int
    layers: int
    bytes: int  # a number of the backbone's precision

    def places(self, shape: Geometry, trained: int) -> int:
        """How many jobs fit side by side: the greatest of `PLACES`; 1: none do."""
        tokens = shape.rows * shape.length
        a_job = tokens * self.layers * self.width * WIDTHS * self.bytes + trained * (
            4 * STATES + self.bytes
        )
        if shape.captured:  # a graph keeps a step's memory, and looks need some besides
            a_job += LOOKED_AT * tokens * self.width * LOOK * self.bytes + trained * self.bytes
        free = SHARE * self.memory - self.size * self.bytes
        return max((places for places in PLACES if places * a_job <= free), default=1)


def geometries(
    plan: Plan,
    tickets: Mapping[str, Ticket],
    asked: str,
    devices: Sequence[str],
    *,
    compiled: bool = False,
    captured: bool = False,
) -> dict[str, Ticket]:
    """The tickets with the geometry of each.

    Args:
        plan: every job, done or not.
        tickets: of the jobs to do.
        asked: `auto`, or a number of places.
        devices: where they will run. On anything but CUDA `auto` means alone: packs were measured
            to win nothing there.
        compiled: whether training steps are compiled.
        captured: whether they are captured as CUDA graphs.
    """
    if asked == "1":
        return dict(tickets)
    given = _together(tickets, PLACES[-1] if asked == "auto" else int(asked), len(devices))
    if asked == "auto" and not (devices and all(device.startswith("cuda") for device in devices)):
        return given
    as_ticket = partial(_as_ticket, plan, _lengths(plan), Geometry(2, 0, 0, compiled, captured))
    trained = {digest: ticket for digest, ticket in given.items() if not _fitted(ticket.job)}
    shaped = {
        digest: replace(ticket, geometry=as_ticket(ticket.job).geometry)
        for digest, ticket in trained.items()
    }
    if asked != "auto":
        return given | {digest: _with(ticket, int(asked)) for digest, ticket in shaped.items()}
    counts = Counter(
        as_ticket(job).kind for job in plan.jobs
    )  # of the whole plan: what is done counts as well
    room = _room(plan.backbone, devices)
    return given | {
        digest: _with(ticket, _wanted(ticket, counts[ticket.kind], room))
        for digest, ticket in shaped.items()
    }


def _together(tickets: Mapping[str, Ticket], most: int, slots: int) -> dict[str, Ticket]:
    """The tickets, in their order; those fitted on features are given out together, as far as no slot goes without.

    That changes none of their numbers: it only spares reading a row once more that several of them
    have.
    """
    fitted = {digest: ticket for digest, ticket in tickets.items() if _fitted(ticket.job)}
    places = min(most, -(-len(fitted) // max(1, slots)))
    return dict(tickets) | {
        digest: replace(ticket, together=places) for digest, ticket in fitted.items()
    }


def _fitted(job: Job) -> bool:
    """Whether it is fitted on features."""
    import methods

    return methods.rebuild(job.method, job.options, job.distribution).closed_form is not None


def _as_ticket(plan: Plan, lengths: Mapping[str, int], like: Geometry, job: Job) -> Ticket:
    """A job with the shape of its rows, to be counted."""
    shape = replace(like, rows=job.recipe.batch_size, length=lengths[job.rows.fingerprint])
    return Ticket(
        job=job, task=plan.tasks[job.rows.task], keep="none", artefacts=Path(), geometry=shape
    )


def _with(ticket: Ticket, places: int) -> Ticket:
    return replace(
        ticket,
        geometry=replace(ticket.geometry, places=places)
        if ticket.geometry and places > 1
        else None,
    )


def _wanted(ticket: Ticket, jobs: int, room: Room) -> int:
    """So many places as there are jobs of the kind, as far as the memory goes."""
    assert ticket.geometry is not None
    most = room.places(ticket.geometry, _trained(ticket.job))
    return next((places for places in PLACES if jobs <= places <= most), most) if jobs > 1 else 1


@cache
def _found(
    spec: BackboneSpec, name: str, options: tuple[tuple[str, Any], ...], length: int
) -> compatibility.Support:
    import methods

    return compatibility.find(spec, [methods.build(name, dict(options))], length)[0]


def _trained(job: Job) -> int:
    return _found(
        job.backbone, job.method, tuple(sorted(job.options.items())), job.recipe.max_length
    ).trained


def _room(spec: BackboneSpec, devices: Sequence[str]) -> Room:
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(checkpoints.locate(spec.name, spec.revision))
    memory = min(torch.cuda.get_device_properties(device).total_memory for device in devices)
    a_device = max(Counter(devices).values())  # slots that share one
    number = torch.finfo(getattr(torch, spec.number)).bits // 8
    layers, width = config.num_hidden_layers, config.hidden_size
    size = 12 * layers * width**2 + config.vocab_size * width
    return Room(memory // a_device, size, width, layers, number)


def _lengths(plan: Plan) -> dict[str, int]:
    """The length of each draw's rows in a pack, by its fingerprint: the longest training or dev row's, rounded up."""
    recipe, spec = plan.jobs[0].recipe, plan.backbone
    known = Kept("lengths", spec.name, spec.revision, recipe.max_length)
    found: dict[str, int] = {}
    tokenizer: Any = None
    read = cache(lambda task, split, revision: plan.tasks[task].reader.rows(split, revision))
    for at in {job.rows.fingerprint: job.rows for job in plan.jobs}.values():
        longest = known.get(at.fingerprint)
        if longest is None:
            if tokenizer is None:
                import transformers

                tokenizer = transformers.AutoTokenizer.from_pretrained(
                    checkpoints.locate(spec.name, spec.revision)
                )
            task = plan.tasks[at.task]
            drawn = draws.draw(
                task,
                lambda split, at=at: read(at.task, split, at.revision),  # type: ignore[misc]
                at.size,
                at.draw,
                recipe,
            )
            texts = [
                list(column)
                for column in zip(*(row.texts for row in (*drawn.train, *drawn.dev)), strict=True)
            ]
            ids = tokenizer(*texts, truncation=True, max_length=recipe.max_length)["input_ids"]
            longest = max(map(len, ids))
            known.set(at.fingerprint, longest)
        found[at.fingerprint] = bucket(longest, recipe.max_length)
    known.save()
    return found
