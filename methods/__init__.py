"""Ways of adapting a pretrained model; knows nothing of tasks or databases.

A new method is one file with one class and one line in `REGISTRY`. Other distributions offer
methods by entry points (`plugins.py`).
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from math import isfinite
from types import MappingProxyType
from typing import Final

from methods.adapter import Adapter
from methods.bitfit import Bitfit
from methods.core.method import Method, Scalar
from methods.core.plugins import Plugin, kind_of, offered
from methods.core.protocols import Unsupported
from methods.core.suggestions import did_you_mean
from methods.features import Features
from methods.fine_tuning import FineTuning
from methods.ia3 import Ia3
from methods.lora import Lora
from methods.prefix import Prefix
from methods.prompt import Prompt
from methods.simplex import DECODERS, SIMPLEX_OPTIONS, Simplex
from methods.unipelt import Unipelt

__all__ = [
    "ALIASES",
    "BASES",
    "REGISTRY",
    "Method",
    "Plugin",
    "Unsupported",
    "build",
    "canonical",
    "class_of",
    "label",
    "meant",
    "option_help",
    "options_of",
    "plugin_of",
    "plugins_offered",
    "rebuild",
    "show",
]

REGISTRY: Final[Mapping[str, type[Method]]] = MappingProxyType(
    {
        method.name: method
        for method in (
            FineTuning,
            Bitfit,
            Features,
            Prompt,
            Prefix,
            Lora,
            Adapter,
            Ia3,
            Unipelt,
            Simplex,
        )
    }
)
BASES: Final = (
    "prefix",
    "lora",
    "adapter",
    "prompt",
    "head",
    "unipelt",
)  # what a simplex may be over
# Other names, each with the method and the options that it stands for.
ALIASES: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = MappingProxyType(
    {
        "finetuning": ("fine-tuning", {}),
        "head": ("fine-tuning", {"layers": "none"}),
        "prompt-tuning": ("prompt", {}),
        "prefix-tuning": ("prefix", {}),
        "adapters": ("adapter", {}),
        **{f"simplex-{base}": ("simplex", {"base": base}) for base in BASES},
    }
)


def canonical(name: str) -> str:
    """The registered name for a name or an alias.

    Raises:
        ValueError: there is no such method; the text names the nearest.
    """
    return resolve_alias(name)[0]


def resolve_alias(name: str) -> tuple[str, Mapping[str, str]]:
    """The registered name for a name or an alias, and the options that the alias stands for.

    Raises:
        ValueError: there is no such method; the text names the nearest.
    """
    if name in REGISTRY:
        return name, {}
    if name in ALIASES:
        return ALIASES[name]
    if _plugin(name) is None:
        there = [*REGISTRY, *(plugin.name for plugin in plugins_offered() if not plugin.refused)]
        raise ValueError(
            f"no method {name!r}{did_you_mean(name, [*there, *ALIASES])}; there are {', '.join(there)}"
        )
    return name, {}


@cache
def plugins_offered() -> tuple[Plugin, ...]:
    """The methods that other distributions offer, without importing one."""
    return tuple(offered({*REGISTRY, *ALIASES, "all"}))


def _plugin(name: str) -> Plugin | None:
    """The plug-in of a name that is none of our own."""
    mine = name in REGISTRY or name in ALIASES
    return (
        None
        if mine
        else next((plugin for plugin in plugins_offered() if plugin.name == name), None)
    )


def plugin_of(method: Method) -> Plugin | None:
    """The plug-in that a method comes from, or the base of a simplex; None for our own."""
    return _plugin(method.base.name if isinstance(method, Simplex) else method.name)


def class_of(name: str) -> type[Method]:
    """The class of a method by its registered name. A plug-in is imported now.

    Raises:
        ValueError: there is no such method, or the plug-in is broken.
    """
    plugin = _plugin(canonical(name))
    return plugin.load() if plugin else REGISTRY[canonical(name)]


def options_of(name: str, base: str = "prefix") -> set[str]:
    """The names of a method's options; a simplex has those of its base as well.

    Raises:
        ValueError: there is no method of that name, or its plug-in is broken.
    """
    cls = class_of(name)
    if cls is Simplex:
        return options_of(base) | {*SIMPLEX_OPTIONS, "base"}
    return {field.name for field in fields(cls)}


def option_help(name: str, base: str = "prefix") -> dict[str, str]:
    """Return one line of help for each option of a method; a simplex also has the options of its base.

    Raises:
        ValueError: the method is unknown, or its plug-in is broken.
    """
    cls = class_of(name)
    inherited = option_help(base) if cls is Simplex else {}
    own = {*SIMPLEX_OPTIONS, "base"} if cls is Simplex else {field.name for field in fields(cls)}
    return inherited | {
        field.name: field.metadata.get("help", "") for field in fields(cls) if field.name in own
    }


def build(name: str, options: Mapping[str, str | Scalar] | None = None) -> Method:
    """The method called `name`, with `options` over its defaults; texts are read as the option's type.

    Raises:
        ValueError: an unknown method or option, or a value that has no meaning; the text names what
            is valid.
    """
    name, preset = resolve_alias(name)
    given = {**preset, **(options or {})}
    cls = class_of(name)
    base = str(given.pop("base", "prefix")).strip() if cls is Simplex else ""
    if (
        cls is Simplex and str(given.get("decoder", "")).strip() in DECODERS
    ):  # a base has an option of that name with other values
        given["decoders"] = given.pop("decoder")
    if cls is Simplex and (base not in REGISTRY and base not in ALIASES and _plugin(base) is None):
        raise ValueError(f"base must be one of {', '.join(BASES)}, got {base!r}")
    known = options_of(name, base or "prefix")
    for option in given:
        if option not in known:
            raise ValueError(
                f"{name} has no option {option!r}{did_you_mean(option, known)}; it has {', '.join(sorted(known))}"
            )
    own = {
        option: given.pop(option)
        for option in list(given)
        if cls is not Simplex or option in SIMPLEX_OPTIONS
    }
    typed = {option: _read(option, value, _type_of(option, cls)) for option, value in own.items()}
    if cls is Simplex:
        return Simplex(base=build(base, given), **typed)  # type: ignore[arg-type]  # each was read as its field's type
    return cls(**typed)  # type: ignore[arg-type]


def rebuild(name: str, options: Mapping[str, Scalar], distribution: str) -> Method:
    """The method of a job that was planned earlier, or on another machine.

    Raises:
        ValueError: its plug-in is missing, broken, or another distribution's here.
    """
    method = build(name, options)
    plugin = plugin_of(method)
    here = plugin.distribution if plugin else ""
    if here != distribution:
        raise ValueError(
            f"{name} is the method of {distribution or 'bench'}, and here it comes from {plugin or 'bench'}"
        )
    return method


def label(method: Method) -> str:
    """A short readable name: the method's, with the options that differ from their defaults, e.g. `simplex(vertices=2)`."""
    shown = _differing(method)
    if isinstance(method, Simplex):
        head = method.base.name == "fine-tuning"
        base = (
            []
            if isinstance(method.base, Prefix)
            else [f"base={'head' if head else method.base.name}"]
        )
        shown = base + ([] if head else _differing(method.base)) + shown
    return f"{method.name}({', '.join(shown)})" if shown else method.name


