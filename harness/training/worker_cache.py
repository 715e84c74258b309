"""What a worker keeps from job to job: backbone, rows of splits, tokens of test sets, features; nothing that a job leaves."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from harness.jobs import BackboneSpec, Job
from harness.tasks.base import Example, Task

if TYPE_CHECKING:
    from harness.training.compiled import CompiledFunction
    from harness.training.cuda_graphs import CudaGraphRecorder
    from harness.training.feature_cache import FeatureStore


@lru_cache(maxsize=1)
def backbone(spec: BackboneSpec, device: str) -> Any:
    """The backbone, read once a worker."""
    from harness.backbones import checkpoints, loading

    checkpoints.require_unchanged(spec.name, spec.revision)
    gc.unfreeze()
    loaded = loading.load(spec, device)
    gc.collect()
    # libraries and backbone stay: to look through them after every job would take a quarter of a
    # second
    gc.freeze()
    return loaded


@lru_cache(maxsize=1)
def recorder(device: str) -> CudaGraphRecorder:
    """What captures steps on a device; it has a stream of its own, whose memory the next pack uses again."""
    from harness.training.cuda_graphs import CudaGraphRecorder

    return CudaGraphRecorder(device)


@lru_cache(maxsize=1)
def features() -> FeatureStore:
    """Features of frozen backbones, computed once a worker."""
    from harness.training.feature_cache import FeatureStore

    return FeatureStore()


_ROWS: dict[tuple[str, str, str], Sequence[Example]] = {}
_TOKENS: dict[tuple[str, ...], Any] = {}
MAY_PACK: dict[tuple[object, ...], bool] = {}  # what was found of a kind of jobs
UNORDERED: set[tuple[object, ...]] = (
    set()
)  # kinds of jobs that want an operation which adds in any order
COMPILED: dict[tuple[object, ...], CompiledFunction] = {}  # training steps, by the kind of jobs


def rows(task: Task, split: str, revision: str) -> Sequence[Example]:
    """A split's rows, read once a worker."""
    key = (task.name, split, revision)
    if key not in _ROWS:
        _ROWS[key] = task.reader.examples(split, revision)
    return _ROWS[key]


def encoded(read: Any, task: Task, job: Job, suffix: str, rows: Sequence[Example]) -> Any:
    """A test set's tokens, made once and kept, also on disk; held-out rows differ from draw to draw and are not kept."""
    from harness.training import batching, token_cache

    if task.holdout:
        return batching.encode(read, rows)
    recipe = job.recipe
    key = (
        job.backbone.name,
        job.backbone.revision,
        task.name,
        job.draw.revision,
        suffix,
        f"{recipe.max_length}/{recipe.test_limit}",
    )
    if key not in _TOKENS:
        _TOKENS[key] = batching.EncodedTestSet(token_cache.encode(read, rows))
    return _TOKENS[key]
