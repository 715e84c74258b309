"""`bench export`: write a trained model to a folder."""

import json
from pathlib import Path

from rich.console import Console

from harness.artefacts import model_card, peft_format, restore
from harness.atomic_write import atomic_folder
from harness.scheduling.summary import print_line


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
    from safetensors.torch import save_file

    stored = restore.load(db, digest)
    tensors = stored.tensors_at(at)
    description = {
        "digest": stored.entry.digest,
        "label": stored.entry.label,
        "labels": stored.labels,
        **stored.metadata,
    }
    files = (
        peft_format.files(stored, tensors)
        if form == "peft"
        else {"model.safetensors": dict(tensors), "job.json": description}
    )
    with atomic_folder(folder) as draft:
        for name, content in files.items():
            if name.endswith(".safetensors"):
                save_file(
                    {key: tensor.float().contiguous() for key, tensor in content.items()},
                    draft / name,
                    metadata={"format": "pt"},
                )
            else:
                (draft / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
        (draft / "README.md").write_text(model_card.text(stored, form, at), "utf-8")
    print_line(Console(), f"wrote {', '.join([*files, 'README.md'])} to {folder}")
