"""Stored models as if they were others, and models with random tensors as if they were trained and stored."""

from dataclasses import replace

import torch

import methods
from harness.artefacts.restore import StoredModel
from harness.backbones import checkpoints, loading
from harness.jobs import BackboneSpec, DrawSpec, Job, Recipe
from harness.ledger.reader import LedgerEntry
from harness.streams import Streams
from harness.tasks import REGISTRY


def random_model(
    name, number, *, task="toy-sentiment", labels=None, options=None, backbone=None, **recipe
):
    """Return a model of a method on a backbone (`tiny` or `tiny-gpt`), whose tensors differ with `number`."""
    known = REGISTRY[task]
    usual = "tiny-gpt" if known.text else "tiny"
    spec = BackboneSpec(name=backbone or usual, revision=checkpoints.revision_of(backbone or usual))
    classes = tuple(known.labels) if labels is None else labels
    loaded = replace(loading.load(spec, "cpu", writes=known.text), outputs=len(classes) or 1)
    method = methods.build(name, options or {})
    loaded = replace(loaded, apart=known.pair and method.reads_apart)
    slots = method.slots(loaded)
    trainable = method.trainable_parameters(slots, Streams((task, 50, number, 0)))
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for parameter in trainable.parameters():
            spread = 0.05 if parameter.dim() > 1 else 0.01
            parameter += spread * torch.randn(parameter.shape, generator=generator)
    draw = DrawSpec(
        task=task, version=1, revision="0", size=50, number=number, fingerprint="rows", n_train=50, n_dev=15, n_test=9,
        labels=classes, kind=known.kind,
    )  # fmt: skip
    job = Job(
        backbone=spec, draw=draw, seed=0, method=name, method_version=1, options=method.resolved(),
        label=name, recipe=Recipe(steps=4, **recipe),
    )  # fmt: skip
    metadata = {
        "texts": 1 + known.pair,
        "columns": [],
        "scale": {"mean": float(number), "spread": 2.0},
        "without_vertices": list(trainable.shared),
        "products": dict(trainable.products),
        "head": [slot.name for slot in slots if slot.role == "head"],
        "output_layer": loaded.architecture.output_layer,
    }
    entry = LedgerEntry(
        digest=job.digest, setting=job.setting(), task=task, label=name, size=50, draw=number, seed=0,
        fingerprint="rows", n_train=50, n_dev=15, n_test=9, note="", state="done", metrics={"score": 0.5}, result=None,
    )  # fmt: skip
    return StoredModel(entry, trainable.decoded(), metadata)


def as_task(model, task, metrics):
    """Return the same model, as if its task were another."""
    setting = model.entry.setting | {
        "task": model.entry.setting["task"] | {"metrics": [f"{name}/1" for name in metrics]}
    }
    values = {"score": 0.5, "zeroed accuracy": 0.1, "rule last accuracy": 0.1} | dict.fromkeys(
        metrics, 0.5
    )
    return replace(model, entry=replace(model.entry, task=task, setting=setting, metrics=values))
