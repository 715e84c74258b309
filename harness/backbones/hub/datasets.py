"""Datasets of the Hub: one split at one commit, from the cache of the datasets library or fetched."""

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.atomic_write import atomic_write
from harness.backbones.hub.cache import require_online
from harness.backbones.hub.errors import CacheFallback, first_line
from harness.backbones.hub.requests import download, hide_progress, repository_info
from harness.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from datasets import Dataset

# With a commit behind it, the name of a file that holds the name of the default configuration.
DEFAULT_NOTE: Final = "bench-default-"


class Split(NamedTuple):
    """One split of a dataset by columns, with the class names of the columns that have them."""

    columns: dict[str, list[Any]]
    classes: dict[str, tuple[str, ...]]
    names: tuple[str, ...] = ()  # of all columns
    single: frozenset[str] = frozenset()  # columns with numbers of single precision


def load_split(
    name: str,
    config: str | None,
    split: str,
    commit: str,
    columns: Collection[str] | None = None,
) -> Split:
    """Load one split of a dataset at a commit.

    Args:
        name: of the dataset.
        config: of the configuration; None: the default one.
        split: name of the split.
        commit: of the dataset's repository.
        columns: those to load; None: all.

    Raises:
        UsageError: the dataset has no such configuration or split; the message lists those it has.
        Unavailable: access is refused, or the Hub cannot be reached and the split is not cached.
        CannotWrite, DiskTrouble: the cache cannot be written.
    """
    data = _from_cache(name, config, split, commit)
    if data is None:
        part = f"{config or 'default'}/{split}"
        require_online("dataset", f"{part} of {name}", commit)
        repository_info("dataset", name, commit)
        data = download(lambda: _fetch(name, config, split, commit), "dataset", name, commit, part)
    names = tuple(data.column_names)
    if columns is not None:
        data = data.select_columns([column for column in names if column in columns])
    return Split(
        columns=data[:] if data.column_names else {},
        classes={
            column: tuple(found)
            for column, feature in data.features.items()
            if (found := _class_names(feature))
        },
        names=names,
        single=frozenset(
            column
            for column, feature in data.features.items()
            if getattr(feature, "dtype", "") == "float32"
        ),
    )


def _class_names(feature: Any) -> Sequence[str]:
    """Return the class names of a column, also of one whose cells are lists of classes; none if it has none."""
    of_lists = getattr(feature, "feature", None)
    return getattr(feature, "names", None) or getattr(of_lists, "names", None) or ()


def _from_cache(name: str, config: str | None, split: str, commit: str) -> "Dataset | None":
    """Read a split from the library's cache; None if it is not there.

    The commit is looked up here because the library, when offline, takes the newest copy of a
    dataset, whatever its commit.
    """
    from datasets import Dataset, concatenate_datasets
    from datasets import config as settings
    from datasets.naming import camelcase_to_snakecase

    *owner, last = name.split("/")
    root = Path(settings.HF_DATASETS_CACHE) / "___".join([*owner, camelcase_to_snakecase(last)])
    folders = list(root.glob(f"{_literal(config or _default(root, commit))}/*/{commit}"))
    if len(folders) != 1:
        return None
    stem = f"{camelcase_to_snakecase(last)}-{split}"
    single = folders[0] / f"{stem}.arrow"
    shards = sorted(folders[0].glob(f"{_literal(stem)}-[0-9]*-of-[0-9]*.arrow"))
    files = [single] if single.is_file() else shards
    if not files:
        return None
    try:
        return concatenate_datasets([Dataset.from_file(str(file)) for file in files])
    except (OSError, ValueError) as error:  # all errors of pyarrow are of these two classes
        raise Unavailable(
            f"cannot read the cached copy of {name} ({first_line(error)}); "
            f"delete the folder {folders[0]} and try again"
        ) from None


def _default(root: Path, commit: str) -> str:
    """Return the name of a dataset's default configuration at a commit, as far as the cache tells.

    It is the one that `_fetch` noted, and not any that happens to be cached: these may be others. Without a note, it
    can only have the name that the library gives a configuration without a name.
    """
    with suppress(OSError):
        return (root / f"{DEFAULT_NOTE}{commit}").read_text("utf-8")
    return "default"


def _literal(text: str) -> str:
    """Escape the wildcards of `glob`."""
    return re.sub(r"([*?\[])", r"[\1]", text)


def _fetch(name: str, config: str | None, split: str, commit: str) -> "Dataset":
    from datasets import disable_progress_bars, load_dataset_builder

    hide_progress()
    disable_progress_bars()
    try:
        builder = load_dataset_builder(name, config, revision=commit)
    except ValueError as error:
        if "BuilderConfig" in str(error) or "Config name is missing" in str(error):
            configs = re.search(r"vailable[^\[]*\[([^\]]*)\]", str(error))
            known = re.findall(r"'([^']+)'", configs[1]) if configs else []
            listed = f"; name one with --config: {', '.join(known)}" if known else ""
            raise UsageError(f"dataset {name!r}: {first_line(error)}{listed}") from None
        if "find cache" in str(error):
            raise CacheFallback("a request failed") from None
        raise
    if builder.hash != commit:
        raise CacheFallback("a request failed, and the cached copy is of another revision")
    builder.download_and_prepare()
    if config is None:
        folder = Path(builder.cache_dir).parents[1]  # NAME/CONFIGURATION/VERSION/COMMIT
        with suppress(OSError), atomic_write(folder.parent / f"{DEFAULT_NOTE}{commit}") as draft:
            draft.write_text(folder.name, "utf-8")
    splits = list(builder.info.splits or ())
    if split not in splits:
        raise UsageError(
            f"dataset {name!r} ({config or 'default'}) has no split {split!r}; there are: {', '.join(splits)}"
        )
    return builder.as_dataset(split=split)
