"""Hashes that show whether a stored result has changed since it was recorded."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.jobs import canonical, digest

if TYPE_CHECKING:
    from harness.ledger.reader import LedgerEntry

SEALED = ("device", "geometry", "dev_score", "best_step", "collapsed", "trained", "stored", "seconds_training",
          "seconds_evaluation", "peak_bytes", "artefact", "payload", "finished")  # fmt: skip


def payload_hash(metrics: Mapping[str, float], blobs: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of the metrics and blobs of a result."""
    content = hashlib.sha256()
    for name in sorted(metrics):
        value = metrics[name] + 0.0  # turns -0.0 into 0.0, as SQLite does
        content.update(f"{name}={value.hex()}\n".encode())
    for kind in sorted(blobs):
        content.update(f"{kind}:{len(blobs[kind])}\n".encode() + blobs[kind])
    return content.hexdigest()


def seal(job: Mapping[str, Any], result: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """Return the SHA-256 of what a report shows of a result in addition to its metrics.

    Args:
        job: the row of `JobRow`.
        result: the row of `Result`, or the part of it that `SEALED` names.
        versions: of the libraries that computed it.
    """
    content = [
        job["label"],
        job["n_train"],
        job["n_dev"],
        job["n_test"],
        [result[name] for name in SEALED],
        versions,
    ]
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def rebuilt_digest(entry: "LedgerEntry", setting: str | None = None) -> str:
    """Compute the digest of a job from what the ledger stores of the job.

    Args:
        entry: the stored job.
        setting: its setting as canonical JSON; None: taken from the entry.
    """
    return digest(
        setting or entry.setting,
        {
            "size": entry.size,
            "draw": entry.draw,
            "seed": entry.seed,
            "rows": entry.fingerprint,
        },
    )
