"""Jobs and their identity.

A job's digest covers everything that changes its result, and nothing else: the host, the device, the
number of workers and the versions of libraries are provenance. This module imports only the
standard library.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

Scalar = str | int | float | bool
_ADDED_FIELDS: Final = {
    "truncate": "head",
    "class_weights": "none",
    "target_length": 64,
    "beams": 1,
    "length_penalty": 1.0,
    "dev_score": "loss",
}  # of a recipe, by later versions, with their defaults


# Kinds of labels that were added after results of other kinds existed, whose identity must not change.
LATER_KINDS: Final = ("multilabel", "text")
# The number of a class, the value of a regression, the numbers, ascending, of all classes of a multilabel row, or
# the references of a row whose text is to be generated. A prediction of the latter is one text.
Label = int | float | tuple[int, ...] | tuple[str, ...] | str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How examples are sampled and how long methods are trained; all methods of a comparison share it."""

    steps: int = 500
    batch_size: int = 16
    eval_every: int = 50
    patience: int = 0  # evaluations without a better dev score after which a job stops; 0: never
    max_length: int = 128  # tokens per example
    # extra: round(0.3 size) more examples; carved: 30 % of the size; or a number of examples
    dev: str = "extra"
    sampling: Literal["random", "stratified"] = "random"
    per_class: bool = False  # the size counts examples per class
    test_limit: int = 2000  # maximum number of test examples, the same for all methods; 0: all
    truncate: Literal["head", "tail", "both"] = "head"  # what is kept of a text that is too long
    class_weights: Literal["none", "balanced"] = (
        "none"  # balanced: the classes weigh alike in the loss
    )
    # of texts that are written
    target_length: int = 64  # tokens, at most
    beams: int = 1  # of beam search; 1: greedy
    length_penalty: float = 1.0  # power of its length by which the score of a beam is divided
    dev_score: Literal["loss", "metric"] = "loss"  # what chooses a checkpoint

    def stored(self) -> dict[str, Any]:
        """Return the fields as they enter a job's identity.

        A field that an earlier version did not have is left out at its default, so that digests stay.
        """
        values = dict(vars(self))
        return {
            name: value
            for name, value in values.items()
            if name not in _ADDED_FIELDS or value != _ADDED_FIELDS[name]
        }

    def line(self) -> str:
        """Return the recipe on one line, ending with the optional fields that differ from their defaults."""
        parts = [
            f"{self.steps} steps of {self.batch_size}",
            f"dev {self.dev} every {self.eval_every}",
            f"length {self.max_length}",
        ]
        if self.test_limit != Recipe.test_limit:
            parts.append(f"test limit {self.test_limit or 'none'}")
        if self.patience:
            parts.append(f"patience {self.patience}")
        if self.sampling != "random":
            parts.append(self.sampling)
        if self.per_class:
            parts.append("size per class")
        if self.truncate != "head":
            parts.append(f"keeps {'the tail' if self.truncate == 'tail' else 'head and tail'}")
        if self.class_weights != "none":
            parts.append(f"{self.class_weights} class weights")
        if self.target_length != Recipe.target_length:
            parts.append(f"texts of {self.target_length} tokens")
        if self.beams > 1:
            parts.append(f"{self.beams} beams, length penalty {self.length_penalty:g}")
        if self.dev_score != "loss":
            parts.append("dev texts written")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A pretrained model at a revision, its pooling and its precision."""

    name: str  # of the Hub, of an embedded model, or the absolute path of a folder
    revision: str
    pooling: str = "model"
    dtype: str = "float32"

    @property
    def storage_dtype(self) -> str:
        """The type of the weights: that of `dtype`, or float32 for tf32, whose products a GPU rounds."""
        return "float32" if self.dtype == "tf32" else self.dtype

    @property
    def title(self) -> str:
        """The name as people see it: of a path, its last part."""
        return Path(self.name).name if Path(self.name).is_absolute() else self.name

    def line(self) -> str:
        """Return the backbone on one line."""
        return f"{self.title}@{self.revision[:8]}, pooling {self.pooling}, {self.dtype}"


@dataclass(frozen=True, kw_only=True)
class DrawSpec:
    """A draw of a task at a revision, with a fingerprint of its examples."""

    task: str
    version: int
    revision: str
    size: int
    number: int
    fingerprint: str
    n_train: int
    n_dev: int
    n_test: int
    redrawn: int = 0  # draws discarded because a class was missing
    shared: int = 0  # training and dev examples whose texts are also in a test set
    absent: tuple[str, ...] = ()  # classes without a test example
    metrics: tuple[str, ...] = ()  # names and versions of the task's metrics
    labels: tuple[str, ...] = ()  # the classes; empty for a regression
    holdout: bool = False  # each draw holds out its own test examples
    kind: str = "classes"  # of a label: see `tasks.base.Kind`


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run: a method with its options, on a draw of a task, with a seed."""

    backbone: BackboneSpec
    draw: DrawSpec
    seed: int
    method: str
    method_version: int
    options: Mapping[str, Scalar]  # every option with its value
    label: str  # shown to users; not part of the identity
    recipe: Recipe
    # The plug-in of the method, or of the base of a simplex; empty for a method of bench. It is part
    # of the identity, because a method of the same name from another plug-in is another method. Its
    # package version is not: the author increases VERSION of the method.
    distribution: str = ""

    def setting(self) -> dict[str, Any]:
        """Return what all jobs of one method on one task share, in plain types."""
        shared = {
            name: getattr(self.draw, name)
            for name in ("task", "version", "revision", "metrics", "labels", "holdout")
        }
        if self.draw.kind in LATER_KINDS:
            shared[self.draw.kind] = True
        method = {
            "name": self.method,
            "version": self.method_version,
            "options": dict(self.options),
        }
        return {
            "backbone": dict(vars(self.backbone)),
            "task": shared,
            "method": method | ({"distribution": self.distribution} if self.distribution else {}),
            "recipe": self.recipe.stored(),
        }

    @cached_property
    def setting_text(self) -> str:
        """The setting as canonical JSON."""
        return canonical(self.setting())

    def coordinates(self) -> dict[str, Any]:
        """Return what distinguishes the jobs of one setting."""
        return {
            "size": self.draw.size,
            "draw": self.draw.number,
            "seed": self.seed,
            "rows": self.draw.fingerprint,
        }

    @cached_property
    def digest(self) -> str:
        """The job's identity, equal in all processes and on all machines."""
        return _digest(canonical(self.coordinates()), self.setting_text)

    @property
    def stream_key(self) -> tuple[str, int, int, int]:
        """The coordinates of the job's random streams: (task, size, draw, seed)."""
        return (self.draw.task, self.draw.size, self.draw.number, self.seed)