def _differing(method: Method) -> list[str]:
    """`option=value` for each option that is not at its default and makes a difference."""
    shown = []
    for one in fields(method):
        value = getattr(method, one.name)
        if one.name == "base" or value == one.default:
            continue
        if _makes_a_difference(method, one.name, one.default):
            shown.append(f"{one.name}={show(value)}")
    return shown


def _makes_a_difference(method: Method, option: str, default: object) -> bool:
    """Whether the option's value matters: lr=2e-5 may be the default in words."""
    try:
        return replace(method, **{option: default}).resolved() != method.resolved()  # type: ignore[arg-type]  # a field of it
    except ValueError:  # the default would not go with the other options
        return True


def _type_of(option: str, cls: type[Method]) -> str:
    return kind_of(next(one.type for one in fields(cls) if one.name == option))


def _read(option: str, value: str | Scalar, kind: str) -> Scalar:
    """A value as the type its field is annotated with."""
    text = str(value).strip()
    kind = kind.removesuffix(" | None")
    try:
        if kind == "bool":
            return {
                "true": True,
                "yes": True,
                "on": True,
                "false": False,
                "no": False,
                "off": False,
            }[text.lower()]
        number = text.removesuffix("%") if kind == "float" else text
        if kind in ("int", "float") and not set(number) <= set("0123456789+-.eE"):
            raise ValueError(text)  # Python reads more as a number: 1_0, other scripts' digits, inf
        if kind == "int":
            return int(text)
        if kind == "float" and isfinite(found := float(number)):
            return found / 100 if text.endswith("%") else found
        if kind == "float":
            raise ValueError(text)
    except (ValueError, KeyError):
        raise ValueError(f"{option} must be {_KINDS[kind]}, got {text!r}") from None
    return text


_KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number"}


def show(value: Scalar) -> str:
    """A value as it is typed."""
    return (
        repr(value)
        if isinstance(value, float)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
