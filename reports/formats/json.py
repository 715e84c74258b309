"""Write a report as JSON: every number in full precision, every mark in a field of its own."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Final

from reports.analysis.comparison import Comparison
from reports.analysis.task_characteristics import Characteristics
from reports.analysis.verdict import verdict

SCHEMA: Final = 2


def as_json(
    comparison: Comparison, *, command: str = "", characteristics: Characteristics | None = None
) -> str:
    """Return one JSON object with sorted keys.

    Differences and means are in points, metrics in their own units; numbers that are not finite
    are null.
    """
    content = {
        "schema": SCHEMA,
        "unit": "points (score x 100)",
        "verdict": list(verdict(comparison)),
        "command": command,
        "backbone": comparison.backbone,
        "recipe": comparison.recipe,
        "baseline": {"method": comparison.baseline, "declared": comparison.declared},
        "methods": comparison.methods,
        "tasks": [
            {"name": task, "seen": task in comparison.seen, "holdout": task in comparison.holdout}
            for task in comparison.tasks
        ],
        "sizes": comparison.sizes,
        "labels": [
            {"size": size, "n_train": train, "n_dev": dev, "labels": train + dev}
            for size, pairs in comparison.labels.items()
            for train, dev in pairs
        ],
        "better": comparison.better,
        "runs": {"done": comparison.done, "planned": comparison.planned},
        "cells": [asdict(cell) for cell in comparison.cells],
        "tests": [{**asdict(test), "settled": test.settled} for test in comparison.tests],
        "details": [_plain(detail) for detail in comparison.secondary],
        "standing": _plain(comparison.ranking) if comparison.ranking else None,
        "subspace": {"rules": _plain(comparison.rules), "samples": _plain(comparison.samples)},
        **({"characteristics": _plain(characteristics)} if characteristics else {}),
        "notes": [asdict(note) for note in comparison.notes],
    }
    return json.dumps(_clean(content), sort_keys=True, indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> object:
    """Convert dataclasses and named tuples to dictionaries, and arrays to lists."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(inner) for name, inner in value._asdict().items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _clean(value: object) -> object:
    """Replace numbers that are not finite by None, and tuples by lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    return value