def kind_of(task: Mapping[str, Any]) -> str:
    """Return the kind of the labels of a task, given its part of a setting; numbers count as classes."""
    return next((kind for kind in LATER_KINDS if task.get(kind)), "classes")


def digest(setting: Mapping[str, Any] | str, coordinates: Mapping[str, Any]) -> str:
    """Return the identity of a job from its setting and coordinates: 32 hexadecimal digits.

    A setting that many jobs share can be passed as canonical JSON.
    """
    return _digest(
        canonical(coordinates), setting if isinstance(setting, str) else canonical(setting)
    )


def _digest(coordinates: str, setting: str) -> str:
    # The canonical JSON of both together.
    return hashlib.sha256(
        f'bench-job-v1\n{{"at":{coordinates},"setting":{setting}}}'.encode()
    ).hexdigest()[:32]


def canonical(value: Any) -> str:
    """Return canonical JSON: sorted keys, no spaces, shortest floats.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value == 0:
        return 0.0  # for -0.0
    return value


def recipe_from(values: Mapping[str, Any]) -> Recipe:
    """Return the recipe stored as plain values; missing fields take their defaults, unknown ones are ignored."""
    known = {field.name for field in fields(Recipe)}
    return Recipe(**{name: value for name, value in values.items() if name in known})
