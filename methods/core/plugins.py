"""Methods that other distributions offer. bench reads their metadata, and imports them only when requested.

A plug-in is code that its user chose, and it runs with the user's rights. Only failures of its import are isolated:
it is first imported in a separate process, so a plug-in that raises, hangs or exits there does not end bench.
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
IMPORT_TIMEOUT = 30.0  # seconds; an import may include torch
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
    refused: str = ""  # why it must not be imported; empty if it may be imported

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"

    @property
    def name(self) -> str:
        """Name of the method."""
        return self.entry.name

    def load(self) -> type[Method]:
        """Import the plug-in and return its class.

        Raises:
            ValueError: it cannot be used; the message names the reason and the distribution.
        """
        result = self.broken() or _imported(self.entry)
        if isinstance(result, str):
            raise ValueError(f"the method {self.name!r} of {self} cannot be used: {result}")
        return result

    @cache  # noqa: B019  # there are few plug-ins, and they live as long as the process
    def broken(self) -> str:
        """Return why the plug-in cannot be used, or an empty text, without importing it in this process.

        A worker process relies on the check of its parent.
        """
        return self.refused or (
            _import_error_in_subprocess(self.entry) if parent_process() is None else ""
        )


def offered(taken: Collection[str]) -> list[Plugin]:
    """Return every installed plug-in. Imports none of them.

    Args:
        taken: names that bench uses and that a plug-in therefore cannot have.
    """
    by_name: dict[tuple[str, str], Plugin] = {}
    for package in distributions():
        try:
            for entry in package.entry_points.select(group=GROUP):
                plugin = Plugin(entry, str(package.name), str(package.version), _unmet(package))
                # Of several versions of a distribution, the first on the path counts.
                by_name.setdefault((entry.name, canonicalize_name(package.name)), plugin)
        except Exception:  # noqa: S112  # ignore a distribution with unreadable metadata
            continue
    plugins = sorted(by_name.values(), key=lambda plugin: (plugin.name, plugin.distribution))
    return [replace(plugin, refused=_refused(plugin, taken, plugins)) for plugin in plugins]


def _refused(plugin: Plugin, taken: Collection[str], plugins: list[Plugin]) -> str:
    """Return why a plug-in must not be imported; empty if it may be imported."""
    if plugin.name in taken:
        return "bench has a built-in method of that name"
    if not fullmatch("[a-z][a-z0-9-]*", plugin.name):
        return "the name of a method must consist of lower-case letters, digits and hyphens"
    others = [str(other) for other in plugins if other.name == plugin.name and other != plugin]
    return f"{', '.join(others)} also offers a method of that name" if others else plugin.refused


def _unmet(distribution: Distribution) -> str:
    """Return which other versions of bench a plug-in requires; empty if it supports this version."""
    try:
        ours = version("simplexbench")
    except PackageNotFoundError:  # not installed
        return ""
    for requirement in map(Requirement, distribution.requires or ()):
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if (
            applies
            and canonicalize_name(requirement.name) == "simplexbench"
            and not requirement.specifier.contains(ours, prereleases=True)
        ):
            return f"it requires bench {requirement.specifier}, and this is {ours}"
    return ""


def _import_error_in_subprocess(entry: EntryPoint) -> str:
    """Import a plug-in in a separate process and return what is wrong with it; empty if nothing is wrong."""
    command = [
        sys.executable,
        "-P",
        "-c",
        IMPORT_PROGRAM,
        json.dumps([[str(folder) for folder in sys.path], entry.name, entry.value]),
    ]
    null = subprocess.DEVNULL
    try:
        done = subprocess.run(  # noqa: S603  # the command is built above
            command,
            stdin=null,
            stdout=subprocess.PIPE,
            stderr=null,
            timeout=IMPORT_TIMEOUT,
            check=False,
        )
        return str(json.loads(done.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired:
        return f"its import takes longer than {IMPORT_TIMEOUT:.0f} s"
    except (ValueError, IndexError):
        return f"its import ended the process (exit code {done.returncode})"


def report_import(name: str, value: str) -> None:
    """Import a plug-in and print, as JSON, what is wrong with it. Runs in the separate process."""
    result = _imported(EntryPoint(name, value, GROUP))
    print(json.dumps(result if isinstance(result, str) else ""), flush=True)  # noqa: T201  # the parent reads it


@cache
def _imported(entry: EntryPoint) -> type[Method] | str:
    """Return the class of a plug-in, or one line that says what is wrong with it."""
    try:
        with redirect_stdout(sys.stderr):  # an import that prints must not spoil a command's JSON
            cls = entry.load()
            _check(entry.name, cls)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit: a plug-in must not end bench
        return _one_line(error)
    return cls  # type: ignore[no-any-return]  # checked to be the class of a method


def _check(name: str, cls: object) -> None:
    """Raise `ValueError` unless an object is a class with which bench can build the method `name`."""
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise ValueError("it is not a subclass of methods.Method")
    own = getattr(cls, "name", None)
    require(own == name, f"its entry point has the name {name!r}, and its class {own!r}")
    require(
        type(cls.INTERFACE) is int and cls.INTERFACE <= INTERFACE,
        f"it is written for interface {cls.INTERFACE!r} of bench, and this bench has interface {INTERFACE}: "
        "install a newer simplexbench",
    )
    missing = ", ".join(sorted(cls.__abstractmethods__))
    require(not missing, f"it lacks {missing}: it may be written for another version of bench")
    kinds = {field.name: kind_of(field.type).removesuffix(" | None") for field in fields(cls)}
    others = ", ".join(option for option, kind in kinds.items() if kind not in KINDS)
    require(
        not others, f"options must be of type {', '.join(KINDS)}, or that or None; others: {others}"
    )
    require(type(cls.VERSION) is int, f"its VERSION must be a whole number, got {cls.VERSION!r}")
    require(
        isinstance(cls.summary, str) and isinstance(cls.paper, str),
        "its summary and its paper must be texts",
    )
    values = cls().options()
    unset = ", ".join(name for name in values if type(values[name]).__name__ not in KINDS)
    require(not unset, f"`options()` must give every option the value in use; {unset} has none")


def kind_of(annotation: object) -> str:
    """Return a field's type as text, whether or not its module postpones annotations."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _one_line(error: BaseException) -> str:
    """Return an error as one line of limited length; `str(error)` may itself raise."""
    try:
        lines = str(error).strip().splitlines()
    except BaseException:
        lines = []
    return ": ".join([type(error).__name__, *lines[:1]])[:300]
