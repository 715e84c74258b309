"""Jobs: what there is to compute, and the identity of each.

A job's digest covers everything that changes its number and nothing else: not the host, the device,
the number of workers or a library's version, which are provenance. Standard library only.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

Scalar = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How rows are drawn and how long every method is trained: what all methods of a comparison share."""

    steps: int = 500
    batch_size: int = 16
    eval_every: int = 50
    patience: int = 0  # evaluations without a better dev score before a job stops; 0: never
    max_length: int = 128  # tokens a row
    # round(0.3 size) further rows; carved: 30 % of the size itself; or a number of rows
    dev: str = "extra"
    sampling: Literal["random", "stratified"] = "random"
    per_class: bool = False  # the size counts rows of each class
    test_limit: int = 2000  # rows of a test split at most, a fixed subset; 0: all

    def line(self) -> str:
        """The recipe on one line, with what differs from the defaults at its end."""
        text = f"{self.steps} steps of {self.batch_size}, dev {self.dev} every {self.eval_every}, length {self.max_length}"
        extra = (
            [f"test limit {self.test_limit or 'none'}"]
            if self.test_limit != Recipe.test_limit
            else []
        )
        extra += [f"patience {self.patience}"] if self.patience else []
        extra += [self.sampling] if self.sampling != "random" else []
        extra += ["size per class"] if self.per_class else []
        return ", ".join([text, *extra])


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """Which pretrained model, exactly."""

    name: str
    revision: str
    pooling: str = "model"
    dtype: str = "float32"

    @property
    def storage_dtype(self) -> str:
        """The type of the weights: that of `dtype`, or float32 for tf32, whose products a GPU rounds."""
        return "float32" if self.dtype == "tf32" else self.dtype

    def line(self) -> str:
        """The backbone on one line."""
        return f"{self.name}@{self.revision[:8]}, pooling {self.pooling}, {self.dtype}"


@dataclass(frozen=True, kw_only=True)
class DrawSpec:
    """Which examples: a draw of a task at a revision, with the fingerprint of their contents."""

    task: str
    version: int
    revision: str
    size: int
    number: int
    fingerprint: str
    n_train: int
    n_dev: int
    n_test: int
    redrawn: int = 0  # draws thrown away because they missed a class
    shared: int = 0  # training and dev rows whose texts also stand in the test rows
    metrics: tuple[str, ...] = ()  # names and versions of the task's metrics
    labels: tuple[str, ...] = ()  # the classes; empty for a regression
    holdout: bool = False  # test rows are held out anew for every draw


@dataclass(frozen=True, kw_only=True)
class Job:
    """One cell to fill."""

    backbone: BackboneSpec
    draw: DrawSpec
    seed: int
    method: str
    method_version: int
    options: Mapping[str, Scalar]  # every option with the value in use
    label: str  # for people; not part of the identity
    recipe: Recipe
    # Of the plug-in that the method, or the base of a simplex, comes from; empty: ours. Part of the
    # identity, since another's method of that name is another method. Its version is not, like that
    # of every package: its author raises VERSION.
    distribution: str = ""

    def setting(self) -> dict[str, Any]:
        """What the jobs of one method on one task share, in plain types."""
        shared = {
            name: getattr(self.draw, name)
            for name in ("task", "version", "revision", "metrics", "labels", "holdout")
        }
        method = {
            "name": self.method,
            "version": self.method_version,
            "options": dict(self.options),
        }
        return {
            "backbone": dict(vars(self.backbone)),
            "task": shared,
            "method": method | ({"distribution": self.distribution} if self.distribution else {}),
            "recipe": dict(vars(self.recipe)),
        }

    @cached_property
    def setting_text(self) -> str:
        """The setting in its one canonical form."""
        return canonical(self.setting())

    def coordinates(self) -> dict[str, Any]:
        """What tells those jobs apart."""
        return {
            "size": self.draw.size,
            "draw": self.draw.number,
            "seed": self.seed,
            "rows": self.draw.fingerprint,
        }

    @cached_property
    def digest(self) -> str:
        """The job's identity, the same in every process and on every machine."""
        return _digest(canonical(self.coordinates()), self.setting_text)

    @property
    def place(self) -> tuple[str, int, int, int]:
        """Where the job's random streams stand: (task, size, draw, seed)."""
        return (self.draw.task, self.draw.size, self.draw.number, self.seed)


def digest(setting: Mapping[str, Any] | str, coordinates: Mapping[str, Any]) -> str:
    """The identity of a job from its two halves, as the ledger keeps them: 32 hexadecimal digits.

    A setting that many jobs share may be given in its canonical form.
    """
    return _digest(
        canonical(coordinates), setting if isinstance(setting, str) else canonical(setting)
    )


def _digest(at: str, setting: str) -> str:
    text = f'bench-job-v1\n{{"at":{at},"setting":{setting}}}'  # the canonical form of both together
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def canonical(value: Any) -> str:
    """JSON in one form only: sorted keys, no spaces, shortest floats; numbers that JSON cannot hold are refused.

    Raises:
        ValueError: for NaN or an infinity.
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
        return 0.0  # and not -0.0
    return value


def recipe_from(values: Mapping[str, Any]) -> Recipe:
    """The recipe that the ledger keeps as plain values; fields that it does not know take their defaults."""
    known = {f.name for f in fields(Recipe)}
    return Recipe(**{name: value for name, value in values.items() if name in known})
