"""Methods that other distributions offer: known by their metadata, imported only when requested.

A plug-in is code that its user chose, and it runs with the user's rights. Only its failures are isolated: it is
first imported in a separate process, so that a plug-in that raises, hangs or exits affects nothing else.
"""

import json
import subprocess
import sys
from collections.abc import Collection
from contextlib import redirect_stdout
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.metadata import (
    Distribution,
    EntryPoint,
    PackageNotFoundError,
    distributions,
    version,
)
from multiprocessing import parent_process
from re import fullmatch

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from methods.core.method import Method, require

GROUP = "simplexbench.methods"
# Version of the interface for authors of methods. 2: the names published in `methods`; 1: those of methods.base,
# methods.sites and methods.source, which still work.
INTERFACE = 2
PATIENCE = 30.0  # seconds for an import, which may include torch
KINDS = ("str", "int", "float", "bool")  # types of options that can be typed and stored as JSON
# The program of the separate process. It imports this module by name.
IMPORT_PROGRAM = (
    "import json, sys; sys.path[:], *entry = json.loads(sys.argv[1]); "
    "from methods.core.plugins import report_import; report_import(*entry)"
)


@dataclass(frozen=True)
class Plugin:
    """A method of another distribution, as its metadata describes it."""

    entry: EntryPoint
    distribution: str
    version: str
    refused: str = ""  # why it is not imported; empty if it may be

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"

    @property
    def name(self) -> str:
        """Name of the method."""
        return self.entry.name

    def load(self) -> type[Method]:
        """Import the plug-in and return its class.

        Raises:
            ValueError: it is refused or broken; the message names the reason and the distribution.
        """
        found = self.broken() or _imported(self.entry)
        if isinstance(found, str):
            raise ValueError(f"the method {self.name!r} of {self} cannot be used: {found}")
        return found

    @cache  # noqa: B019  # there are few, and they stay
    def broken(self) -> str:
        """Return why it cannot be used, or an empty text, without importing it here.

        A worker relies on the check of its parent process.
        """
        return self.refused or (
            _import_error_in_subprocess(self.entry) if parent_process() is None else ""
        )


def offered(taken: Collection[str]) -> list[Plugin]:
    """Return every installed plug-in. Imports none of them.

    Args:
        taken: names of bench, which no plug-in can replace.
    """
    found: dict[tuple[str, str], Plugin] = {}
    for one in distributions():
        try:
            for entry in one.entry_points.select(group=GROUP):
                plugin = Plugin(entry, str(one.name), str(one.version), _unmet(one))
                found.setdefault(
                    (entry.name, canonicalize_name(plugin.distribution)), plugin
                )  # the first on the path counts
        except Exception:  # noqa: S112  # ignore a distribution with unreadable metadata
            continue
    plugins = sorted(found.values(), key=lambda plugin: (plugin.name, plugin.distribution))
    return [replace(plugin, refused=_refused(plugin, taken, plugins)) for plugin in plugins]


def _refused(plugin: Plugin, taken: Collection[str], plugins: list[Plugin]) -> str:
    if plugin.name in taken:
        return "bench has a method of that name itself"
    if not fullmatch("[a-z][a-z0-9-]*", plugin.name):
        return "the name of a method consists of lower-case letters, digits and hyphens"
    others = [str(one) for one in plugins if one.name == plugin.name and one != plugin]
    return f"{', '.join(others)} offers a method of that name too" if others else plugin.refused


def _unmet(distribution: Distribution) -> str:
    """Return which other versions of bench a plug-in requires; empty if it supports this one."""
    try:
        ours = version("simplexbench")
    except PackageNotFoundError:  # not installed
        return ""
    for wanted in map(Requirement, distribution.requires or ()):
        here = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if (
            here
            and canonicalize_name(wanted.name) == "simplexbench"
            and not wanted.specifier.contains(ours, prereleases=True)
        ):
            return f"it is written for bench {wanted.specifier}, and this is {ours}"
    return ""


def _import_error_in_subprocess(entry: EntryPoint) -> str:
    """Import a plug-in in a separate process and return what is wrong with it; empty if nothing."""
    words = [
        sys.executable,
        "-P",
        "-c",
        IMPORT_PROGRAM,
        json.dumps([[str(folder) for folder in sys.path], entry.name, entry.value]),
    ]
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(  # noqa: S603  # our own words
            words, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, timeout=PATIENCE, check=False
        )
        return str(json.loads(done.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired:
        return f"its import takes longer than {PATIENCE:.0f} s"
    except (ValueError, IndexError):
        return f"its import ended the process (exit code {done.returncode})"


def report_import(name: str, value: str) -> None:
    """Import a plug-in and print, as JSON, what is wrong with it. Runs in the separate process."""
    found = _imported(EntryPoint(name, value, GROUP))
    print(json.dumps(found if isinstance(found, str) else ""), flush=True)  # noqa: T201  # the parent reads it


@cache
def _imported(entry: EntryPoint) -> type[Method] | str:
    """Return its class, or one line that says what is wrong with it."""
    try:
        with redirect_stdout(sys.stderr):  # an import that prints must not spoil a command's JSON
            found = entry.load()
            _check(entry.name, found)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit: a plug-in must not end bench
        return _line(error)
    return found  # type: ignore[no-any-return]  # checked to be the class of a method


def _check(name: str, found: object) -> None:
    """Raise `ValueError` unless an object is the class of the method `name` that bench can build."""
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ValueError("it is not a subclass of methods.Method")
    said = getattr(found, "name", None)
    require(said == name, f"its entry point is called {name!r}, and its class {said!r}")
    require(
        type(found.INTERFACE) is int and found.INTERFACE <= INTERFACE,
        f"it is written for interface {found.INTERFACE!r} of bench, and this bench has interface {INTERFACE}: "
        "install a newer simplexbench",
    )
    lacks = ", ".join(sorted(found.__abstractmethods__))
    require(not lacks, f"it lacks {lacks}: it may be written for another version of bench")
    odd = ", ".join(
        one.name for one in fields(found) if kind_of(one.type).removesuffix(" | None") not in KINDS
    )
    require(not odd, f"options must be of type {', '.join(KINDS)}, or that or None; others: {odd}")
    require(
        type(found.VERSION) is int, f"its VERSION must be a whole number, got {found.VERSION!r}"
    )
    require(
        isinstance(found.summary, str) and isinstance(found.paper, str),
        "its summary and its paper must be texts",
    )
    none = ", ".join(
        option for option, value in found().options().items() if type(value).__name__ not in KINDS
    )
    require(not none, f"`options()` must give every option the value in use; {none} has none")


def kind_of(annotation: object) -> str:
    """Return a field's type as text, whether or not its module postpones annotations."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _line(error: BaseException) -> str:
    """Return an error as one line of limited length; `str(error)` may itself raise."""
    try:
        said = str(error).strip()
    except BaseException:
        said = ""
    return f"{type(error).__name__}: {said.splitlines()[0]}"[:300] if said else type(error).__name__
