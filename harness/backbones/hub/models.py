"""Models of the Hub: fetch the configuration, the tokenizer and the weights of one commit."""

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from harness.backbones.hub.cache import require_online, snapshot
from harness.backbones.hub.requests import download, hide_progress, repository_info
from harness.errors import Unavailable, UsageError

_COMPANIONS: Final = (
    "config.json",
    "modules.json",  # of a sentence encoder
    "generation_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "chat_template.*",
)
_TOKENIZERS: Final = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


class WeightFiles(NamedTuple):
    """File names of one kind of weights: a single file, or an index and the shards that it lists."""

    single: str
    index_file: str
    shards: str  # a pattern


SAFETENSORS: Final = WeightFiles(
    "model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"
)
PICKLED: Final = WeightFiles(
    "pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"
)


def fetch_model(name: str, revision: str, kind: WeightFiles = SAFETENSORS) -> Path:
    """Return the folder with a model's files at a commit; fetch them if they are not cached.

    Raises:
        Unavailable: the repository has no such weights, access is refused, or the Hub cannot be
            reached.
        UsageError: `kind` is `PICKLED` and the repository has safetensors.
        CannotWrite, DiskTrouble: the cache cannot be written.
    """
    from huggingface_hub import hf_hub_download

    folder = snapshot("model", name, revision)
    if _is_complete(folder, kind):
        return folder
    require_online("model", name, revision)
    info = repository_info("model", name, revision)
    hide_progress()
    for file in _files_to_fetch(name, info.files, kind):
        fetch = partial(hf_hub_download, name, file, revision=info.commit)
        download(fetch, "model", name, revision, file)
    return snapshot("model", name, info.commit)


def companions(files: Iterable[str]) -> list[str]:
    """Select the configuration and tokenizer files, without which weights cannot be used."""
    return [
        file
        for file in files
        if "/" not in file and any(fnmatchcase(file, pattern) for pattern in _COMPANIONS)
    ]


def _is_complete(folder: Path, kind: WeightFiles) -> bool:
    """Return whether a snapshot can be loaded. Weights are fetched last, so their companions are there too."""
    if not (folder / "config.json").is_file() or not any(
        file.is_file() for pattern in _TOKENIZERS for file in folder.glob(pattern)
    ):
        return False
    try:
        shards = set(json.loads((folder / kind.index_file).read_text())["weight_map"].values())
    except FileNotFoundError:
        shards = {kind.single}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(shards) and all((folder / str(shard)).is_file() for shard in shards)


def _files_to_fetch(name: str, files: tuple[str, ...], kind: WeightFiles) -> list[str]:
    """Select the files of a repository that are needed, weights last."""
    if kind is PICKLED and set(_weights(files, SAFETENSORS)) & set(files):
        raise UsageError(
            f"model {name!r} has safetensors: no conversion is needed, use it as it is: bench run --model {name}"
        )
    weights = _weights(files, kind)
    if not weights or not set(weights) <= set(files):
        raise Unavailable(_missing_weights(name, files, kind))
    if "config.json" not in files:
        raise Unavailable(
            f"model {name!r} has no config.json, so transformers cannot load it; choose another model"
        )
    return [*companions(files), *([kind.index_file] if kind.index_file in files else []), *weights]


def _weights(files: tuple[str, ...], kind: WeightFiles) -> list[str]:
    if kind.index_file not in files:
        return [kind.single]
    return [file for file in files if fnmatchcase(file, kind.shards)]


def _missing_weights(name: str, files: tuple[str, ...], kind: WeightFiles) -> str:
    """Return the message for a repository without the weights that are needed."""
    if kind is PICKLED:
        return f"model {name!r} has no {PICKLED.single}: there is nothing to convert; choose another model"
    if set(_weights(files, PICKLED)) & set(files):
        remedy = (
            f"`bench convert {name} FOLDER` converts {PICKLED.single} without running code from it"
        )
    else:
        remedy = "choose a model that has safetensors"
    return (
        f"model {name!r} has no {SAFETENSORS.single}: only safetensors are read, "
        f"since other weight files can run code when they are opened; {remedy}"
    )
