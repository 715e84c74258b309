"""Where a pretrained model's files are, and what identifies their contents. No torch here: a plan needs only the names."""

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

TINY = Path(__file__).parents[1] / "tiny"


def locate(name: str, revision: str) -> Path:
    """The folder that holds a model's files, fetched into the cache where it is not local.

    Raises:
        Unavailable: it cannot be had, or has no safetensors.
    """
    folder = local_folder(name)
    if folder is None:
        return fetch_model(name, revision)
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("pytorch_model*.bin"))
        out = (
            f": `bench convert {shlex.quote(name)} FOLDER` makes one of pytorch_model.bin"
            if pickled
            else ""
        )
        raise Unavailable(
            f"{folder} holds no .safetensors file, and no other kind of weights is read{out}"
        )
    return folder


@cache
def intact(name: str, revision: str) -> Path:
    """The folder that holds a model's files, its weights compared with what they are said to be; once a process.

    The Hub's cache keeps weights under the hash of their contents. One that is another by now is
    fetched again.

    Raises:
        Unavailable: as `locate`; or a folder's files changed since its revision was taken, or the
            Hub's are damaged here and cannot be had again.
    """
    folder = locate(name, revision)
    if local_folder(name) is not None:
        unchanged(name, revision)
        return folder
    for file in _altered(folder):
        if is_offline():
            raise Unavailable(
                f"{file} is not what the Hub holds, it was altered or damaged: go online, and it is fetched again"
            )
        file.resolve().unlink()
        file.unlink()
    folder = locate(name, revision)
    if altered := _altered(folder):
        raise Unavailable(
            f"{altered[0]} arrives altered from {endpoint()}: it is not what its hash there says"
        )
    return folder


def unchanged(name: str, revision: str) -> None:
    """See that a model in a folder is still the one that was planned with; one of the Hub is kept under its commit.

    Raises:
        Unavailable: it is another.
    """
    if local_folder(name) is not None and revision_of(name) != revision:
        raise Unavailable(f"the files of {name} changed since the plan was made: run again")


def _altered(folder: Path) -> list[Path]:
    """Weights whose contents have another hash than the one that they are kept under."""
    found = []
    for file in sorted(folder.glob("*.safetensors")):
        said = file.resolve().name
        if re.fullmatch("[0-9a-f]{64}", said):
            with file.open("rb") as data:
                if hashlib.file_digest(data, "sha256").hexdigest() != said:
                    found.append(file)
    return found


def local_folder(name: str) -> Path | None:
    """The folder of the embedded model or of a path; None for a name on the Hub."""
    if name == "tiny":
        return TINY
    return Path(name) if Path(name).is_dir() else None


def spelt(name: str) -> str:
    """A model's name in its one spelling: `./m` and `m/` are the folder `m`, unless that alone means something else."""
    folder, plain = local_folder(name), Path(name).as_posix()
    return plain if folder is not None and local_folder(plain) == folder else name


def revision_of(name: str) -> str:
    """What identifies a model's contents: a commit of the Hub, or a hash of a folder's files.

    Raises:
        Unavailable: the Hub is out of reach and nothing is cached, or it has no such model.
    """
    folder = local_folder(name)
    if folder is None:
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise Unavailable(f"no folder {name!r} here, and no model of the Hub has such a name")
        return resolve_revision("model", name)
    content = hashlib.sha256()
    for path in sorted(
        [
            *folder.glob("*.json"),
            *folder.glob("*.safetensors"),
            *folder.glob("*.txt"),
            *folder.glob("*.model"),
        ]
    ):
        content.update(path.name.encode() + b"\0" + path.read_bytes())
    return content.hexdigest()[:40]
