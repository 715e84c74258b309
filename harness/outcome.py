"""The outcome of a job: a worker returns it, the ledger stores it."""

import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from harness.geometry import ALONE, Geometry
from harness.jobs import Label

Status = Literal["done", "diverged", "failed"]
# First bytes of compressed sets and texts; numbers begin with their type.
SETS: Final = b"M"
TEXTS: Final = b"T"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a job, with the values that the ledger stores.

    Attributes:
        digest: of the job.
        status: whether the job is done, diverged or failed.
        metrics: on the test sets.
        score: mean score of the test sets; 1.0 is perfect.
        dev_score: at the selected step.
        best_step: the selected step.
        collapsed: whether all predictions are equal.
        trained: number of trained parameters.
        stored: bytes to store what the trained model needs, in float32.
        seconds_training: of a pack or of shared features, an equal share.
        seconds_evaluation: of testing.
        peak_bytes: greatest memory in use.
        artefact: SHA-256 of the file with the trained tensors; None: they were not kept.
        curve: compressed JSON.
        predictions: one per test row, compressed.
        labels: of the test rows, compressed likewise, by the suffix of the test set.
        sources: beginnings of the texts from which the test rows' texts were written, by suffix.
        probabilities: of the classes, per test row, by the suffix of the test set; see
            `pack_probabilities`.
        row_scores: of texts: a score of each, whose mean is the score of the test set, by suffix.
        temperature: by which the logits of the tested model are divided to fit the labels of the dev
            rows, compressed as one value; empty without class probabilities.
        groups: number of the group of each test row, in which rows are not independent, by suffix;
            no numbers if no two rows share a group.
        distinct: number of distinct values of each text field in the test rows, by suffix.
        repeated: numbers of the test rows whose texts are also in the training or dev rows, by suffix.
        full: number of test rows with as many tokens as fit, by suffix.
        identities: number of each held-out test row in the training split, by suffix; empty without a
            holdout.
        device: name of the device.
        versions: of software that other jobs need not use: the method's plug-in.
        geometry: how the job went through the model.
        note: shown to the user.
        error: class and message.
        trace: the traceback.
    """

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
    artefact: str | None = None
    curve: bytes = b""
    predictions: bytes = b""
    labels: Mapping[str, bytes] = field(default_factory=dict)
    sources: Mapping[str, bytes] = field(default_factory=dict)
    probabilities: Mapping[str, bytes] = field(default_factory=dict)
    row_scores: Mapping[str, bytes] = field(default_factory=dict)
    temperature: bytes = b""
    groups: Mapping[str, bytes] = field(default_factory=dict)
    distinct: Mapping[str, bytes] = field(default_factory=dict)
    repeated: Mapping[str, bytes] = field(default_factory=dict)
    full: Mapping[str, bytes] = field(default_factory=dict)
    identities: Mapping[str, bytes] = field(default_factory=dict)
    device: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    geometry: Geometry = ALONE
    note: str = ""
    error: str = ""
    trace: str = ""

    @property
    def blobs(self) -> dict[str, bytes]:
        """All compressed values by the kind of blob; empty bytes for a job that failed before testing."""
        kinds = (
            "labels",
            "sources",
            "probabilities",
            "row_scores",
            "groups",
            "distinct",
            "repeated",
            "full",
            "identities",
        )
        of_rows = {
            f"{kind}/{suffix}" if suffix else kind: data
            for kind in kinds
            for suffix, data in getattr(self, kind).items()
        }
        temperature = {"temperature": self.temperature} if self.temperature else {}
        return {"curve": self.curve, "predictions": self.predictions, **temperature, **of_rows}


ProgressCallback = Callable[[str, int, int, str], None]  # digest, step, steps, phase


def pack_predictions(values: Sequence[float], regression: bool) -> bytes:
    """Compress one number per test row: class numbers in as few bytes as they need, values as floats."""
    largest = max((abs(value) for value in values), default=0)
    classes = "B" if largest < 1 << 8 else "H" if largest < 1 << 16 else "I"
    code = ("f" if largest < 3e38 else "d") if regression else classes
    return zlib.compress(code.encode() + struct.pack(f"<{len(values)}{code}", *values), 9)


def pack_sets(sets: Sequence[Sequence[int]], classes: int) -> bytes:
    """Compress the classes of each row of a multilabel task: one bit for each class, in whole bytes."""
    marks = np.zeros((len(sets), classes), dtype=bool)
    for mark, numbers in zip(marks, sets, strict=True):
        mark[list(numbers)] = True
    header = SETS + struct.pack("<I", classes)
    return zlib.compress(header + np.packbits(marks, axis=1).tobytes(), 9)


def pack_texts(texts: Sequence[str | Sequence[str]]) -> bytes:
    """Compress the text of each row, or its references."""
    content = json.dumps(list(texts), ensure_ascii=False, separators=(",", ":"))
    return zlib.compress(TEXTS + content.encode(), 9)


def unpack_marks(raw: bytes) -> np.ndarray | None:
    """Return marks [rows, classes] of a decompressed `pack_sets`; None if the values are numbers."""
    if raw[:1] != SETS:
        return None
    (classes,) = struct.unpack_from("<I", raw, 1)
    packed = np.frombuffer(raw, np.uint8, offset=5).reshape(-1, -(-classes // 8))
    return np.unpackbits(packed, axis=1, count=classes).astype(bool)


def pack_probabilities(probabilities: np.ndarray) -> bytes:
    """Compress class probabilities [rows, classes] as float16."""
    header = struct.pack("<H", probabilities.shape[1])
    return zlib.compress(header + probabilities.astype("<f2").tobytes(), 9)


def unpack_probabilities(data: bytes) -> np.ndarray:
    """Return the class probabilities [rows, classes] that `pack_probabilities` compressed, as float64.

    float16 is coarse near 1, so the largest of a row is 1 minus the sum of the others.
    """
    raw = zlib.decompress(data)
    (classes,) = struct.unpack_from("<H", raw)
    values = np.frombuffer(raw, "<f2", offset=2).reshape(-1, classes).astype(np.float64)
    rows, largest = np.arange(len(values)), values.argmax(axis=1)
    values[rows, largest] = 0
    values[rows, largest] = 1 - values.sum(axis=1)
    return values


def unpack_predictions(data: bytes) -> list[Label]:
    """Return what `pack_predictions`, `pack_sets` or `pack_texts` compressed."""
    raw = zlib.decompress(data)
    if raw[:1] == TEXTS:
        return [text if isinstance(text, str) else tuple(text) for text in json.loads(raw[1:])]
    if (marks := unpack_marks(raw)) is not None:
        return [tuple(np.flatnonzero(row).tolist()) for row in marks]
    code = raw[:1].decode()
    return list(struct.unpack(f"<{(len(raw) - 1) // struct.calcsize('<' + code)}{code}", raw[1:]))


def slot_bytes(shape: tuple[int, ...]) -> int:
    """Return the bytes to store the tensor of a slot in float32."""
    count = 4
    for length in shape:
        count *= length
    return count
