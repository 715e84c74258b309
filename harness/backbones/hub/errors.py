"""Errors of the Hub's client and of the disk as messages that tell the user what to do, without passwords."""

import errno
from collections.abc import Iterator
from urllib.parse import urlsplit

from huggingface_hub import constants

from harness.errors import FULL, CannotWrite, DiskTrouble, Unavailable


class CacheFallback(ConnectionError):
    """A request failed and the datasets library silently used its cache, whatever the commit."""


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    visited: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in visited:
        yield current
        visited.append(current)
        current = current.__cause__ or current.__context__


def raise_if_refused(kind: str, name: str, revision: str, error: BaseException) -> None:
    """Raise if the Hub's answer is final; return if another attempt may succeed.

    Raises:
        Unavailable: there is no such repository or revision, or access is refused.
    """
    from huggingface_hub import errors

    sign_in = "sign in with `hf auth login` or set HF_TOKEN"
    for cause in error_chain(error):
        if isinstance(cause, errors.EntryNotFoundError):
            # The datasets library requests optional files, and later errors carry this one along.
            continue
        response = cause.response if isinstance(cause, errors.HfHubHTTPError) else None
        status = response.status_code if response is not None else None
        if isinstance(cause, errors.GatedRepoError):
            raise Unavailable(
                f"{kind} {name!r} is gated: accept its terms on its page on the Hub, then {sign_in}"
            ) from None
        if isinstance(cause, errors.RepositoryNotFoundError):
            raise Unavailable(
                f"no {kind} {name!r} on the Hub ({endpoint()}): check the name (owner/name, letter case counts); "
                f"if it is private, {sign_in}"
            ) from None
        if isinstance(cause, errors.RevisionNotFoundError):
            raise Unavailable(
                f"{kind} {name!r} has no revision {revision!r}: name a branch, a tag or a full commit of it"
            ) from None
        if isinstance(cause, errors.HFValidationError):
            raise Unavailable(
                f"{name!r} is not a valid {kind} name on the Hub: it must look like owner/name"
            ) from None
        if status in (401, 403):
            raise Unavailable(
                f"the Hub refuses access to {kind} {name!r}: {sign_in}, and check that your token may read it"
            ) from None
        if status is not None and status >= 500:
            return
        if status is not None and 400 <= status < 500 and status not in (408, 425, 429):
            raise Unavailable(
                f"the Hub answers {status} for {kind} {name!r}: check the name and HF_ENDPOINT ({endpoint()})"
            ) from None


def raise_if_disk_error(error: BaseException) -> None:
    """Raise if the disk, not the Hub, caused the error.

    Raises:
        CannotWrite, DiskTrouble: the cache cannot be written.
    """
    for cause in error_chain(error):
        if isinstance(cause, OSError) and cause.errno in FULL:
            raise DiskTrouble(
                f"writing to the Hub's cache failed: {first_line(cause)}; free some space or move HF_HOME"
            ) from None
        if isinstance(cause, PermissionError) or (
            isinstance(cause, OSError) and cause.errno == errno.EROFS
        ):
            raise CannotWrite(
                f"cannot write to the Hub's cache: {first_line(cause)}; set HF_HOME to a folder that you can write to"
            ) from None


def is_server_error(error: BaseException) -> bool:
    """Return whether the Hub answered, with an error."""
    from huggingface_hub.errors import HfHubHTTPError

    return isinstance(error, HfHubHTTPError | CacheFallback)


def is_temporary(error: BaseException) -> bool:
    """Return whether a retry may help: server errors, broken connections, files that arrived in part."""
    from huggingface_hub import errors

    # The base class is the error of the client's HTTP library, which depends on the version.
    temporary = (
        errors.HfHubHTTPError.__bases__[0],
        ConnectionError,
        TimeoutError,
        errors.LocalEntryNotFoundError,
        errors.FileMetadataError,
    )
    return any(
        isinstance(cause, temporary) or "onsistency check" in str(cause)
        for cause in error_chain(error)
    )


def first_line(error: BaseException) -> str:
    """Return an error's text in one line."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def endpoint() -> str:
    """Return the Hub's address without the name and password that HF_ENDPOINT may hold."""
    parts = urlsplit(constants.ENDPOINT)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def out_of_reach_message(kind: str, name: str, reason: str) -> str:
    """Return the message for a Hub that does not answer."""
    return (
        f"the Hub ({endpoint()}) is out of reach for {kind} {name!r}: {reason}\n"
        "check the network and HF_ENDPOINT, or run `bench fetch` beforehand where the Hub can be reached; "
        "`--model tiny --tasks toy` needs no network"
    )
