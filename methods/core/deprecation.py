"""Old names that plug-ins may still use. Each use gives a DeprecationWarning that states the new name."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any
from warnings import warn


def moved_names(module: str, moved: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module whose names have moved.

    Args:
        module: the old module.
        moved: `{old name: path of the new name}`, such as `{"Start": "methods.InitialParameters"}`.
    """

    def find(name: str) -> Any:
        if name not in moved:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        path, _, new = moved[name].rpartition(".")
        warn(f"{module}.{name} is now {moved[name]}", DeprecationWarning, stacklevel=2)
        return getattr(import_module(path), new)

    return find
