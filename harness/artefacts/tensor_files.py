"""Files of trained tensors beside the ledger: `<ledger>.artefacts/<digest>.safetensors`.

A result in the ledger holds the SHA-256 of its file, which shows whether the file was changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.atomic_write import atomic_write
from harness.errors import FULL, CorruptData, DiskTrouble, Unavailable

if TYPE_CHECKING:
    from torch import Tensor


def folder(db: str | Path) -> Path:
    """Return the folder of a ledger's files: beside its file, or in the working directory for a server.

    It is beside the file itself, not beside a link to it, so that each name of the file finds it.
    """
    ledger = Path("results.db" if "://" in str(db) else db).resolve()
    return ledger.with_name(ledger.name + ".artefacts")


def read(where: Path, digest: str, sha: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a job and their metadata.

    Args:
        where: the folder.
        digest: the job's digest.
        sha: the SHA-256 that the ledger holds for the file.

    Raises:
        Unavailable: the file is missing.
        CorruptData: the file was changed.
    """
    from safetensors import safe_open
    from safetensors.torch import load

    content = check(where, digest, sha)
    with safe_open(where / f"{digest}.safetensors", "pt") as file:
        metadata = json.loads(file.metadata()["bench"])
    return load(content), metadata


def check(where: Path, digest: str, sha: str) -> bytes:
    """Return the content of a job's file if it has the expected SHA-256.

    Raises:
        Unavailable: the file is missing.
        CorruptData: the file was changed.
    """
    path = where / f"{digest}.safetensors"
    if not path.exists():
        raise Unavailable(
            f"the trained tensors are not at {path}: was the database moved without its folder?"
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha:
        raise CorruptData(f"{path} was changed after training; it was left as it is")
    return content


def write(
    where: Path, digest: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> str:
    """Write the tensors of a job, `[vertices, ...]` or without a vertex axis; return the file's SHA-256.

    Raises:
        DiskTrouble: the disk is full or broken.
    """
    from safetensors.torch import save

    content = save(
        {name: tensor.contiguous().cpu() for name, tensor in tensors.items()},
        metadata={"bench": json.dumps(metadata, sort_keys=True)},
    )
    write_bytes(where, digest, content)
    return hashlib.sha256(content).hexdigest()


def write_bytes(where: Path, digest: str, content: bytes) -> None:
    """Write the content of a job's file. The file is on disk before a result that names it is recorded.

    Raises:
        DiskTrouble: the disk is full or broken.
    """
    with disk_trouble(where):
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _atomic_write(where / f"{digest}.safetensors") as draft:
            draft.write_bytes(content)


def copy(file: Path, where: Path) -> None:
    """Copy a job's file into another folder.

    Raises:
        FileNotFoundError: the file is missing.
        DiskTrouble: the disk is full or broken.
    """
    with disk_trouble(where):
        where.mkdir(mode=0o700, exist_ok=True)
        with _atomic_write(where / file.name) as draft:
            shutil.copy2(file, draft)


def _atomic_write(path: Path) -> AbstractContextManager[Path]:
    """Write a file through a draft with a fixed name, so that a retry replaces the draft of a killed process."""
    return atomic_write(path, draft=path.with_suffix(".draft"))


@contextmanager
def disk_trouble(where: Path) -> Iterator[None]:
    """Raise `DiskTrouble` for errors of a full or broken disk while writing below a folder.

    Raises:
        DiskTrouble: the disk is full or broken.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskTrouble(
            f"writing to {where} failed ({error.strerror}): free some space, then run again; "
            "what was committed is safe"
        ) from error
