"""Read the values of one job from its blobs, which are compressed bytes by kind."""

import json
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.outcome import TEXTS, unpack_marks, unpack_predictions
from reports.analysis.run import WrittenText

SHOWN_TEXTS: Final = 3  # texts of each run that a report shows


def by_split(blobs: Mapping[str, bytes], kind: str) -> dict[str, bytes]:
    """Return the blobs of one kind by the suffix of the test set, in the order of the predictions."""
    return {
        name.removeprefix(kind).removeprefix("/"): data
        for name, data in sorted(blobs.items())
        if name.partition("/")[0] == kind
    }


def text_scores(blobs: Mapping[str, bytes]) -> NDArray[np.float64] | None:
    """Return the score of each written text [rows]; None for other tasks. All test sets have equal weight."""
    parts = [numbers(data) for data in by_split(blobs, "row_scores").values()]
    if not parts:
        return None
    rows = sum(map(len, parts))
    return np.concatenate([part * (rows / (len(parts) * len(part))) for part in parts])


def some_texts(blobs: Mapping[str, bytes]) -> list[WrittenText]:
    """Return texts that were written, of rows that are evenly spread over the test rows; none for other tasks."""
    sources: list[Any] = [
        source
        for data in by_split(blobs, "sources").values()
        for source in unpack_predictions(data)
    ]
    if not sources:
        return []
    references: list[Any] = [
        of_row for data in by_split(blobs, "labels").values() for of_row in unpack_predictions(data)
    ]
    texts: list[Any] = unpack_predictions(blobs["predictions"])
    count = min(SHOWN_TEXTS, len(sources))
    rows = [(2 * number + 1) * len(sources) // (2 * count) for number in range(count)]
    return [WrittenText(sources[row], references[row][0], texts[row]) for row in rows]


def groups(blobs: Mapping[str, bytes]) -> NDArray[np.float64] | None:
    """Return the group of each test row [rows], the same number in every draw; None if they are not stored."""
    parts = [numbers(data) for data in by_split(blobs, "groups").values()]
    if not parts:
        return None
    rows = sum(len(numbers(data)) for data in by_split(blobs, "labels").values())
    stored = np.concatenate(parts)
    identities = numbers(blobs["identities"]) if "identities" in blobs else np.arange(rows)
    if not stored.size:  # no two rows share a group
        return identities.astype(np.float64)
    # The smallest identity of a group's rows names the group, since whole groups are held out.
    names, place = np.unique(stored, return_inverse=True)
    smallest = np.full(len(names), np.inf)
    np.minimum.at(smallest, place, identities)
    return smallest[place]


def field_repeats(blobs: Mapping[str, bytes]) -> tuple[float, ...]:
    """Return the rows per distinct value of each text field, in the test split where it repeats most."""
    labels = by_split(blobs, "labels")
    repeats = [
        len(numbers(labels[split])) / numbers(data)
        for split, data in by_split(blobs, "distinct").items()
    ]
    return tuple(np.max(repeats, axis=0).tolist()) if repeats else ()


def repeated(blobs: Mapping[str, bytes]) -> NDArray[np.int64] | None:
    """Return the numbers of the test rows whose texts are also trained on; None if they are not stored."""
    parts, start = [], 0
    stored = by_split(blobs, "repeated")
    for split, data in by_split(blobs, "labels").items():
        if split not in stored:
            return None
        parts.append(numbers(stored[split]).astype(np.int64) + start)
        start += len(numbers(data))
    return np.concatenate(parts) if parts else None


def full(blobs: Mapping[str, bytes]) -> int | None:
    """Return the number of test rows with as many tokens as fit; None if it is not stored."""
    stored = by_split(blobs, "full")
    return int(sum(numbers(data).sum() for data in stored.values())) if stored else None


@lru_cache(maxsize=64)  # labels and groups, which many runs share, are unpacked once
def numbers(data: bytes) -> NDArray[np.float64]:
    """Return the values of `unpack_predictions` as an array that cannot be written to.

    It is `[rows]`, or `[rows, classes]` of zeros and ones. Texts count as zeros.
    """
    raw = zlib.decompress(data)
    if raw[:1] == TEXTS:  # their scores are stored beside them
        values = np.zeros(len(json.loads(raw[1:])))
    elif (marks := unpack_marks(raw)) is not None:
        values = marks.astype(np.float64)
    else:
        values = np.frombuffer(raw, f"<{raw[:1].decode()}", offset=1).astype(np.float64)
    values.flags.writeable = False
    return values
