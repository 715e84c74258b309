"""Write files and folders whole or not at all: a draft beside the target is synced to disk, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import CannotWrite


@contextmanager
def atomic_write(
    target: Path, *, overwrite: bool = True, draft: Path | None = None
) -> Iterator[Path]:
    """Yield the path of a draft to write; rename it to `target` if the block succeeds, else remove it.

    A pipe or a device such as /dev/stdout cannot be renamed onto: its own path is yielded.

    Args:
        target: the file to create or replace. A symbolic link stays, and its target is replaced.
        overwrite: whether an existing file is replaced.
        draft: where to write first; by default a hidden file whose name holds the process's number.

    Raises:
        FileExistsError: `target` exists and `overwrite` is false.
        OSError: the draft cannot be written, synced or renamed.
    """
    if overwrite and target.exists() and not target.is_file():
        yield target
        return
    if overwrite and target.is_symlink():
        target = target.resolve()
    draft = draft or _draft_of(target)
    try:
        yield draft
        _sync(draft)
        if not overwrite:
            _rename_to_new(draft, target)
        else:
            if target.exists():
                shutil.copymode(target, draft)
            draft.replace(target)
        _sync(target.parent)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; rename it to `target` if the block succeeds, else remove it.

    Raises:
        CannotWrite: `target` exists, or no folder can be made beside it.
        OSError: the files cannot be synced or the folder cannot be renamed.
    """
    draft = _draft_of(target)
    if target.exists():
        raise CannotWrite(f"{target} already exists: name a folder that does not")
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise CannotWrite(f"cannot create {target}: {error.strerror}") from error
    try:
        yield draft
        for path in draft.iterdir():
            _sync(path)
        draft.rename(target)
        _sync(draft.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_output(target: Path, content: str | bytes) -> None:
    """Write the file that a command was asked for; text is encoded as UTF-8.

    Raises:
        CannotWrite: the file cannot be written.
    """
    try:
        with atomic_write(target) as draft:
            draft.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise CannotWrite(f"cannot write {target}: {error.strerror}") from error


def _draft_of(target: Path) -> Path:
    return target.absolute().with_name(f".{target.name}.{os.getpid()}.draft")


def _rename_to_new(draft: Path, target: Path) -> None:
    """Give a draft its final name without replacing a file, also if another process creates one now."""
    try:
        os.link(draft, target)
    except FileExistsError:
        raise
    except OSError:  # the file system has no hard links
        draft.rename(target)


def _sync(path: Path) -> None:
    """Flush a file or the entries of a folder to disk; Windows can do so for files only."""
    if os.name == "posix" or path.is_file():
        descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
