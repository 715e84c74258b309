"""Reaching the Hub: revisions, models, datasets. The one rule: what is cached is used without asking anybody.

The Hub's own client tries for up to a minute and a half before it gives up, so nothing is fetched
before a short question about the repository has been answered. Nothing here runs code of a
repository or opens weights, and only `bench convert` asks for any but safetensors.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

from harness.backbones.hub_errors import (
    FellBack,
    blame_disk,
    endpoint,
    first_line,
    is_passing,
    is_server_error,
    nothing_cached,
    refuse,
    unreached,
)
from harness.errors import BenchError, Unavailable, UsageError

if TYPE_CHECKING:
    from datasets import Dataset

T = TypeVar("T")
Kind = Literal["model", "dataset"]

_log = logging.getLogger(__name__)

ASK_SECONDS: Final = (
    6.5  # all tries together; with the command's own start the answer comes within ten
)
TRY_SECONDS: Final = 4.0  # one try
PAUSES: Final = (0.3, 0.6, 1.0, 1.0)  # between the tries of a download: one more try than pauses
BROKEN_TRIES: Final = 3  # of a download whose connection breaks
DOWN_SECONDS: Final = (
    60.0  # a Hub out of reach is not asked again for so long: nine tasks wait once, not nine times
)

_SHA: Final = re.compile(r"[0-9a-f]{40}")
_BESIDE_WEIGHTS: Final = (
    "config.json",
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


class Weights(NamedTuple):
    """How a kind of weights is called: as one file, or as shards with a listing of them."""

    whole: str
    listing: str
    shards: str


SAFE: Final = Weights(
    "model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"
)
PICKLED: Final = Weights(
    "pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"
)


class Split(NamedTuple):
    """One split of a dataset by columns, with the class names of the columns that have them."""

    columns: dict[str, list[Any]]
    classes: dict[str, tuple[str, ...]]


class _Info(NamedTuple):
    sha: str
    files: tuple[str, ...]


class _OutOfReach(Unavailable):
    """Nobody answered, or only with errors of the server; what is cached may still do."""


_down_since: dict[str, float] = {}  # endpoint -> when it was last found out of reach


@cache
def revision(kind: Kind, name: str, asked: str = "main") -> str:
    """The commit that `asked` stands for in a repository, found once per process.

    A full commit that is cached needs no network. Where the Hub is out of reach or switched off
    (HF_HUB_OFFLINE=1), the commit last seen stands in, and a warning says so.

    Raises:
        Unavailable: there is no such repository or revision, access is refused, or the Hub is out
            of reach and nothing is cached.
    """
    if _SHA.fullmatch(asked) and _snapshot(kind, name, asked).is_dir():
        return asked
    cached = _cached_revision(kind, name, asked)
    if is_offline():
        if cached is None:
            raise Unavailable(
                nothing_cached(kind, name, asked, "HF_HUB_OFFLINE=1 forbids asking the Hub")
            )
        return cached
    try:
        found = _info(kind, name, asked).sha
    except _OutOfReach as problem:
        if cached is None:
            raise
        _log.warning(
            "%s: using the cached revision %s of %s %s",
            first_line(problem),
            cached[:12],
            kind,
            name,
        )
        return cached
    _remember(kind, name, asked, found)
    return found


def fetch_model(name: str, revision: str, weights: Weights = SAFE) -> Path:
    """The folder with a model's configuration, tokenizer and weights at a commit; fetched where not cached.

    Raises:
        Unavailable: the repository holds no such weights, access is refused, or the Hub stays out
            of reach.
        UsageError: pickled weights are asked for where there are safetensors.
        CannotWrite, DiskTrouble: the cache cannot take the files.
    """
    from huggingface_hub import hf_hub_download

    folder = _snapshot("model", name, revision)
    if _is_complete(folder, weights):
        return folder
    if is_offline():
        raise Unavailable(
            nothing_cached("model", name, revision, "HF_HUB_OFFLINE=1 forbids asking the Hub")
        )
    info = _info("model", name, revision)
    _quiet()
    for file in _model_files(name, info.files, weights):

        def fetch(file: str = file) -> str:
            return hf_hub_download(name, file, revision=info.sha)

        _persist(fetch, "model", name, revision, file)
    return _snapshot("model", name, info.sha)


def dataset_split(name: str, config: str | None, split: str, revision: str) -> Split:
    """One split of a dataset at a commit, by columns.

    Raises:
        UsageError: the dataset has no such configuration or split; those it has are named.
        Unavailable: access is refused, or the Hub is out of reach and the split is not cached.
        CannotWrite, DiskTrouble: the cache cannot take the files.
    """
    data = _prepared(name, config, split, revision)
    if data is None:
        if is_offline():
            what = f"{config or 'default'}/{split} of {name}"
            raise Unavailable(
                nothing_cached("dataset", what, revision, "HF_HUB_OFFLINE=1 forbids asking the Hub")
            )
        _info("dataset", name, revision)
        data = _persist(
            lambda: _load(name, config, split, revision),
            "dataset",
            name,
            revision,
            f"{config or 'default'}/{split}",
        )
    classes = {
        column: tuple(kind.names)
        for column, kind in data.features.items()
        if hasattr(kind, "names")
    }
    return Split(columns=data[:], classes=classes)


def beside_weights(files: Iterable[str]) -> list[str]:
    """Those of a model's files that make its weights usable: the configuration and the tokenizer."""
    return [
        file
        for file in files
        if "/" not in file and any(fnmatchcase(file, pattern) for pattern in _BESIDE_WEIGHTS)
    ]


