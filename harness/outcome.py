"""What came of a job, as plain values: a worker returns it, the ledger stores it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.geometry import ALONE, Geometry

Status = Literal["done", "diverged", "failed"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a job; plain values, ready for the ledger."""

    digest: str
    status: Status
    metrics: Mapping[str, float] = field(default_factory=dict)
    score: float | None = None
    dev_score: float | None = None
    best_step: int | None = None
    collapsed: bool = False
    trained: int = 0
    stored: int = 0
    seconds_training: float = 0.0
    seconds_evaluation: float = 0.0
    peak_bytes: int = 0
    artefact: str | None = None  # SHA-256 of the file with the trained tensors
    curve: bytes = b""  # compressed JSON
    predictions: bytes = b""  # compressed, one number a test row
    labels: Mapping[str, bytes] = field(
        default_factory=dict
    )  # likewise the right answers, by the suffix of their split
    device: str = ""
    versions: Mapping[str, str] = field(
        default_factory=dict
    )  # of what this job used and others need not: its plug-in
    geometry: Geometry = ALONE  # how the job went through the model
    note: str = ""  # something that the user should know
    error: str = ""  # class and message
    trace: str = ""

    @property
    def blobs(self) -> dict[str, bytes]:
        """What is kept of it in bytes, by kind; empty for a run that broke down before the test."""
        labels = {
            f"labels/{suffix}" if suffix else "labels": data for suffix, data in self.labels.items()
        }
        return {"curve": self.curve, "predictions": self.predictions, **labels}


ProgressCallback = Callable[[str, int, int, str], None]  # digest, step, steps, phase


def pack_predictions(values: Sequence[float], regression: bool) -> bytes:
    """One number a test row, compressed: class numbers in as few bytes as they need, values as floats."""
    import struct

    largest = max((abs(value) for value in values), default=0)
    classes = "B" if largest < 1 << 8 else "H" if largest < 1 << 16 else "I"
    code = ("f" if largest < 3e38 else "d") if regression else classes
    return zlib.compress(code.encode() + struct.pack(f"<{len(values)}{code}", *values), 9)


def unpack_predictions(data: bytes) -> list[float]:
    """The inverse of `pack_predictions`."""
    import struct

    raw = zlib.decompress(data)
    code = raw[:1].decode()
    return list(struct.unpack(f"<{(len(raw) - 1) // struct.calcsize('<' + code)}{code}", raw[1:]))


def slot_bytes(shape: tuple[int, ...]) -> int:
    """Bytes to store a slot's tensor in float32: of the model that is used in the end, the centroid of a simplex."""
    count = 4
    for length in shape:
        count *= length
    return count
