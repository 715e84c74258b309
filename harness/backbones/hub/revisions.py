"""Which commit a branch or tag of a Hub repository stands for."""

import logging
from functools import cache

from harness.backbones.hub.cache import (
    COMMIT,
    Kind,
    cached_commit,
    is_offline,
    note_commit,
    require_online,
    snapshot,
)
from harness.backbones.hub.errors import first_line
from harness.backbones.hub.requests import OutOfReach, repository_info

_log = logging.getLogger(__name__)


@cache
def resolve_revision(kind: Kind, name: str, revision: str = "main") -> str:
    """Return the commit of a branch, tag or commit; it is resolved once per process.

    A full commit in the cache needs no request. If the Hub cannot be reached, the commit last seen
    is used with a warning; under HF_HUB_OFFLINE=1 it is used without one.

    Raises:
        Unavailable: there is no such repository or revision, access is refused, or the Hub cannot
            be reached and nothing is cached.
    """
    if COMMIT.fullmatch(revision) and snapshot(kind, name, revision).is_dir():
        return revision
    cached = cached_commit(kind, name, revision)
    if cached and is_offline():
        return cached
    require_online(kind, name, revision)
    try:
        commit = repository_info(kind, name, revision).commit
    except OutOfReach as error:
        if cached is None:
            raise
        _log.warning(
            "%s: using the cached revision %s of %s %s", first_line(error), cached[:12], kind, name
        )
        return cached
    note_commit(kind, name, revision, commit)
    return commit
