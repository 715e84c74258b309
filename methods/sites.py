"""Deprecated: old path of names that plug-ins import. Import them from `methods`."""

from methods.core.deprecation import moved_names

__getattr__ = moved_names(
    __name__,
    {name: f"methods.{name}" for name in ("Gate", "Slot", "Slots", "row_bias")},
)
