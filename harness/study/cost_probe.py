"""Measure what training and testing by a method cost on a backbone, with a few small calls of one thread.

A call costs seconds for itself, for each token and for each row (a simplex mixes tensors for every
row). The costs follow by least squares from calls of several shapes.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from scipy.optimize import nnls

from harness.costs import CallCosts, Costs, Shape
from harness.jobs import Recipe
from harness.training import generation
from harness.training.adapted_model import AdaptedModel, forward, predict
from harness.training.optimiser import SingleAdamW
from harness.training.peak_memory import resident_bytes
from harness.training.rows.batching import shape_on_cpu
from harness.training.rows.truncation import Encoded
from methods import Method
from methods.core.dropout import RandomMasks
from methods.core.parameters import DecodedParameters

# Lengths of the rows of each probe; for writing, rows, tokens of a source, and tokens that are written.
PROBES: Final = ((16,) * 2, (64,) * 2, (16,) * 8, (16, 16, 64, 64), (16,) * 16, (48,) * 8)
WRITING_PROBES: Final = ((1, 16, 4), (8, 16, 4), (8, 64, 4), (1, 16, 12), (16, 32, 8))
SECONDS: Final = 0.05  # spent on a probe, if it can be repeated in that time
REPEATS: Final = 5  # at most


def measure(adapted: AdaptedModel, method: Method) -> Costs:
    """Measure a method whose slots and parameters are in place; the parameters change."""
    backbone, trainable = adapted.backbone, adapted.trainable
    rows = [[_row(backbone, length) for length in lengths] for lengths in PROBES]
    shapes = [
        shape_on_cpu(
            [len(row["input_ids"]) + len(row.get("target_ids", ())) for row in probe],
            backbone.spec.dtype,
            backbone.max_length,
        )
        for probe in rows
    ]
    generator = torch.Generator().manual_seed(0)

    def evaluate(probe: Sequence[Encoded], *, stochastic: bool) -> None:
        points = trainable.sample_points(len(probe), generator) if stochastic else None
        predict(adapted, DecodedParameters(trainable), probe, points)

    step, train, token_bytes = 0.0, CallCosts(), 0.0
    with _one_thread():
        if method.closed_form is None and method.trains:
            take = _step(adapted, method, generator)
            step, train = _fit([_seconds(take, probe) for probe in rows], shapes, steps=True)
            token_bytes = _token_bytes(take, rows, shapes)
        _, test = _fit(
            [_seconds(lambda probe: evaluate(probe, stochastic=False), probe) for probe in rows],
            shapes,
        )
        dev, stochastic = test, method.dev_scoring.stochastic and trainable.stochastic
        if stochastic:
            _, dev = _fit(
                [_seconds(lambda probe: evaluate(probe, stochastic=True), probe) for probe in rows],
                shapes,
            )
        write = _writing(adapted) if backbone.writes else CallCosts()
    return Costs(
        step=step,
        train=train,
        dev=dev,
        test=test,
        stochastic=stochastic,
        trained=sum(tensor.numel() for tensor in trainable.parameters()),
        process_bytes=resident_bytes(),
        token_bytes=token_bytes,
        write=write,
    )


def _writing(adapted: AdaptedModel) -> CallCosts:
    """Return what greedy search costs."""
    backbone, trainable = adapted.backbone, adapted.trainable
    adapted.slots.install(DecodedParameters(trainable)(None))
    inner: Any = backbone.model.inner
    seconds, shapes = [], []
    for count, longest, steps in WRITING_PROBES:
        length = min(longest, max(backbone.max_length - steps, 1))
        recipe = Recipe(target_length=steps)
        options = generation.search_options(inner, backbone, recipe)
        options.min_new_tokens = steps
        batch = generation.padded(backbone, [_row(backbone, length)] * count)

        def write(_: Sequence[Encoded], options: Any = options, batch: Any = batch) -> None:
            with torch.no_grad():
                inner.generate(**batch, generation_config=options)

        seconds.append(_seconds(write, []))
        shapes.append(generation.shape_on_cpu([length] * count, [steps] * count, recipe))
    return _fit(seconds, shapes)[1]


def _row(backbone: Any, length: int) -> Encoded:
    body = backbone.model.get_submodule(backbone.architecture.body)
    token = 5 % int(body.get_input_embeddings().num_embeddings)
    length = min(length, backbone.max_length)
    row = {"input_ids": [token] * length, "attention_mask": [1] * length}
    if not backbone.writes:
        return row
    target = [1] * (length // 2)
    if backbone.architecture.encoder_decoder:
        return {**row, "target_ids": [token] * len(target), "target_mask": target}
    return {**row, "target_mask": [0] * (length - len(target)) + target}


def _step(
    adapted: AdaptedModel, method: Method, generator: torch.Generator
) -> Callable[[Sequence[Encoded]], None]:
    """Return a function that takes a training step on some rows, as `loop.fit` does."""
    backbone, slots, trainable = adapted.backbone, adapted.slots, adapted.trainable
    optimiser = SingleAdamW(trainable, 0.0)
    masks = RandomMasks(generator) if method.options()["dropout"] else None

    def take(rows: Sequence[Encoded]) -> None:
        points = trainable.sample_points(len(rows), generator)
        with backbone.dropout(masks), slots.dropout(RandomMasks(generator)):
            logits = forward(adapted, rows, trainable(points))
        logits.square().mean().backward()
        optimiser.step(0.0)

    return take


@contextmanager
def _one_thread() -> Iterator[None]:
    """Inside the block, compute with one thread, as a worker does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _seconds(work: Callable[[Sequence[Encoded]], None], probe: Sequence[Encoded]) -> float:
    """Return the median seconds of some work; the first time does not count."""
    work(probe)
    times: list[float] = []
    while len(times) < REPEATS and (not times or sum(times) < SECONDS):
        start = time.perf_counter()
        work(probe)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _fit(
    seconds: Sequence[float], shapes: Sequence[Shape], *, steps: bool = False
) -> tuple[float, CallCosts]:
    """Return the costs, none below 0, whose relative errors are least: of a step (0 without `steps`), and of calls."""
    design = np.array([[float(steps), *shape] for shape in shapes])
    target = np.array(seconds)
    step, *costs = nnls(design / target[:, None], np.ones(len(target)))[0]
    return float(step), CallCosts(*map(float, costs))


def _token_bytes(
    take: Callable[[Sequence[Encoded]], None],
    rows: Sequence[Sequence[Encoded]],
    shapes: Sequence[Shape],
) -> float:
    """Return the bytes that one more token of a step keeps for the backward pass."""
    kept = []
    for probe in rows[:2]:
        storages: dict[int, int] = {}

        def count(tensor: torch.Tensor, storages: dict[int, int] = storages) -> torch.Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            take(probe)
        kept.append(sum(storages.values()))
    return max(kept[1] - kept[0], 0) / max(shapes[1].tokens - shapes[0].tokens, 1)