@contextmanager
def offline() -> Iterator[None]:
    """Inside the block nobody is asked: what is not cached is Unavailable, as it is everywhere under HF_HUB_OFFLINE=1."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


# What is cached


def is_offline() -> bool:
    """Whether the Hub may not be asked."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _storage(kind: Kind, name: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / "--".join([f"{kind}s", *name.split("/")])


def _snapshot(kind: Kind, name: str, sha: str) -> Path:
    return _storage(kind, name) / "snapshots" / sha


def _cached_revision(kind: Kind, name: str, asked: str) -> str | None:
    """The commit that the cache notes for `asked`, or for `main` the newest one there if nothing is noted."""
    storage = _storage(kind, name)
    with suppress(OSError, ValueError):
        noted = (storage / "refs" / asked).read_text().strip()
        if _SHA.fullmatch(noted) and _snapshot(kind, name, noted).is_dir():
            return noted
    if asked != "main":
        return None
    snapshots = [
        folder for folder in (storage / "snapshots").glob("*") if _SHA.fullmatch(folder.name)
    ]
    return max(snapshots, key=lambda folder: folder.stat().st_mtime).name if snapshots else None


def _remember(kind: Kind, name: str, asked: str, sha: str) -> None:
    """Note what a branch stands for where the Hub's client does too: a download by commit alone would not."""
    if _SHA.fullmatch(asked) or ".." in asked:
        return
    note = _storage(kind, name) / "refs" / asked
    with suppress(OSError):  # a cache that cannot be written still serves
        if not note.is_file() or note.read_text() != sha:
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(sha)


def _is_complete(folder: Path, weights: Weights) -> bool:
    """Whether a snapshot can be read. Weights are fetched last, so what they stand beside is there too."""
    import json

    if not (folder / "config.json").is_file() or not any(
        file.is_file() for name in _TOKENIZERS for file in folder.glob(name)
    ):
        return False
    try:
        shards = set(json.loads((folder / weights.listing).read_text())["weight_map"].values())
    except FileNotFoundError:
        shards = {weights.whole}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(shards) and all((folder / str(shard)).is_file() for shard in shards)


