"""Ways of adapting a pretrained model; knows nothing of tasks or databases.

A new method is one file with one class and one line in `REGISTRY`.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from difflib import get_close_matches
from math import isfinite
from types import MappingProxyType
from typing import Final

from methods.adapter import Adapter
from methods.base import Method, Scalar, Unsupported
from methods.bitfit import Bitfit
from methods.fine_tuning import FineTuning
from methods.ia3 import Ia3
from methods.lora import Lora
from methods.prefix import Prefix
from methods.simplex import Simplex

__all__ = ["ALIASES", "REGISTRY", "Method", "Unsupported", "build", "canonical", "label", "options_of"]

REGISTRY: Final[Mapping[str, type[Method]]] = MappingProxyType(
    {method.name: method for method in (FineTuning, Bitfit, Prefix, Lora, Adapter, Ia3, Simplex)}
)
ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {"prefix-tuning": "prefix", "simplex-prefix": "simplex", "adapters": "adapter", "finetuning": "fine-tuning"}
)


def canonical(name: str) -> str:
    """The registered name for a name or an alias.

    Raises:
        ValueError: there is no such method; the text names the nearest.
    """
    name = ALIASES.get(name, name)
    if name not in REGISTRY:
        raise ValueError(f"no method {name!r}{nearest(name, [*REGISTRY, *ALIASES])}; there are {', '.join(REGISTRY)}")
    return name


def options_of(name: str, base: str = "prefix") -> dict[str, Scalar | None]:
    """The options of a method with their defaults; a simplex has those of its base as well.

    Raises:
        ValueError: there is no method of that name.
    """
    cls = REGISTRY[canonical(name)]
    values = {f.name: f.default for f in fields(cls) if f.default is not MISSING}
    return (
        options_of(base) | {n: v for n, v in values.items() if n in cls.__annotations__} | {"base": base}
        if cls is Simplex
        else values
    )


def build(name: str, options: Mapping[str, str | Scalar] | None = None) -> Method:
    """The method called `name`, with `options` over its defaults; texts are read as the option's type.

    Raises:
        ValueError: an unknown method or option, or a value that has no meaning; the text names what is valid.
    """
    name, options = canonical(name), dict(options or {})
    cls = REGISTRY[name]
    base = str(options.pop("base", "prefix")) if cls is Simplex else ""
    known = options_of(name, base) if base else options_of(name)
    typed: dict[str, Scalar] = {}
    for option, value in options.items():
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}{nearest(option, known)}; it has {', '.join(sorted(known))}")
        typed[option] = _read(option, value, _type_of(option, cls, base))
    if cls is not Simplex:
        return cls(**typed)  # type: ignore[arg-type]  # each was read as its field's type
    own = {option: typed.pop(option) for option in list(typed) if option in Simplex.__annotations__}
    return Simplex(base=build(base, typed), **own)  # type: ignore[arg-type]


def label(method: Method) -> str:
    """A short readable name: the method's, with the options that differ from their defaults, e.g. `simplex(vertices=2)`."""
    shown = _differing(method)
    if isinstance(method, Simplex):
        base = [] if isinstance(method.base, Prefix) else [f"base={method.base.name}"]
        shown = base + _differing(method.base) + shown
    return f"{method.name}({', '.join(shown)})" if shown else method.name


def _differing(method: Method) -> list[str]:
    """`option=value` for each option that is not at its default and makes a difference."""
    shown = []
    for one in fields(method):
        value = getattr(method, one.name)
        if one.default is MISSING or value == one.default:
            continue
        if replace(method, **{one.name: one.default}).resolved() != method.resolved():  # lr=2e-5 may be the default in words
            shown.append(f"{one.name}={_show(value)}")
    return shown


def nearest(name: str, names: "Mapping[str, object] | list[str]") -> str:
    """`, did you mean 'x'?` if some name is near, else nothing."""
    near = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _type_of(option: str, cls: type[Method], base: str) -> str:
    for owner in (cls, REGISTRY[base]) if base else (cls,):
        for one in fields(owner):
            if one.name == option and (owner is not Simplex or option in Simplex.__annotations__):
                return str(one.type)
    raise AssertionError(option)


def _read(option: str, value: str | Scalar, kind: str) -> Scalar:
    """A value as the type its field is annotated with."""
    text = str(value).strip()
    kind = kind.removesuffix(" | None")
    try:
        if kind == "bool":
            return {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}[text.lower()]
        if kind in ("int", "float") and not set(text) <= set("0123456789+-.eE"):
            raise ValueError(text)  # Python reads more as a number: 1_0, other scripts' digits, inf
        if kind == "int":
            return int(text)
        if kind == "float" and isfinite(number := float(text)):
            return number
        if kind == "float":
            raise ValueError(text)
    except (ValueError, KeyError):
        raise ValueError(f"{option} must be {_KINDS[kind]}, got {text!r}") from None
    return text


_KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number"}


def _show(value: Scalar) -> str:
    return repr(value) if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
