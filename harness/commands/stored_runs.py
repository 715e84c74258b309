"""What the ledger holds, as the report wants it."""

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness import geometry
from harness.jobs import BackboneSpec, canonical, recipe_from
from harness.ledger import Entry
from harness.tasks import REGISTRY, metrics
from reports.analysis.paired_runs import Run

Status = Literal["done", "diverged", "failed", "infeasible", "missing"]


def runs(entries: Sequence[Entry], blobs: Mapping[str, Mapping[str, bytes]]) -> list[Run]:
    """One run for each job; `blobs` are those of each job by digest and kind."""
    known: dict[
        int, tuple[BackboneSpec, str, str]
    ] = {}  # of settings: backbone, the recipe's line, scoring
    found = []
    for entry in entries:
        setting = entry.setting
        if id(setting) not in known:
            backbone, recipe = (
                BackboneSpec(**setting["backbone"]),
                recipe_from(setting["recipe"]).line(),
            )
            known[id(setting)] = backbone, recipe, _scored(setting["task"])
        found.append(_run(entry, blobs.get(entry.digest, {}), *known[id(setting)]))
    return found


def _run(
    entry: Entry, blobs: Mapping[str, bytes], backbone: BackboneSpec, recipe: str, scored: str
) -> Run:
    setting, result = entry.setting, entry.result or {}
    names = tuple(name.rpartition("/")[0] for name in setting["task"]["metrics"])
    task = REGISTRY.get(entry.task)
    own = {name: value for name, value in entry.metrics.items() if name != "score"}
    curve = json.loads(zlib.decompress(blobs["curve"])) if "curve" in blobs else []
    return Run(
        digest=entry.digest,
        backbone=backbone.line(),
        recipe=recipe,
        method=entry.label,
        task=entry.task,
        size=entry.size,
        draw=entry.draw,
        seed=entry.seed,
        status=_status(entry.state),
        score=entry.metrics.get("score"),
        metrics=own,
        better={name: _better(name, names) for name in own},
        dev_score=result.get("dev_score"),
        collapsed=bool(result.get("collapsed")),
        rows=f"{entry.fingerprint} {scored}",  # what two methods must share to be compared
        n_train=entry.n_train,
        n_dev=entry.n_dev,
        n_test=entry.n_test,
        holdout=bool(setting["task"].get("holdout")),
        seen=task is not None and backbone.name in task.seen_by,
        trained=result.get("trained", 0),
        stored=result.get("stored", 0),
        seconds_training=result.get("seconds_training", 0.0),
        seconds_evaluation=result.get("seconds_evaluation", 0.0),
        peak_bytes=result.get("peak_bytes", 0),
        shared=geometry.shared(result.get("geometry", "1")),
        passes=_passes(result),
        versions=_versions(result),
        plugin=result.get("versions", {}).get("plug-in", ""),
        curve=[(int(point[0]), _number(point[2])) for point in curve],
        losses=[_number(point[3]) for point in curve],
        sampled=next(
            (point[4] for point in curve if point[0] == result.get("best_step") and len(point) > 4),
            (),
        ),
        given=numbers(blobs["predictions"]) if "predictions" in blobs else np.empty(0),
        right={
            kind.removeprefix("labels").removeprefix("/"): numbers(data)
            for kind, data in sorted(blobs.items())
            if kind.startswith("labels")
        },
        scored_by=names,
        classes=setting["task"]["labels"],
    )


def numbers(data: bytes) -> NDArray[np.float64]:
    """What `unpack_predictions` gives, as an array `[rows]`."""
    raw = zlib.decompress(data)
    return np.frombuffer(raw, f"<{raw[:1].decode()}", offset=1).astype(np.float64)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _scored(task: Mapping[str, Any]) -> str:
    """How rows are scored."""
    return canonical([task["revision"], task["version"], task["metrics"], task["labels"]])


def _status(state: str) -> Status:
    return state if state in get_args(Status) else "missing"  # type: ignore[return-value]  # planned and claimed are missing


@cache
def _better(name: str, known: tuple[str, ...]) -> Literal["higher", "lower"]:
    plain = re.sub(r"^(zeroed|rule \w+) ", "", name)
    base = next((one for one in known if plain == one or plain.startswith(f"{one}/")), None)
    return metrics.get(base).better if base else "higher"


def _passes(result: Mapping[str, Any]) -> str:
    """How a training went through the model, in words; lengths are left out, which follow from the rows."""
    text = result.get("geometry", "1")
    if shape := geometry.Geometry.read(text):
        return f"in {shape.steps} packs of {shape.places}".replace("  ", " ")
    return (
        f"alone, {rows} rows of a step at a time" if (rows := geometry.rows_of(text)) else "alone"
    )


def _versions(result: Mapping[str, Any]) -> str:
    found = result.get("versions")
    if not found:
        return ""
    shown = ("simplexbench", "python", "torch", "transformers")
    return ", ".join(
        [*(f"{name} {found[name]}" for name in shown if name in found), str(result["device"])]
    )