def _model_files(name: str, files: tuple[str, ...], wanted: Weights) -> list[str]:
    """What to fetch of a model's repository, weights last."""
    if wanted is PICKLED and set(_of(SAFE, files)) & set(files):
        raise UsageError(
            f"model {name!r} offers safetensors: there is nothing to convert, use it as it is: bench run --model {name}"
        )
    weights = _of(wanted, files)
    if not weights or not set(weights) <= set(files):
        raise Unavailable(_missing(name, files, wanted))
    if "config.json" not in files:
        raise Unavailable(
            f"model {name!r} has no config.json: it is no model of transformers; choose another one"
        )
    return [
        *beside_weights(files),
        *([wanted.listing] if wanted.listing in files else []),
        *weights,
    ]


def _of(wanted: Weights, files: tuple[str, ...]) -> list[str]:
    return (
        [file for file in files if fnmatchcase(file, wanted.shards)]
        if wanted.listing in files
        else [wanted.whole]
    )


def _missing(name: str, files: tuple[str, ...], wanted: Weights) -> str:
    """What to do where a repository lacks the weights wanted."""
    if wanted is PICKLED:
        return f"model {name!r} has no {PICKLED.whole}: there is nothing that could be converted; choose another one"
    if set(_of(PICKLED, files)) & set(files):
        out = f"`bench convert {name} FOLDER` writes them out of {PICKLED.whole} without running anything"
    else:
        out = "choose a model that offers safetensors"
    return f"model {name!r} has no {SAFE.whole}: only safetensors are read, since other files can run code when opened; {out}"


def _prepared(name: str, config: str | None, split: str, sha: str) -> "Dataset | None":
    """A split that was loaded before, read straight from the library's cache.

    Offline, the library itself takes the dataset's newest copy whatever its commit, so the commit
    is looked up here.
    """
    from datasets import Dataset, concatenate_datasets
    from datasets import config as settings
    from datasets.naming import camelcase_to_snakecase

    *owner, last = name.split("/")
    root = Path(settings.HF_DATASETS_CACHE) / "___".join([*owner, camelcase_to_snakecase(last)])
    folders = list(root.glob(f"{_literal(config)}/*/{sha}" if config else f"*/*/{sha}"))
    if len(folders) != 1:
        return None
    stem = f"{camelcase_to_snakecase(last)}-{split}"
    shards = sorted(folders[0].glob(f"{_literal(stem)}-[0-9]*-of-[0-9]*.arrow"))
    whole = folders[0] / f"{stem}.arrow"
    files = [whole] if whole.is_file() else shards
    try:
        return (
            concatenate_datasets([Dataset.from_file(str(file)) for file in files])
            if files
            else None
        )
    except (OSError, ValueError) as problem:  # pyarrow's errors are of these two kinds
        raise Unavailable(
            f"the cached copy of {name} cannot be read ({first_line(problem)}); delete the folder {folders[0]} and try again"
        ) from None


def _literal(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)


# Asking and fetching


@cache
def _info(kind: Kind, name: str, asked: str) -> _Info:
    """What the Hub says about a repository, within `ASK_SECONDS`; several short tries.

    Raises:
        Unavailable: there is no such repository or revision, or access is refused: final at once.
        _OutOfReach: no sensible answer in time.
    """
    return _ask(kind, name, asked)


