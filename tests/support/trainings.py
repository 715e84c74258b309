"""Small trainings for tests: tasks, a tokenizer, examples, adapted models, packs and tickets."""

from dataclasses import replace

import torch

import methods
from harness import geometry
from harness.geometry import ALONE, Geometry
from harness.jobs import Recipe
from harness.streams import Streams
from harness.tasks.base import Example, Task
from harness.training.adapted_model import AdaptedModel
from harness.training.labels import Target
from harness.training.loop import Examples, TrainingLoop, fit
from harness.training.packed import Pack
from tests.support.models import random_bert

CLASSES = Task(
    name="made", title="", reader=None, labels=("a", "b"), metrics=("accuracy",), pair=False
)
NUMBERS = replace(CLASSES, labels=(), metrics=("pearson",))
STREAMS = Streams(("made", 50, 0, 0))
# methods that are trained by gradient
TRAINED = [
    name for name in methods.suitable(writes=False) if methods.build(name).closed_form is None
]
RECIPE = Recipe(steps=12, eval_every=4, batch_size=8)
LENGTH, PACK_SIZE = 16, 4
THREE = replace(CLASSES, labels=("a", "b", "c"))
KINDS = [
    ("prefix", {"hidden": 16}),
    ("prefix", {"hidden": 16, "prefix_dropout": 0.1}),
    ("lora", {}),
    ("lora", {"lora_dropout": 0.1}),
    ("adapter", {}),
    ("ia3", {}),
    ("prompt", {"length": 3}),
    ("unipelt", {"hidden": 16}),
    ("simplex", {"hidden": 16}),
    ("simplex", {"hidden": 16, "granularity": "batch", "diversity": 1.0}),
    ("simplex-lora", {"mix": "product"}),
    ("fine-tuning", {"dropout": False}),
    ("fine-tuning", {}),
    ("bitfit", {}),
]


class Letters:
    """A tokenizer of letters: `a` is 5, `b` is 6, ..."""

    pad_token_id = 0

    def __call__(self, texts, truncation, max_length):
        assert truncation
        ids = [[5 + ord(letter) - ord("a") for letter in text][:max_length] for text in texts]
        return {"input_ids": ids, "attention_mask": [[1] * len(one) for one in ids]}


def rows(count, seed=0):
    """Return words of 3 to 12 letters; class 1 starts with a letter of the second half."""
    generator = torch.Generator().manual_seed(seed)
    examples = []
    for _ in range(count):
        length = int(torch.randint(3, 13, (), generator=generator))
        letters = torch.randint(0, 26, (length,), generator=generator).tolist()
        examples.append(
            Example(("".join(chr(ord("a") + letter) for letter in letters),), int(letters[0] >= 13))
        )
    return examples


def adapted(name="lora", outputs=2, dtype="float32", **options):
    backbone = replace(random_bert(dtype, outputs=outputs), tokenizer=Letters())
    method = methods.build(name, options)
    slots = method.slots(backbone)
    return method, AdaptedModel(backbone, slots, method.trainable_parameters(slots, STREAMS))


class Job:
    """One training with its own rows, rate and streams."""

    def __init__(self, draw, task=CLASSES, rate=5e-3, count=20, patience=0):
        self.draw, self.task, self.rate, self.patience = draw, task, rate, patience
        labelled = [
            row._replace(label=float(ord(row.texts[0][0])) if task.regression else row.label)
            for row in rows(count, draw)
        ]
        self.train, self.dev = labelled, labelled[: count // 3]


def trained(
    name,
    options,
    jobs,
    pack_size,
    dtype="float32",
    length=LENGTH,
    micro_batch=0,
    compiled=None,
    recorder=None,
):
    """Return the result and tensors of each job from packs of this size; 0: each trained alone."""
    wide = replace(random_bert(dtype, outputs=geometry.padded_outputs(3)), tokenizer=Letters())
    method = methods.build(name, options)
    sources = []
    for job in jobs:
        slots = method.slots(replace(wide, outputs=job.task.outputs))
        sources.append(
            method.trainable_parameters(slots, Streams(("made", 50, job.draw, 0))).to(
                wide.trained_in
            )
        )
        slots.remove()
    results = []
    for first in range(0, len(jobs), pack_size or 1):
        part = slice(first, first + (pack_size or 1))
        slots = method.slots(wide if pack_size else replace(wide, outputs=jobs[first].task.outputs))
        trainings = [
            TrainingLoop(
                AdaptedModel(replace(wide, outputs=job.task.outputs), slots, trainable),
                method.options() | {"lr": job.rate}, method.dev_scoring,
                Examples(job.train, job.dev, Target.of(job.task, job.train)),
                replace(RECIPE, patience=job.patience), Streams(("made", 50, job.draw, 0)),
            )
            for job, trainable in zip(jobs[part], sources[part], strict=True)
        ]  # fmt: skip
        if pack_size:
            template = method.trainable_parameters(slots, Streams(("made", 50, 0, 0))).to(
                wide.trained_in
            )
            shape = Geometry(pack_size, RECIPE.batch_size, length)
            results += Pack(AdaptedModel(wide, slots, template), shape, compiled, recorder).fit(
                trainings
            )
        else:
            results += [fit(loop, micro_batch) for loop in trainings]
        slots.remove()
    return [
        (result, trainable.decoded()) for result, trainable in zip(results, sources, strict=True)
    ]


def same(one, other):
    """Return whether curve, selection and every tensor of two trainings are equal to the last bit."""
    (fit, tensors), (again, others) = one, other
    curves = (
        fit.curve == again.curve
        and fit.best_evaluation == again.best_evaluation
        and fit.diverged_at == again.diverged_at
    )
    return curves and all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())


def tickets_of(folder, draws, pack_size, **more):
    """Return tickets of short trainings on a toy task."""
    from harness.study import planning, request
    from harness.study.grid_options import GridOptions
    from harness.training.ticket import Ticket

    usual = {
        "model": "tiny",
        "methods": "lora",
        "tasks": "toy-sentiment",
        "sizes": "20",
        "steps": "4",
        "test_limit": "30",
    }
    grid = GridOptions(**{**usual, "draws": str(draws), **more})
    plan = planning.plan(request.read(grid)[0])
    shape = Geometry(pack_size, 16, 16) if pack_size > 1 else ALONE
    return [
        Ticket(
            job=job, task=plan.tasks[job.draw.task], keep="none", artefacts=folder, geometry=shape
        )
        for job in plan.jobs
    ]
