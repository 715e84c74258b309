"""Trained tensors beside the ledger: `<ledger>.artefacts/<digest>.safetensors`, written to a draft and then renamed.

The hash in the result's row says whether a file is still what was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

KEEP = ("none", "small", "all")  # small: everything but full backbones


def folder(ledger: Path) -> Path:
    """Where the artefacts of a ledger lie."""
    return ledger.with_name(ledger.name + ".artefacts")


def write(where: Path, digest: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """Keep tensors (`[vertices, ...]` each, or as the backbone's own) and give their file's SHA-256."""
    from safetensors.torch import save

    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    flat = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    content = save(flat, metadata={"bench": json.dumps(about, sort_keys=True)})
    draft = where / f"{digest}.draft"
    draft.write_bytes(content)
    draft.replace(where / f"{digest}.safetensors")
    return hashlib.sha256(content).hexdigest()
