"""The cache that a worker process keeps between jobs: backbone, examples, tokens of test sets and features.

No cached value depends on the jobs that ran before.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from harness.geometry import Geometry
from harness.jobs import BackboneSpec, Job
from harness.tasks.base import Example, Task

if TYPE_CHECKING:
    from harness.training.compiled import CompiledFunction
    from harness.training.cuda_graphs import CudaGraphRecorder
    from harness.training.feature_cache import FeatureStore


@lru_cache(maxsize=1)
def backbone(spec: BackboneSpec, device: str, *, writes: bool = False) -> Any:
    """Return the backbone, which is loaded once per worker."""
    from harness.backbones import checkpoints, loading

    checkpoints.require_unchanged(spec.name, spec.revision)
    gc.unfreeze()
    loaded = loading.load(spec, device, writes=writes)
    gc.collect()
    # Exempt libraries and backbone from later collections, each of which would take 0.25 s.
    gc.freeze()
    return loaded


@lru_cache(maxsize=1)
def graph_recorder(device: str) -> CudaGraphRecorder:
    """Return the recorder of CUDA graphs on a device; packs reuse the memory of its stream."""
    from harness.training.cuda_graphs import CudaGraphRecorder

    return CudaGraphRecorder(device)


@lru_cache(maxsize=1)
def feature_store() -> FeatureStore:
    """Return the features that this worker has computed."""
    from harness.training.feature_cache import FeatureStore

    return FeatureStore()


@cache
def compiled_function(geometry: Geometry, kind: tuple[object, ...]) -> CompiledFunction:  # noqa: ARG001  # the cache's key
    """Return the compiled forward pass of the packs of a kind."""
    from harness.training.compiled import CompiledFunction

    return CompiledFunction()


_EXAMPLES: dict[tuple[str, str, str], Sequence[Example]] = {}
_TOKENS: dict[tuple[str, ...], Any] = {}
MAY_PACK: dict[tuple[object, ...], bool] = {}  # whether jobs of a kind can share a pack
# kinds of jobs for which the device has no deterministic kernel
NONDETERMINISTIC_KINDS: set[tuple[object, ...]] = set()


def examples(task: Task, split: str, revision: str) -> Sequence[Example]:
    """Return the examples of a split, which are read once per worker."""
    key = (task.name, split, revision)
    if key not in _EXAMPLES:
        _EXAMPLES[key] = task.reader.examples(split, revision)
    return _EXAMPLES[key]


def encoded(backbone: Any, task: Task, job: Job, suffix: str, examples: Sequence[Example]) -> Any:
    """Return a test set's tokens, which are kept in memory and on disk.

    Held-out examples differ from draw to draw and are not kept. Sources of texts that are to be written are few.
    """
    from harness.training.rows import batching, encoding, text_rows

    if backbone.writes:
        return text_rows.sources(backbone, examples)

    if task.holdout:
        return encoding.encode(backbone, examples)
    recipe = job.recipe
    key = (
        job.backbone.name,
        job.backbone.revision,
        task.name,
        job.draw.revision,
        suffix,
        f"{recipe.max_length}/{recipe.truncate}/{recipe.test_limit}/{backbone.apart}",
    )
    if key not in _TOKENS:
        _TOKENS[key] = batching.EncodedTestSet(encoding.encode_cached(backbone, examples))
    return _TOKENS[key]
