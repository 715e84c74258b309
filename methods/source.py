"""Deprecated: old path of names that plug-ins import. Import them from `methods`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from warnings import warn

from methods.core.deprecation import moved_names
from methods.core.parameters import InitialParameters

_NONE: Mapping[str, Any] = MappingProxyType({})


class Start:
    """Deprecated: `methods.InitialParameters` under its old name, with the old names of its arguments."""

    joined = InitialParameters.joined

    def __new__(  # type: ignore[misc]  # a call returns the new class
        cls,
        drawn: Mapping[str, Any] = _NONE,
        given: Mapping[str, Any] = _NONE,
        decoder: Any = None,
        factors: Mapping[str, str] = _NONE,
    ) -> InitialParameters:
        """Return the initial parameters, and warn."""
        warn(
            "methods.source.Start is now methods.InitialParameters(per_vertex, shared, decoder, factors)",
            DeprecationWarning,
            stacklevel=2,
        )
        return InitialParameters(drawn, given, decoder, factors)


__getattr__ = moved_names(
    __name__,
    {
        "Source": "methods.TrainableParameters",
        "draw": "methods.initialise",
        **{name: f"methods.{name}" for name in ("normal", "uniform", "zeros")},
    },
)
