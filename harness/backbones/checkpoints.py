"""Where the files of a pretrained model are, and what identifies their contents.

This module does not import torch, because a plan needs only names and revisions.
"""

import hashlib
import re
import shlex
from functools import cache
from pathlib import Path

from harness.backbones.hub.cache import is_offline
from harness.backbones.hub.errors import endpoint
from harness.backbones.hub.models import fetch_model
from harness.backbones.hub.revisions import resolve_revision
from harness.errors import Unavailable

# The models that come with the package, by name.
EMBEDDED = {
    "tiny": Path(__file__).parents[1] / "tiny",
    "tiny-gpt": Path(__file__).parents[1] / "tiny" / "gpt",
}


def locate(name: str, revision: str) -> Path:
    """Return the folder with a model's files; fetch a model of the Hub if it is not cached.

    Raises:
        Unavailable: the model cannot be fetched, or has no safetensors.
    """
    folder = local_folder(name)
    if folder is None:
        return fetch_model(name, revision)
    if not any(folder.glob("*.safetensors")):
        remedy = (
            f": `bench convert {shlex.quote(name)} FOLDER` converts pytorch_model.bin"
            if any(folder.glob("pytorch_model*.bin"))
            else ""
        )
        raise Unavailable(
            f"{folder} has no .safetensors file, and no other format of weights is read{remedy}"
        )
    return folder


@cache
def locate_verified(name: str, revision: str) -> Path:
    """Return the folder with a model's files after checking the weights; done once per process.

    The Hub's cache keeps weights under their SHA-256. A file that no longer has it is fetched again.

    Raises:
        Unavailable: as `locate`; or the files of a folder changed since its revision was computed;
            or weights of the Hub are damaged here and cannot be fetched again.
    """
    folder = locate(name, revision)
    if local_folder(name) is not None:
        require_unchanged(name, revision)
        return folder
    for file in _altered(folder):
        if is_offline():
            raise Unavailable(
                f"{file} is not what the Hub holds: it was changed or damaged; go online to fetch it again"
            )
        file.resolve().unlink()
        file.unlink()
    folder = locate(name, revision)
    if altered := _altered(folder):
        raise Unavailable(
            f"{altered[0]} does not have the hash that {endpoint()} announces: check the network and HF_ENDPOINT"
        )
    return folder


def require_unchanged(name: str, revision: str) -> None:
    """Check that a model in a folder still has the revision of the plan; the Hub's have a commit.

    Raises:
        Unavailable: the files of the folder changed.
    """
    if local_folder(name) is not None and revision_of(name) != revision:
        raise Unavailable(f"the files of {name} changed since the plan was made: run again")


def _altered(folder: Path) -> list[Path]:
    """Return the weights of a snapshot whose SHA-256 is not the name that they are stored under."""
    altered = []
    for file in sorted(folder.glob("*.safetensors")):
        expected = file.resolve().name
        if re.fullmatch("[0-9a-f]{64}", expected):
            with file.open("rb") as content:
                if hashlib.file_digest(content, "sha256").hexdigest() != expected:
                    altered.append(file)
    return altered


def local_folder(name: str) -> Path | None:
    """Return the folder of an embedded model or of a path; None for a name on the Hub."""
    if name in EMBEDDED:
        return EMBEDDED[name]
    return Path(name) if Path(name).is_dir() else None


def canonical_name(name: str) -> str:
    """Return a folder's absolute path with links resolved, which is found from any folder; or the name as it is."""
    folder = None if name in EMBEDDED else local_folder(name)
    return name if folder is None else str(folder.resolve())


def revision_of(name: str) -> str:
    """Return what identifies a model's contents: a commit of the Hub, or a hash of a folder's files.

    Raises:
        Unavailable: there is no such folder or model, or the Hub cannot be reached and nothing is
            cached.
    """
    folder = local_folder(name)
    if folder is None:
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise Unavailable(
                f"there is no folder {name!r}, and no model of the Hub can have this name"
            )
        return resolve_revision("model", name)
    content = hashlib.sha256()
    patterns = ("*.json", "*.safetensors", "*.txt", "*.model")
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        content.update(path.name.encode() + b"\0" + path.read_bytes())
    return content.hexdigest()[:40]
