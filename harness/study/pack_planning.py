"""Which geometry each job of a plan trains in: lengths from its own rows, places from what a device holds.

A geometry hangs on the job and the plan, so that whoever trains beside a job changes none of its
numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from harness.backbones import checkpoints
from harness.cache import Kept
from harness.geometry import EVAL_MICRO_BATCHES, Geometry, padded_length
from harness.jobs import BackboneSpec, Job
from harness.study import compatibility
from harness.study.planning import Plan
from harness.tasks import draws
from harness.training.ticket import pack_kind

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
        tokens = shape.micro_batch * shape.length
        a_job = tokens * self.layers * self.width * WIDTHS * self.bytes + trained * (
            4 * STATES + self.bytes
        )
        if shape.captured:  # a graph keeps a step's memory, and looks need some besides
            a_job += (
                EVAL_MICRO_BATCHES * tokens * self.width * LOOK * self.bytes + trained * self.bytes
            )
        free = SHARE * self.memory - self.size * self.bytes
        return max((places for places in PLACES if places * a_job <= free), default=1)


def geometries(
    plan: Plan,
    jobs: Sequence[Job],
    pack: str,
    devices: Sequence[str],
    *,
    compiled: bool = False,
    captured: bool = False,
) -> dict[str, Geometry]:
    """Return the geometry of each job that trains in a pack, by digest; the others train alone.

    Args:
        plan: every job, done or not.
        jobs: the jobs to do.
        pack: `auto`, or the number of jobs in a pack.
        devices: where the jobs will run. On anything but CUDA `auto` means alone: there packs were
            measured to save nothing.
        compiled: whether training steps are compiled.
        captured: whether training steps are captured as CUDA graphs.
    """
    on_cuda = bool(devices) and all(device.startswith("cuda") for device in devices)
    if pack == "1" or (pack == "auto" and not on_cuda):
        return {}
    lengths = _lengths(plan)

    def geometry(job: Job, pack_size: int) -> Geometry:
        length = lengths[job.rows.fingerprint]
        return Geometry(pack_size, job.recipe.batch_size, length, compiled, captured)

    def kind(job: Job) -> tuple[object, ...]:
        return pack_kind(job, plan.tasks[job.rows.task], geometry(job, 2))

    trained = [job for job in jobs if not _uses_features(job)]
    if pack != "auto":
        return {job.digest: geometry(job, int(pack)) for job in trained}
    counts = Counter(map(kind, plan.jobs))  # of the whole plan: jobs that are done count as well
    room = _room(plan.backbone, devices)
    sizes = {
        job.digest: _pack_size(counts[kind(job)], room.places(geometry(job, 2), _trained(job)))
        for job in trained
    }
    return {
        job.digest: geometry(job, sizes[job.digest]) for job in trained if sizes[job.digest] > 1
    }


def feature_sharing(jobs: Sequence[Job], pack: str, slots: int) -> dict[str, int]:
    """Return how many jobs share features with each job that is fitted on them, by digest.

    As many are dispatched together as `pack` allows and as leaves no slot idle. That changes none
    of their numbers: it only saves computing the features of a row that several of them have.

    Args:
        jobs: the jobs to do.
        pack: `auto`, or the number of jobs in a pack.
        slots: number of workers.
    """
    digests = [job.digest for job in jobs if _uses_features(job)]
    most = PLACES[-1] if pack == "auto" else int(pack)
    return dict.fromkeys(digests, min(most, -(-len(digests) // max(1, slots))))


def _uses_features(job: Job) -> bool:
    """Return whether the job's method is fitted on features of the frozen backbone."""
    import methods

    return methods.rebuild(job.method, job.options, job.distribution).closed_form is not None


def _pack_size(jobs: int, most: int) -> int:
    """Return the smallest size of `PLACES` that holds the jobs of a kind, at most what the memory holds."""
    return next((size for size in PLACES if jobs <= size <= most), most) if jobs > 1 else 1


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
        found[at.fingerprint] = padded_length(longest, recipe.max_length)
    known.save()
    return found
