"""Convert pickled weights to safetensors.

This is the only module that opens pickles; `torch.load(weights_only=True)` creates nothing but tensors.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from harness.atomic_write import atomic_folder
from harness.backbones import checkpoints
from harness.backbones.hub.models import PICKLED, SAFETENSORS, companions, fetch_model
from harness.errors import CannotWrite, CorruptData, DiskTrouble, Unavailable, UsageError

if TYPE_CHECKING:
    from torch import Tensor


def convert_model(name: str, folder: Path) -> None:
    """Convert the pickled weights of a model (`bench convert`).

    Args:
        name: a folder or a model of the Hub.
        folder: the folder to create.

    Raises:
        UsageError: the model already has safetensors, or has no config.json.
        Unavailable: the model cannot be fetched, or has no pickled weights.
        CorruptData: the weights are damaged, or would run code.
        CannotWrite, DiskTrouble: the folder exists or cannot be written.
    """
    if folder.exists():
        raise CannotWrite(f"{folder} already exists: name a folder that does not")
    source = checkpoints.local_folder(name) or fetch_model(
        name, checkpoints.revision_of(name), PICKLED
    )
    if any(source.glob("*.safetensors")):
        raise UsageError(
            f"{source} has safetensors: no conversion is needed, use it as it is: bench run --model {shlex.quote(name)}"
        )
    copied = companions(sorted(path.name for path in source.iterdir()))
    if "config.json" not in copied:
        raise UsageError(f"{source} has no config.json, so transformers cannot load it")
    files, indexed = _pickled_files(source)
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_pickle(file)
    if missing := indexed - tensors.keys():
        raise CorruptData(
            f"{source}: the index names the tensor {min(missing)!r}, which is in no file; nothing was converted"
        )
    _write(folder, tensors, [source / file for file in copied])
    for line in (
        f"wrote {', '.join([SAFETENSORS.single, *copied])} to {folder}",
        f"bench run --model {shlex.quote(str(folder))}",
    ):
        Console().print(line, markup=False, highlight=False, soft_wrap=True)


def _pickled_files(source: Path) -> tuple[list[Path], set[str]]:
    """Return the files with pickled weights, and the tensor names that the index lists, if there is one."""
    index = source / PICKLED.index_file
    file_of: dict[str, str] = {}
    if index.is_file():
        try:
            file_of = {
                str(key): str(file)
                for key, file in json.loads(index.read_text("utf-8"))["weight_map"].items()
            }
        except (ValueError, LookupError, TypeError, AttributeError):
            raise CorruptData(
                f"{index} is not an index of weights; nothing was converted"
            ) from None
    shards = sorted(set(file_of.values()))
    # The names must not lead out of the folder.
    if not all(fnmatchcase(file, PICKLED.shards) and "/" not in file for file in shards):
        raise CorruptData(f"{index} names files other than {PICKLED.shards}; nothing was converted")
    files = [source / file for file in shards or [PICKLED.single]]
    for file in files:
        if not file.is_file():
            raise Unavailable(
                f"there is no {file}: only {PICKLED.single} and the shards in its index can be converted"
            )
    return files, set(file_of)


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Load the tensors of a pickled file; anything else in it is refused before it runs.

    Raises:
        Unavailable: the file cannot be opened.
        CorruptData: the file is damaged, or holds something other than named tensors.
    """
    import torch

    try:
        path.open("rb").close()
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from error
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=_can_be_mapped(path))
    except Exception as error:  # damage can cause an error of any class
        if refused := re.search(r"GLOBAL (\S+)", str(error)):
            raise CorruptData(
                f"{path} calls {refused[1]} when it is opened, which tensors do not need and which may run code; "
                "it was refused, and nothing in it ran"
            ) from None
        raise CorruptData(
            f"{path} is damaged or was not written by PyTorch; fetch it again"
        ) from None
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and _is_dense(value) for name, value in tensors.items()
    ):
        raise CorruptData(f"{path} holds something other than named tensors; nothing was converted")
    return tensors


def _is_dense(value: object) -> bool:
    """Return whether a value is a dense tensor on the CPU that does not claim more numbers than are stored."""
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


def _can_be_mapped(path: Path) -> bool:
    """Return whether a file can be mapped into memory: an uncompressed archive, the format since PyTorch 1.6."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())


def _untied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory: safetensors cannot store ties, and models look for every name."""
    addresses: set[int] = set()
    untied = {}
    for name, tensor in tensors.items():
        address = tensor.untyped_storage().data_ptr()
        untied[name] = (tensor.clone() if address in addresses else tensor).detach().contiguous()
        addresses.add(address)
    return untied


def _write(folder: Path, tensors: dict[str, Tensor], copied: list[Path]) -> None:
    """Write the tensors and copies of the other files to a new folder."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        with atomic_folder(folder) as draft:
            save_file(_untied(tensors), draft / SAFETENSORS.single, metadata={"format": "pt"})
            for file in copied:
                shutil.copyfile(file, draft / file.name)
            # safetensors makes a file that only its owner reads
            shutil.copymode(copied[0], draft / SAFETENSORS.single)
    except (OSError, SafetensorError) as error:
        raise DiskTrouble(f"writing {folder} failed, and it was removed: {error}") from error
