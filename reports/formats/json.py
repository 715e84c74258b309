"""Write a report as JSON: every number in full precision, every mark in a field of its own."""

import json
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Final

import numpy as np

from reports.analysis.classification import (
    class_estimates,
    probability_estimates,
    temperature_estimates,
)
from reports.analysis.comparison import Comparison
from reports.analysis.inferences import Inference
from reports.analysis.task_characteristics import Characteristics
from reports.analysis.verdict import verdict

SCHEMA: Final = 3


def as_json(
    comparison: Comparison,
    *,
    command: str = "",
    characteristics: Characteristics | None = None,
    temperature: bool = False,
    classes: bool = False,
) -> str:
    """Return one JSON object with sorted keys.

    Differences and means are in points, metrics in their own units; numbers that are not finite
    are null. `characteristics`, `temperature` and `classes` have keys of their own.
    """
    content = {
        "schema": SCHEMA,
        "unit": "points (score x 100)",
        "verdict": list(verdict(comparison)),
        "command": command,
        "backbone": comparison.backbone,
        "recipe": comparison.recipe,
        "baseline": {"method": comparison.baseline, "declared": comparison.baseline_named},
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
        "majority": comparison.majority,
        "runs": {"done": comparison.done, "planned": comparison.planned},
        "cells": comparison.cells,
        "tests": [
            {
                **vars(test),
                "these": _claim(test.these, exploratory=test.family == "cells"),
                "others": _claim(test.others, exploratory=test.family == "cells"),
            }
            for test in comparison.tests
        ],
        "details": comparison.secondary,
        "probabilities": probability_estimates(comparison.runs),
        "standing": comparison.ranking,
        "subspace": {"rules": comparison.rules, "samples": comparison.samples},
        **({"characteristics": characteristics} if characteristics else {}),
        **({"temperature": temperature_estimates(comparison.runs)} if temperature else {}),
        **({"classes": class_estimates(comparison.runs)} if classes else {}),
        "notes": comparison.notes,
    }
    return json.dumps(_jsonable(content), sort_keys=True, indent=2, allow_nan=False) + "\n"


def _claim(claim: Inference | None, *, exploratory: bool) -> Mapping[str, object] | None:
    return {**vars(claim), "settled": claim.settled and not exploratory} if claim else None


def _jsonable(value: object) -> object:
    """Convert dataclasses and named tuples to objects and arrays to lists; a number that is not finite is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value):
        value = vars(value)
    elif isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    elif isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(inner) for inner in value]
    return value