def _ask(kind: Kind, name: str, asked: str) -> _Info:
    from huggingface_hub import HfApi

    api, deadline = HfApi(), time.monotonic() + ASK_SECONDS
    question = api.model_info if kind == "model" else api.dataset_info

    def ask() -> _Info:
        answer = question(name, revision=asked, timeout=TRY_SECONDS)
        if not answer.sha or not _SHA.fullmatch(answer.sha):
            raise ConnectionError("the answer names no commit")
        return _Info(answer.sha, tuple(file.rfilename for file in answer.siblings or ()))

    hub = endpoint()
    if time.monotonic() - _down_since.get(hub, float("-inf")) < DOWN_SECONDS:
        raise _OutOfReach(unreached(kind, name, "it was asked a moment ago and gave no answer"))
    for tries, pause in enumerate((0.5, 1.0, None), 1):
        try:
            return _within(min(TRY_SECONDS, deadline - time.monotonic()), ask)
        except Exception as problem:
            refuse(kind, name, asked, problem)
            if pause is None or time.monotonic() + pause >= deadline - 0.5:
                if not is_server_error(problem):
                    _down_since[hub] = time.monotonic()
                said = (
                    f"{tries} {'try' if tries == 1 else 'tries'}, the last: {first_line(problem)}"
                )
                raise _OutOfReach(unreached(kind, name, said)) from None
        time.sleep(pause)
    raise AssertionError  # the last pause is None


def _within(seconds: float, call: Callable[[], T]) -> T:
    """The result of a call, or TimeoutError: looking up a name and trying its many addresses know no limit of their own."""
    done: list[T | BaseException] = []

    def work() -> None:
        try:
            done.append(call())
        except BaseException as problem:
            done.append(problem)

    thread = threading.Thread(
        target=work, daemon=True
    )  # one that hangs must not keep the command from ending
    thread.start()
    thread.join(max(seconds, 0.1))
    if not done:
        raise TimeoutError(f"no answer within {seconds:.0f} seconds")
    if isinstance(done[0], BaseException):
        raise done[0]
    return done[0]


def _persist(fetch: Callable[[], T], kind: Kind, name: str, sha: str, what: str) -> T:
    """The result of a download that may be interrupted: tried again, as long as the Hub answers at all."""
    for tries, pause in enumerate((*PAUSES, None), 1):
        try:
            return fetch()
        except BenchError:
            raise
        except Exception as problem:
            refuse(kind, name, sha, problem)
            blame_disk(problem)
            if not is_passing(problem):
                raise Unavailable(
                    f"{kind} {name!r}: {what} cannot be fetched: {type(problem).__name__}: {first_line(problem)}"
                ) from None
            alive = is_server_error(
                problem
            )  # a broken connection was tried again by the client already, a 503 was not
            if pause is None or (tries >= BROKEN_TRIES and not alive):
                raise _OutOfReach(
                    f"{kind} {name!r}: {what} did not arrive after {tries} tries, the last: {first_line(problem)}; "
                    "nothing half-written is used; try again later, what has arrived is kept"
                ) from None
        time.sleep(pause)
        # A Hub gone silent ends this within seconds. Not asked every time: a server that refuses
        # every third request would then refuse the same one for ever.
        if not alive or tries % 2:
            _ask(kind, name, sha)
    raise AssertionError  # the last pause is None


def _load(name: str, config: str | None, split: str, sha: str) -> "Dataset":
    from datasets import disable_progress_bars, load_dataset_builder

    _quiet()
    disable_progress_bars()
    try:
        builder = load_dataset_builder(name, config, revision=sha)
    except ValueError as problem:
        if "BuilderConfig" in str(problem) or "Config name is missing" in str(problem):
            raise UsageError(f"dataset {name!r}: {first_line(problem)}") from None
        if "find cache" in str(problem):
            raise FellBack("a request failed") from None
        raise
    if builder.hash != sha:
        raise FellBack("a request failed, and the cached copy is of another revision")
    builder.download_and_prepare()
    splits = list(builder.info.splits or ())
    if split not in splits:
        raise UsageError(
            f"dataset {name!r} ({config or 'default'}) has no split {split!r}; there are: {', '.join(splits)}"
        )
    return builder.as_dataset(split=split)


def _quiet() -> None:
    """Keep the libraries' progress bars and their announcements of retries out of the command's own display."""
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # documented, exported lazily

    disable_progress_bars()
    for library in ("huggingface_hub", "datasets"):
        logging.getLogger(library).setLevel(logging.ERROR)
