"""What the Hub's client and the disk say, in words that tell the user what to do; tokens and passwords stay out of them."""

import errno
from collections.abc import Iterator
from urllib.parse import urlsplit

from harness.errors import FULL, CannotWrite, DiskTrouble, Unavailable


class FellBack(ConnectionError):
    """A request failed, and the datasets library turned to what it has cached, whatever the commit, without a word."""


def causes(problem: BaseException) -> Iterator[BaseException]:
    """An error and those it came from."""
    seen: list[BaseException] = []
    following: BaseException | None = problem
    while following is not None and following not in seen:
        yield following
        seen.append(following)
        following = following.__cause__ or following.__context__


def refuse(kind: str, name: str, asked: str, problem: BaseException) -> None:
    """Go on unless the Hub has given its final answer.

    Raises:
        Unavailable: there is no such repository or revision, or access is refused.
    """
    from huggingface_hub import errors

    sign_in = "sign in with `hf auth login` or set HF_TOKEN"
    for cause in causes(problem):
        if isinstance(cause, errors.EntryNotFoundError):
            # the datasets library asks for files that need not be there, and later errors carry
            # this one along
            continue
        status = (
            cause.response.status_code
            if isinstance(cause, errors.HfHubHTTPError) and cause.response is not None
            else None
        )
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
                f"{kind} {name!r} has no revision {asked!r}: name a branch, a tag or a full commit of it"
            ) from None
        if isinstance(cause, errors.HFValidationError):
            raise Unavailable(
                f"{name!r} is no name of a {kind} on the Hub: it must look like owner/name"
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


def blame_disk(problem: BaseException) -> None:
    """Go on unless the disk, not the Hub, is at fault.

    Raises:
        CannotWrite, DiskTrouble: the cache cannot take the files.
    """
    for cause in causes(problem):
        if isinstance(cause, OSError) and cause.errno in FULL:
            raise DiskTrouble(
                f"writing to the Hub's cache failed: {first_line(cause)}; make room or move HF_HOME"
            ) from None
        if isinstance(cause, PermissionError) or (
            isinstance(cause, OSError) and cause.errno == errno.EROFS
        ):
            raise CannotWrite(
                f"the Hub's cache cannot be written: {first_line(cause)}; set HF_HOME to a folder of yours"
            ) from None


def is_server_error(problem: BaseException) -> bool:
    """Whether the Hub answered, with an error of its own."""
    from huggingface_hub.errors import HfHubHTTPError

    return isinstance(problem, HfHubHTTPError | FellBack)


def is_passing(problem: BaseException) -> bool:
    """Whether another try may do better: errors of the server and of the connection, files that arrived in part."""
    from huggingface_hub import errors

    client = errors.HfHubHTTPError.__bases__[
        0
    ]  # the error of its HTTP library: which one depends on the version
    passing = (
        client,
        ConnectionError,
        TimeoutError,
        errors.LocalEntryNotFoundError,
        errors.FileMetadataError,
    )
    return any(
        isinstance(cause, passing) or "onsistency check" in str(cause) for cause in causes(problem)
    )


def first_line(problem: BaseException) -> str:
    """An error in one line."""
    lines = str(problem).strip().splitlines()
    return lines[0].strip() if lines else type(problem).__name__


def bare(url: str) -> str:
    """An address without the name and password that it may carry."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def endpoint() -> str:
    """The Hub's address, fit to be printed."""
    from huggingface_hub import constants

    return bare(constants.ENDPOINT)


def unreached(kind: str, name: str, said: str) -> str:
    """What to do where the Hub does not answer."""
    return (
        f"the Hub ({endpoint()}) is out of reach for {kind} {name!r}: {said}\n"
        "check the network and HF_ENDPOINT, or run `bench fetch` beforehand where the Hub answers; "
        "`--model tiny --tasks toy` needs no network"
    )


def nothing_cached(kind: str, name: str, asked: str, why: str) -> str:
    """What to do where the Hub must not be asked and the cache has nothing."""
    from huggingface_hub import constants

    return (
        f"{kind} {name!r} at {asked} is not in the cache ({constants.HF_HUB_CACHE}), and {why}\n"
        "run `bench fetch` with the network on, or use `--model tiny --tasks toy`, which needs none"
    )
