"""Deprecated: old path, and some old names, of what plug-ins import from `methods`; the warning gives the new name."""

from methods.core.deprecation import moved_names

__getattr__ = moved_names(
    __name__,
    {
        "Method": "methods.Method",
        "Scalar": "methods.Scalar",
        "later": "methods.added_option",
        "require": "methods.require",
        "one_of": "methods.require_one_of",
        "share": "methods.require_share",
        "ClosedForm": "methods.ClosedForm",
        "DevScoring": "methods.DevScoring",
    },
)
