"""Choose the geometry in which each job trains: the length from its own rows, the pack size from the device's memory.

A geometry depends on the job and the plan only. The other jobs of a pack change none of a job's
numbers.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import methods
from harness.backbones import checkpoints
from harness.cache import DiskCache
from harness.geometry import EVAL_MICRO_BATCHES, Geometry, padded_length
from harness.jobs import BackboneSpec, Job
from harness.study import compatibility
from harness.study.planning import Plan
from harness.tasks import draws
from harness.training.ticket import pack_kind

PACK_SIZES = (2, 4, 8, 16, 32, 64)  # few sizes, so that a plan that grows mostly keeps its own
SHARE = 0.8  # part of a device's memory that a pack may use
# Numbers that one layer keeps per token for the backward pass, in multiples of the model's width.
ACTIVATIONS = 18
# Numbers per token of an evaluation, which keeps one layer at a time, in multiples of the width.
EVAL_ACTIVATIONS = 10
STATES = 4  # numbers per trained parameter: itself, its gradient, and two of the optimiser


class MemoryModel(NamedTuple):
    """The memory of a device and the sizes of a backbone, which limit a pack."""

    memory: int  # bytes of the device
    size: int  # parameters of the backbone
    width: int
    layers: int
    bytes: int  # bytes per number in the backbone's precision

    def largest_pack(self, geometry: Geometry, trained: int) -> int:
        """Return the largest of `PACK_SIZES` that fits into the memory; 1 if none does.

        Args:
            geometry: The rows, tokens and mode of a job.
            trained: The parameters that a job trains.
        """
        tokens = geometry.micro_batch * geometry.length
        job_bytes = tokens * self.layers * self.width * ACTIVATIONS * self.bytes
        job_bytes += trained * (4 * STATES + self.bytes)
        if geometry.captured:  # a graph keeps the memory of a step, and evaluations need some more
            job_bytes += EVAL_MICRO_BATCHES * tokens * self.width * EVAL_ACTIVATIONS * self.bytes
            job_bytes += trained * self.bytes
        free = SHARE * self.memory - self.size * self.bytes
        return max((size for size in PACK_SIZES if size * job_bytes <= free), default=1)


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
        length = lengths[job.draw.fingerprint]
        return Geometry(pack_size, job.recipe.batch_size, length, compiled, captured)

    def kind(job: Job) -> tuple[object, ...]:
        return pack_kind(job, plan.tasks[job.draw.task], geometry(job, 2))

    trained = [job for job in jobs if not _uses_features(job)]
    if pack != "auto":
        return {job.digest: geometry(job, int(pack)) for job in trained}
    counts = Counter(map(kind, plan.jobs))  # of the whole plan: jobs that are done count as well
    model = _memory_model(plan.backbone, devices)
    sizes = {
        job.digest: _pack_size(
            counts[kind(job)], model.largest_pack(geometry(job, 2), _trained(job))
        )
        for job in trained
    }
    return {
        job.digest: geometry(job, sizes[job.digest]) for job in trained if sizes[job.digest] > 1
    }


def feature_sharing(jobs: Sequence[Job], pack: str, workers: int) -> dict[str, int]:
    """Return how many jobs share features with each job that is fitted on them, by digest.

    As many jobs are dispatched together as `pack` allows, but not so many that a worker is idle. Sharing
    changes none of their numbers: the features of a row that several jobs have are computed only once.

    Args:
        jobs: the jobs to do.
        pack: `auto`, or the number of jobs in a pack.
        workers: number of workers.
    """
    digests = [job.digest for job in jobs if _uses_features(job)]
    most = PACK_SIZES[-1] if pack == "auto" else int(pack)
    return dict.fromkeys(digests, min(most, -(-len(digests) // max(1, workers))))


def _uses_features(job: Job) -> bool:
    """Return whether the job's method is fitted on features of the frozen backbone."""
    return methods.rebuild(job.method, job.options, job.distribution).closed_form is not None


def _pack_size(jobs: int, most: int) -> int:
    """Return the smallest of `PACK_SIZES` that holds the jobs of a kind, at most what the memory holds."""
    return next((size for size in PACK_SIZES if jobs <= size <= most), most) if jobs > 1 else 1


@cache
def _support(
    spec: BackboneSpec, name: str, options: tuple[tuple[str, Any], ...], length: int
) -> compatibility.Support:
    return compatibility.find(spec, [methods.build(name, dict(options))], length)[0]


def _trained(job: Job) -> int:
    return _support(
        job.backbone, job.method, tuple(sorted(job.options.items())), job.recipe.max_length
    ).trained


def _memory_model(spec: BackboneSpec, devices: Sequence[str]) -> MemoryModel:
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(checkpoints.locate(spec.name, spec.revision))
    memory = min(torch.cuda.get_device_properties(device).total_memory for device in devices)
    sharing = max(Counter(devices).values())  # workers on one device
    number_bytes = torch.finfo(getattr(torch, spec.storage_dtype)).bits // 8
    layers, width = config.num_hidden_layers, config.hidden_size
    size = 12 * layers * width**2 + config.vocab_size * width
    return MemoryModel(memory // sharing, size, width, layers, number_bytes)


def _lengths(plan: Plan) -> dict[str, int]:
    """Return the length of rows in a pack for each draw, by fingerprint: that of its longest training or dev row."""
    recipe, spec = plan.jobs[0].recipe, plan.backbone
    known = DiskCache("lengths", spec.name, spec.revision, recipe.max_length)
    lengths: dict[str, int] = {}
    tokenizer: Any = None
    read = cache(lambda task, split, revision: plan.tasks[task].reader.examples(split, revision))
    for rows in {job.draw.fingerprint: job.draw for job in plan.jobs}.values():
        longest = known.get(rows.fingerprint)
        if longest is None:
            if tokenizer is None:
                import transformers

                tokenizer = transformers.AutoTokenizer.from_pretrained(
                    checkpoints.locate(spec.name, spec.revision)
                )
            task = plan.tasks[rows.task]
            drawn = draws.draw(
                task,
                lambda split, rows=rows: read(rows.task, split, rows.revision),  # type: ignore[misc]
                rows.size,
                rows.number,
                recipe,
            )
            texts = [
                list(column)
                for column in zip(*(row.texts for row in (*drawn.train, *drawn.dev)), strict=True)
            ]
            encoded = tokenizer(*texts, truncation=True, max_length=recipe.max_length)
            longest = max(map(len, encoded["input_ids"]))
            known.set(rows.fingerprint, longest)
        lengths[rows.fingerprint] = padded_length(longest, recipe.max_length)
    known.save()
    return lengths
