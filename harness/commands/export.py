"""`bench export`: write a trained model to a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.artefacts import model_card, peft_format, restore
from harness.artefacts.restore import StoredModel
from harness.atomic_write import atomic_folder


def export_job(db: str, digest: str, folder: Path, form: str, at: str | None) -> None:
    """Write a job's tensors, their description and a model card to a new folder.

    Args:
        db: the database of results.
        digest: the job's digest, or its beginning.
        folder: a folder that does not exist yet.
        form: `peft` or `safetensors`.
        at: the point of the simplex; None: its centre.

    Raises:
        UsageError: the format cannot hold this model, or there is no such job or point.
        Unavailable, CorruptData: the tensors are missing or were changed.
        CannotWrite: the folder exists or cannot be made.
    """
    from rich.console import Console
    from safetensors.torch import save_file

    stored = restore.load(db, digest)
    tensors = stored.tensors_at(at)
    files = (
        peft_format.files(stored, tensors)
        if form == "peft"
        else {"model.safetensors": dict(tensors), "job.json": _description(stored)}
    )
    with atomic_folder(folder) as draft:
        for name, content in files.items():
            if name.endswith(".safetensors"):
                flat = {key: tensor.float().contiguous() for key, tensor in content.items()}
                save_file(flat, draft / name, metadata={"format": "pt"})
            else:
                (draft / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
        (draft / "README.md").write_text(model_card.text(stored, form, at), "utf-8")
    text = f"wrote {', '.join([*files, 'README.md'])} to {folder}"
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def _description(stored: StoredModel) -> dict[str, Any]:
    entry = stored.entry
    return {
        "digest": entry.digest,
        "label": entry.label,
        "labels": stored.labels,
        **stored.metadata,
    }
