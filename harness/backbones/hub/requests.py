"""Requests to the Hub: a short one about a repository, with a time limit, and downloads, with retries.

The Hub's own client retries for up to a minute and a half, so nothing is downloaded before a short
request about the repository was answered.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple, TypeVar

from harness.backbones.hub.cache import COMMIT, Kind
from harness.backbones.hub.errors import (
    endpoint,
    first_line,
    is_server_error,
    is_temporary,
    out_of_reach_message,
    raise_if_disk_error,
    raise_if_refused,
)
from harness.errors import BenchError, Unavailable

T = TypeVar("T")

INFO_SECONDS: Final = 6.5  # of all attempts; the whole command then answers within ten seconds
ATTEMPT_SECONDS: Final = 4.0
INFO_PAUSES: Final = (0.5, 1.0)  # seconds between attempts
DOWNLOAD_PAUSES: Final = (0.3, 0.6, 1.0, 1.0)
MAX_BROKEN_CONNECTIONS: Final = 3  # attempts of a download whose connection breaks
DOWN_SECONDS: Final = 60.0  # no request after a failed one: nine tasks wait once, not nine times


class RepositoryInfo(NamedTuple):
    """The commit of a repository's revision and the names of its files."""

    commit: str
    files: tuple[str, ...]


class OutOfReach(Unavailable):
    """The Hub did not answer, or answered with server errors only; a cached copy may still be usable."""


_down_since: dict[str, float] = {}  # endpoint -> time of the last failure


@cache
def repository_info(kind: Kind, name: str, revision: str) -> RepositoryInfo:
    """Request what the Hub knows about a repository, in several attempts within `INFO_SECONDS`.

    Raises:
        Unavailable: there is no such repository or revision, or access is refused; not retried.
        OutOfReach: no usable answer in time.
    """
    return _request_info(kind, name, revision)


def _request_info(kind: Kind, name: str, revision: str) -> RepositoryInfo:
    from huggingface_hub import HfApi

    api, deadline = HfApi(), time.monotonic() + INFO_SECONDS
    method = api.model_info if kind == "model" else api.dataset_info

    def request() -> RepositoryInfo:
        info = method(name, revision=revision, timeout=ATTEMPT_SECONDS)
        if not info.sha or not COMMIT.fullmatch(info.sha):
            raise ConnectionError("the answer names no commit")
        return RepositoryInfo(info.sha, tuple(file.rfilename for file in info.siblings or ()))

    hub = endpoint()
    if time.monotonic() - _down_since.get(hub, float("-inf")) < DOWN_SECONDS:
        raise OutOfReach(
            out_of_reach_message(kind, name, "it did not answer a request a moment ago")
        )
    for attempt, pause in enumerate((*INFO_PAUSES, None), 1):
        try:
            return _call_within(min(ATTEMPT_SECONDS, deadline - time.monotonic()), request)
        except Exception as error:
            raise_if_refused(kind, name, revision, error)
            if pause is None or time.monotonic() + pause >= deadline - 0.5:
                if not is_server_error(error):
                    _down_since[hub] = time.monotonic()
                raise OutOfReach(
                    out_of_reach_message(kind, name, _attempts(attempt, error))
                ) from None
        time.sleep(pause)
    raise AssertionError  # the last pause is None


def _call_within(seconds: float, call: Callable[[], T]) -> T:
    """Return the result of a call, or raise TimeoutError.

    A thread is needed because neither name resolution nor trying many addresses has a time limit.
    """
    results: list[T | BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    # A daemon thread that hangs does not keep the process alive.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(max(seconds, 0.1))
    if not results:
        raise TimeoutError(f"no answer within {seconds:.0f} seconds")
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


def download(fetch: Callable[[], T], kind: Kind, name: str, commit: str, part: str) -> T:
    """Return the result of a download; retry it as long as the Hub answers requests.

    Args:
        fetch: the call that downloads.
        kind: kind of repository, for messages.
        name: its name.
        commit: its revision.
        part: the file or split that is downloaded, for messages.

    Raises:
        Unavailable: the download failed for good, or too often.
        CannotWrite, DiskTrouble: the cache cannot be written.
    """
    for attempt, pause in enumerate((*DOWNLOAD_PAUSES, None), 1):
        try:
            return fetch()
        except BenchError:
            raise
        except Exception as error:
            raise_if_refused(kind, name, commit, error)
            raise_if_disk_error(error)
            if not is_temporary(error):
                raise Unavailable(
                    f"cannot fetch {part} of {kind} {name!r}: {type(error).__name__}: {first_line(error)}"
                ) from None
            # The client itself retries after a broken connection, but not after a 503.
            alive = is_server_error(error)
            if pause is None or (attempt >= MAX_BROKEN_CONNECTIONS and not alive):
                raise OutOfReach(
                    f"{kind} {name!r}: {part} did not arrive after {_attempts(attempt, error)}; "
                    "incomplete files are not used; try again later, complete ones are kept"
                ) from None
        time.sleep(pause)
        # If the Hub is silent, this ends the download within seconds. It is not requested every
        # time: a server that refuses every third request would then always refuse the same one.
        if not alive or attempt % 2:
            _request_info(kind, name, commit)
    raise AssertionError  # the last pause is None


def _attempts(count: int, last: Exception) -> str:
    return f"{count} attempt{'s' if count > 1 else ''}, the last: {first_line(last)}"


def hide_progress() -> None:
    """Hide the libraries' progress bars and their warnings about retries, which would break the display."""
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # documented, exported lazily

    disable_progress_bars()
    for library in ("huggingface_hub", "datasets"):
        logging.getLogger(library).setLevel(logging.ERROR)
