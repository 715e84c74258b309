"""Hashes that tell whether what is stored of a result is what was recorded."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.jobs import canonical, digest

if TYPE_CHECKING:
    from harness.ledger.reader import Entry


def payload_hash(metrics: Mapping[str, float], blobs: Mapping[str, bytes]) -> str:
    """A hash over what a result says, to notice changed bytes."""
    content = hashlib.sha256()
    for name in sorted(metrics):
        content.update(
            f"{name}={(metrics[name] + 0.0).hex()}\n".encode()
        )  # SQLite turns -0.0 into 0.0, and so does the sum
    for kind in sorted(blobs):
        content.update(f"{kind}:{len(blobs[kind])}\n".encode() + blobs[kind])
    return content.hexdigest()


SEALED = ("device", "geometry", "dev_score", "best_step", "collapsed", "trained", "stored", "seconds_training",
          "seconds_evaluation", "peak_bytes", "artefact", "payload", "finished")  # fmt: skip


def seal(job: Mapping[str, Any], result: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """A hash over what a report shows of a result besides its metrics."""
    shown = [
        job["label"],
        job["n_train"],
        job["n_dev"],
        job["n_test"],
        [result[name] for name in SEALED],
        versions,
    ]
    return hashlib.sha256(canonical(shown).encode()).hexdigest()


def rebuilt_digest(entry: "Entry", setting: str | None = None) -> str:
    """A job's digest computed from what the ledger holds of it; `setting` is that of the entry in canonical form, if known."""
    coordinates = {
        "size": entry.size,
        "draw": entry.draw,
        "seed": entry.seed,
        "rows": entry.fingerprint,
    }
    return digest(setting or entry.setting, coordinates)
