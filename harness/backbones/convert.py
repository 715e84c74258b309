"""Pickled weights made into safetensors. The one place where a pickle is opened, by a reader that makes tensors of it only."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from harness.atomic_write import atomic_folder
from harness.backbones import checkpoints
from harness.backbones.hub.models import PICKLED, SAFETENSORS, companions, fetch_model
from harness.errors import CannotWrite, CorruptData, DiskTrouble, Unavailable, UsageError

if TYPE_CHECKING:
    from torch import Tensor


def convert_model(name: str, folder: Path) -> None:
    """`bench convert`.

    Raises:
        UsageError: the model has safetensors already, or is none.
        Unavailable: it cannot be had, or has no pickled weights.
        CorruptData: its weights are damaged, or would run code.
        CannotWrite, DiskTrouble: the folder exists, or cannot be made.
    """
    from rich.console import Console

    if folder.exists():
        raise CannotWrite(f"{folder} already exists: name a folder that does not")
    source = checkpoints.local_folder(name) or fetch_model(
        name, checkpoints.revision_of(name), PICKLED
    )
    if any(source.glob("*.safetensors")):
        raise UsageError(
            f"{source} holds safetensors: there is nothing to convert, use it as it is: bench run --model {shlex.quote(name)}"
        )
    beside = companions(sorted(path.name for path in source.iterdir()))
    files, promised = _files(source)
    if "config.json" not in beside:
        raise UsageError(f"{source} has no config.json: it is no model of transformers")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read(file)
    if missing := promised - tensors.keys():
        raise CorruptData(
            f"{source}: the index names {min(missing)!r}, which no file holds; nothing was converted"
        )
    _write(folder, tensors, [source / file for file in beside])
    out = Console()
    out.print(
        f"{folder}: {', '.join([SAFETENSORS.single, *beside])}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    out.print(
        f"bench run --model {shlex.quote(str(folder))}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _files(source: Path) -> tuple[list[Path], set[str]]:
    """The files with pickled weights, and the names that an index promises to be in them."""
    index = source / PICKLED.index
    promised: dict[str, str] = {}
    if index.is_file():
        try:
            promised = {
                str(key): str(file)
                for key, file in json.loads(index.read_text("utf-8"))["weight_map"].items()
            }
        except (ValueError, LookupError, TypeError, AttributeError):
            raise CorruptData(f"{index} is no index of weights; nothing was converted") from None
    shards = sorted(set(promised.values()))
    if not all(
        fnmatchcase(file, PICKLED.shards) and "/" not in file for file in shards
    ):  # nothing outside the folder
        raise CorruptData(
            f"{index} names files that are no {PICKLED.shards}; nothing was converted"
        )
    files = [source / file for file in shards or [PICKLED.single]]
    for file in files:
        if not file.is_file():
            raise Unavailable(
                f"there is no {file}: only {PICKLED.single} and what its index names is converted"
            )
    return files, set(promised)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors in a pickled file. Whatever else it asks for is refused before it happens.

    Raises:
        Unavailable: the file cannot be opened.
        CorruptData: it is damaged, or holds anything but named tensors.
    """
    import torch

    try:
        path.open("rb").close()
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=_mappable(path))
    except Exception as error:  # damage ends in an error of any kind
        if asked := re.search(r"GLOBAL (\S+)", str(error)):
            raise CorruptData(
                f"{path} asks for {asked[1]} when it is opened, which no table of tensors needs and which may run code; "
                "it was refused, and nothing of it was run"
            ) from None
        raise CorruptData(f"{path} is damaged or no file of PyTorch's; fetch it again") from None
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and _is_plain(value) for name, value in found.items()
    ):
        raise CorruptData(f"{path} holds something other than named tensors; nothing was converted")
    return found


def _is_plain(value: object) -> bool:
    """Whether it is numbers in memory, each in a place of its own: a view may claim more of them than there are."""
    import torch

    if (
        not isinstance(value, torch.Tensor)
        or value.layout is not torch.strided
        or value.device.type != "cpu"
    ):
        return False
    return (
        not value.is_quantized
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _mappable(path: Path) -> bool:
    """Whether the tensors lie in the file as they are: not in the format of before PyTorch 1.6, nor compressed."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor under its own name with memory of its own: safetensors keeps no ties, and models look for each name."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[name] = (tensor.clone() if place in seen else tensor).detach().contiguous()
        seen.add(place)
    return apart


def _write(folder: Path, tensors: dict[str, Tensor], beside: list[Path]) -> None:
    """The new folder, whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        with atomic_folder(folder) as draft:
            save_file(_apart(tensors), draft / SAFETENSORS.single, metadata={"format": "pt"})
            for file in beside:
                shutil.copyfile(file, draft / file.name)
            # safetensors makes a file that only its owner reads
            shutil.copymode(beside[0], draft / SAFETENSORS.single)
    except (OSError, SafetensorError) as error:
        raise DiskTrouble(
            f"writing {folder} failed, and nothing of it was kept: {error}"
        ) from error
