"""Methods that other distributions offer: known by their metadata, imported only when they are asked for.

A plug-in is code that its user chose, and runs with her rights. What is kept away from everybody
else is its failure: it is imported in a process of its own first, so one that raises, hangs or ends
its process costs nothing but itself.
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
PATIENCE = 30.0  # seconds that an import may take: plug-ins import torch
KINDS = ("str", "int", "float", "bool")  # of options: what can be typed, and kept as JSON
APART = "import json, sys; sys.path[:], *entry = json.loads(sys.argv[1]); from methods.core.plugins import tell; tell(*entry)"


@dataclass(frozen=True)
class Plugin:
    """A method of another distribution, as its metadata tells of it."""

    entry: EntryPoint
    distribution: str
    version: str
    refused: str = ""  # why it is not even tried

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"

    @property
    def name(self) -> str:
        """What the method is called."""
        return self.entry.name

    def load(self) -> type[Method]:
        """Its class, imported now.

        Raises:
            ValueError: it is refused or broken; the text says why, and whose it is.
        """
        found = self.broken() or _imported(self.entry)
        if isinstance(found, str):
            raise ValueError(f"the method {self.name!r} of {self} cannot be used: {found}")
        return found

    @cache  # noqa: B019  # there are few, and they stay
    def broken(self) -> str:
        """Why it cannot be used, found without importing it here; empty if it can. A worker's parent has asked."""
        return self.refused or (_broken_apart(self.entry) if parent_process() is None else "")


def offered(taken: Collection[str]) -> list[Plugin]:
    """Every plug-in that is installed. Imports none of them.

    Args:
        taken: names of this program's own, which no plug-in can take over.
    """
    found: dict[tuple[str, str], Plugin] = {}
    for one in distributions():
        try:
            for entry in one.entry_points.select(group=GROUP):
                plugin = Plugin(entry, str(one.name), str(one.version), _unmet(one))
                found.setdefault(
                    (entry.name, canonicalize_name(plugin.distribution)), plugin
                )  # the first on the path counts
        except Exception:  # noqa: S112  # metadata that cannot be read offer nothing
            continue
    everything = sorted(found.values(), key=lambda plugin: (plugin.name, plugin.distribution))
    return [replace(plugin, refused=_refused(plugin, taken, everything)) for plugin in everything]


def _refused(plugin: Plugin, taken: Collection[str], everything: list[Plugin]) -> str:
    if plugin.name in taken:
        return "bench has a method of that name itself"
    if not fullmatch("[a-z][a-z0-9-]*", plugin.name):
        return "a method's name is of small letters, digits and hyphens"
    others = [str(one) for one in everything if one.name == plugin.name and one != plugin]
    return f"{', '.join(others)} offers a method of that name too" if others else plugin.refused


def _unmet(distribution: Distribution) -> str:
    """Which other version of bench a plug-in was written for, by what it requires; empty if for this one."""
    try:
        ours = version("simplexbench")
    except PackageNotFoundError:  # run from its folder
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


def _broken_apart(entry: EntryPoint) -> str:
    """Why it cannot be imported, found in a process of its own; empty if it can."""
    words = [
        sys.executable,
        "-P",
        "-c",
        APART,
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


def tell(name: str, value: str) -> None:
    """Say in the process of its own what came of importing a plug-in."""
    found = _imported(EntryPoint(name, value, GROUP))
    print(json.dumps(found if isinstance(found, str) else ""), flush=True)  # noqa: T201  # the parent reads it


@cache
def _imported(entry: EntryPoint) -> type[Method] | str:
    """Its class, or in one line what is wrong with it."""
    try:
        with redirect_stdout(sys.stderr):  # an import that prints must not spoil a command's JSON
            found = entry.load()
            _see(entry.name, found)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a plug-in ends nothing but itself
        return _line(error)
    return found  # type: ignore[no-any-return]  # which was seen to be a method's class


def _see(name: str, found: object) -> None:
    """Raise `ValueError` unless an object is the class of a method that bench can build, under that name."""
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
    """A field's type in words, whether or not its module postpones annotations."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _line(error: BaseException) -> str:
    """An error in one line of a reasonable length; its own text may fail."""
    try:
        said = str(error).strip()
    except BaseException:
        said = ""
    return f"{type(error).__name__}: {said.splitlines()[0]}"[:300] if said else type(error).__name__
