"""The Hub's local cache: where a snapshot is, which revision was last seen, and whether requests are allowed."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal

from huggingface_hub import constants

from harness.errors import Unavailable

Kind = Literal["model", "dataset"]

COMMIT: Final = re.compile(r"[0-9a-f]{40}")


def is_offline() -> bool:
    """Return whether requests to the Hub are forbidden: HF_HUB_OFFLINE=1, or inside `offline()`."""
    return bool(constants.HF_HUB_OFFLINE)


@contextmanager
def offline() -> Iterator[None]:
    """Forbid requests to the Hub inside the block, as HF_HUB_OFFLINE=1 does for a process."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def require_online(kind: Kind, name: str, revision: str) -> None:
    """Continue only if requests to the Hub are allowed, for something that is not in the cache.

    Raises:
        Unavailable: requests are forbidden.
    """
    if is_offline():
        raise Unavailable(
            f"{kind} {name!r} at {revision} is not in the cache ({constants.HF_HUB_CACHE}), "
            "and HF_HUB_OFFLINE=1 forbids requests to the Hub\n"
            "run `bench fetch` with the network on, or use `--model tiny --tasks toy`, which need no network"
        )


def snapshot(kind: Kind, name: str, commit: str) -> Path:
    """Return the folder in which the Hub's client keeps a repository at a commit, whether or not it exists."""
    return _storage(kind, name) / "snapshots" / commit


def cached_commit(kind: Kind, name: str, revision: str) -> str | None:
    """Return the cached commit of a branch or tag; None if there is none.

    Where the cache has no note for `main`, the newest snapshot counts.
    """
    storage = _storage(kind, name)
    with suppress(OSError, ValueError):
        commit = (storage / "refs" / revision).read_text().strip()
        if COMMIT.fullmatch(commit) and snapshot(kind, name, commit).is_dir():
            return commit
    if revision != "main":
        return None
    snapshots = [
        folder for folder in (storage / "snapshots").glob("*") if COMMIT.fullmatch(folder.name)
    ]
    return max(snapshots, key=lambda folder: folder.stat().st_mtime).name if snapshots else None


def note_commit(kind: Kind, name: str, revision: str, commit: str) -> None:
    """Write the commit of a branch or tag where the Hub's client does; a download by commit does not write it."""
    if COMMIT.fullmatch(revision) or ".." in revision:
        return
    path = _storage(kind, name) / "refs" / revision
    with suppress(OSError):  # a cache that cannot be written can still be read
        if not path.is_file() or path.read_text() != commit:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(commit)


def _storage(kind: Kind, name: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / "--".join([f"{kind}s", *name.split("/")])
