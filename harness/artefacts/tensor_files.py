"""Trained tensors beside the ledger: `<ledger>.artefacts/<digest>.safetensors`, written to a draft, synced and then renamed.

The hash in the result's row says whether a file is still what was written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.atomic_write import atomic_write
from harness.errors import FULL, CorruptData, DiskTrouble, Unavailable

if TYPE_CHECKING:
    from torch import Tensor


def folder(db: str | Path) -> Path:
    """Where the artefacts of a ledger lie: beside its file, or in the folder at hand for one on a server."""
    ledger = Path("results.db" if "://" in str(db) else db)
    return ledger.with_name(ledger.name + ".artefacts")


def read(where: Path, digest: str, sha: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a job and what is known about them.

    Raises:
        Unavailable: the file is not there.
        CorruptData: it is not what was written.
    """
    from safetensors import safe_open
    from safetensors.torch import load

    content = check(where, digest, sha)
    with safe_open(where / f"{digest}.safetensors", "pt") as file:
        about = json.loads(file.metadata()["bench"])
    return load(content), about


def check(where: Path, digest: str, sha: str) -> bytes:
    """The content of a job's file, as it was written.

    Raises:
        Unavailable: the file is not there.
        CorruptData: it is not what was written.
    """
    path = where / f"{digest}.safetensors"
    if not path.exists():
        raise Unavailable(
            f"the trained tensors are not at {path}: were they moved away from the database?"
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha:
        raise CorruptData(f"{path} is not what was written after training; it was left as it is")
    return content


def write(where: Path, digest: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """Keep tensors (`[vertices, ...]` each, or as the backbone's own) and give their file's SHA-256.

    Raises:
        DiskTrouble: see `telling_disk`.
    """
    from safetensors.torch import save

    flat = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    content = save(flat, metadata={"bench": json.dumps(about, sort_keys=True)})
    keep(where, digest, content)
    return hashlib.sha256(content).hexdigest()


def keep(where: Path, digest: str, content: bytes) -> None:
    """Put a job's file where it belongs: whole under its name, and on the disk.

    Raises:
        DiskTrouble: see `telling_disk`.
    """
    with telling_disk(where):
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = where / f"{digest}.safetensors"
        with atomic_write(path, draft=path.with_suffix(".draft")) as draft:
            draft.write_bytes(content)


def copy(file: Path, there: Path) -> None:
    """Put a copy of a job's file into another folder: whole under its name, or not there.

    Raises:
        FileNotFoundError: there is no such file.
        DiskTrouble: see `telling_disk`.
    """
    path = there / file.name
    with telling_disk(there):
        there.mkdir(mode=0o700, exist_ok=True)
        with atomic_write(path, draft=path.with_suffix(".draft")) as draft:
            shutil.copy2(file, draft)


@contextmanager
def telling_disk(where: Path) -> Iterator[None]:
    """Writing below a folder, where a disk that is full or broken is nobody else's fault.

    Raises:
        DiskTrouble: it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        hint = "free some space, then run again; what was committed is safe"
        raise DiskTrouble(f"writing to {where} failed ({error.strerror}): {hint}") from error
