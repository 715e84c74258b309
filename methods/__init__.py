"""Ways to adapt a pretrained model. Nothing here knows tasks or databases.

A new method is one file with one class and one entry in `REGISTRY`. Other distributions offer methods
by entry points (`core/plugins.py`). Authors of methods import everything from this package:

- `Method`, the interface, with `option` and `added_option` for its fields, `require`, `require_one_of` and
  `require_share` to check them, and `INTERFACE`, the version of the interface;
- `Slots` and `Slot`, where tensors enter a backbone, with `Gate` and `row_bias`;
- `InitialParameters`, what is trained, with `initialise` and the initialisers `normal`, `uniform` and `zeros`;
- `Architecture`, what is known of a backbone, and `linear_layers`, which finds layers by name;
- the types `Backbone`, `Streams`, `Initialiser`, `Scalar`, `ClosedForm`, `DevScoring`, `TrainableParameters`;
- `Unsupported`, the error for a backbone that does not allow a method.

The names that need torch are imported on first use, so that `import methods` does not import torch.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from importlib import import_module
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from methods.adapter import Adapter
from methods.bitfit import Bitfit
from methods.core.method import (
    ClosedForm,
    DevScoring,
    Method,
    Scalar,
    added_option,
    option,
    require,
    require_one_of,
    require_share,
)
from methods.core.plugins import INTERFACE, Plugin, kind_of, offered
from methods.core.protocols import Backbone, Initialiser, Streams, Unsupported
from methods.core.suggestions import did_you_mean
from methods.features import Features
from methods.fine_tuning import FineTuning
from methods.ia3 import Ia3
from methods.lora import Lora
from methods.prefix import Prefix
from methods.prompt import Prompt
from methods.simplex import BASES, SIMPLEX_OPTIONS, VERTEX_DECODERS, Simplex
from methods.unipelt import Unipelt
from methods.zero_shot import ZeroShot

if TYPE_CHECKING:
    from methods.core.architecture import Architecture, linear_layers
    from methods.core.parameters import (
        InitialParameters,
        TrainableParameters,
        initialise,
        normal,
        uniform,
        zeros,
    )
    from methods.core.slots import Gate, Slot, Slots, row_bias

__all__ = [
    "ALIASES",
    "BASES",
    "INTERFACE",
    "REGISTRY",
    "Architecture",
    "Backbone",
    "ClosedForm",
    "DevScoring",
    "Gate",
    "InitialParameters",
    "Initialiser",
    "Method",
    "Plugin",
    "Scalar",
    "Slot",
    "Slots",
    "Streams",
    "TrainableParameters",
    "Unsupported",
    "added_option",
    "build",
    "canonical",
    "class_of",
    "initialise",
    "label",
    "linear_layers",
    "normal",
    "option",
    "option_help",
    "options_of",
    "plugin_of",
    "plugins_offered",
    "rebuild",
    "require",
    "require_one_of",
    "require_share",
    "resolve_alias",
    "row_bias",
    "show",
    "suitable",
    "uniform",
    "zeros",
]

# Names that need torch, each with its module; they are imported on first use.
_NEEDS_TORCH: Final = {
    "Architecture": "methods.core.architecture",
    "linear_layers": "methods.core.architecture",
    "Gate": "methods.core.slots",
    "Slot": "methods.core.slots",
    "Slots": "methods.core.slots",
    "row_bias": "methods.core.slots",
    "InitialParameters": "methods.core.parameters",
    "TrainableParameters": "methods.core.parameters",
    "initialise": "methods.core.parameters",
    "normal": "methods.core.parameters",
    "uniform": "methods.core.parameters",
    "zeros": "methods.core.parameters",
}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_NEEDS_TORCH[name]), name)


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
            ZeroShot,
        )
    }
)
# Other names of methods, each with the method and the options that it stands for.
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
    """Return the registered name of a method, given its name or an alias.

    Raises:
        ValueError: the method is unknown; the message suggests a name.
    """
    return resolve_alias(name)[0]


def resolve_alias(name: str) -> tuple[str, Mapping[str, str]]:
    """Return the registered name for a name or an alias, and the options that the alias stands for.

    Raises:
        ValueError: the method is unknown; the message suggests a name.
    """
    if name in REGISTRY:
        return name, {}
    if name in ALIASES:
        return ALIASES[name]
    if _plugin(name) is None:
        known = [*REGISTRY, *(plugin.name for plugin in plugins_offered() if not plugin.refused)]
        raise ValueError(
            f"no method {name!r}{did_you_mean(name, [*known, *ALIASES])}; there are {', '.join(known)}"
        )
    return name, {}


@cache
def plugins_offered() -> tuple[Plugin, ...]:
    """Return the methods that other distributions offer. Imports none of them."""
    return tuple(offered({*REGISTRY, *ALIASES, "all"}))


def _plugin(name: str) -> Plugin | None:
    """Return the plug-in of a name; None for built-in names."""
    if name in REGISTRY or name in ALIASES:
        return None
    return next((plugin for plugin in plugins_offered() if plugin.name == name), None)


def plugin_of(method: Method) -> Plugin | None:
    """Return the plug-in that offers a method, or the base of a simplex; None for built-in methods."""
    return _plugin(method.base.name if isinstance(method, Simplex) else method.name)


def class_of(name: str) -> type[Method]:
    """Return the class of a method. Imports a plug-in.

    Raises:
        ValueError: the method is unknown, or its plug-in is broken.
    """
    plugin = _plugin(canonical(name))
    return plugin.load() if plugin else REGISTRY[canonical(name)]


def options_of(name: str, base: str = "prefix") -> set[str]:
    """Return the names of a method's options; a simplex also has the options of its base.

    Raises:
        ValueError: the method is unknown, or its plug-in is broken.
    """
    return set(option_help(name, base))


def option_help(name: str, base: str = "prefix") -> dict[str, str]:
    """Return one line of help for each option of a method; a simplex also has the options of its base.

    Raises:
        ValueError: the method is unknown, or its plug-in is broken.
    """
    cls = class_of(name)
    help_by_option = {field.name: field.metadata.get("help", "") for field in fields(cls)}
    if cls is not Simplex:
        return help_by_option
    return option_help(base) | {
        option: help_by_option[option] for option in (*SIMPLEX_OPTIONS, "base")
    }


def suitable(*, writes: bool) -> list[str]:
    """Return the names of the methods that can write text, or of those that can classify."""
    built = {name: build(name) for name in REGISTRY}
    return [
        name
        for name, method in built.items()
        if (method.closed_form is None if writes else method.trains)
    ]


def build(name: str, options: Mapping[str, str | Scalar] | None = None) -> Method:
    """Return the method called `name`, with `options` over its defaults. Texts are parsed as the option's type.

    Raises:
        ValueError: the method or an option is unknown, or a value is invalid; the message names what
            is valid.
    """
    name, preset = resolve_alias(name)
    values = {**preset, **(options or {})}
    cls = class_of(name)
    base = "prefix"
    if cls is Simplex:
        base = str(values.pop("base", base)).strip()
        # The base may have an option `decoder`; `decoder=per-vertex` means the simplex's option `decoders`.
        if str(values.get("decoder", "")).strip() in VERTEX_DECODERS:
            values["decoders"] = values.pop("decoder")
        if base not in REGISTRY and base not in ALIASES and _plugin(base) is None:
            raise ValueError(f"base must be one of {', '.join(BASES)}, got {base!r}")
    known = options_of(name, base)
    for key in values:
        if key not in known:
            raise ValueError(
                f"{name} has no option {key!r}{did_you_mean(key, known)}; it has {', '.join(sorted(known))}"
            )
    parsed: dict[str, Any] = {
        field.name: _parse(field.name, values.pop(field.name), kind_of(field.type))
        for field in fields(cls)
        if field.name in values and (cls is not Simplex or field.name in SIMPLEX_OPTIONS)
    }
    return Simplex(base=build(base, values), **parsed) if cls is Simplex else cls(**parsed)


def rebuild(name: str, options: Mapping[str, Scalar], distribution: str) -> Method:
    """Return the method of a job that was planned earlier, or on another machine.

    Raises:
        ValueError: its plug-in is missing or broken, or another distribution offers the method here.
    """
    method = build(name, options)
    plugin = plugin_of(method)
    here = plugin.distribution if plugin else ""
    if here != distribution:
        raise ValueError(
            f"{name} is the method of {distribution or 'bench'}, but here it comes from {plugin or 'bench'}"
        )
    return method


def label(method: Method) -> str:
    """Return a short name with the options that differ from their defaults, e.g. `simplex(vertices=2)`."""
    shown = _differing(method)
    if isinstance(method, Simplex):
        base = method.options()["base"]
        inherited = [] if base == "head" else _differing(method.base)
        shown = ([] if base == "prefix" else [f"base={base}"]) + inherited + shown
    return f"{method.name}({', '.join(shown)})" if shown else method.name


def _differing(method: Method) -> list[str]:
    """Return `option=value` for each option that differs from its default and has an effect."""
    values = {field.name: getattr(method, field.name) for field in fields(method)}
    return [
        f"{field.name}={show(values[field.name])}"
        for field in fields(method)
        if field.name != "base"
        and values[field.name] != field.default
        and _has_effect(method, field.name, field.default)
    ]


def _has_effect(method: Method, option: str, default: object) -> bool:
    """Return whether the option changes the method: it does not if, for example, lr has the default learning rate."""
    try:
        return replace(method, **{option: default}).resolved() != method.resolved()  # type: ignore[arg-type]  # a field of the method
    except ValueError:  # the default is invalid with the other options
        return True


def _parse(option: str, value: str | Scalar, kind: str) -> Scalar:
    """Return a value as the type of its field."""
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
            raise ValueError(text)  # Python also accepts 1_0, inf and digits of other scripts
        if kind == "int":
            return int(text)
        if kind == "float" and isfinite(parsed := float(number)):
            return parsed / 100 if text.endswith("%") else parsed
        if kind == "float":
            raise ValueError(text)
    except (ValueError, KeyError):
        raise ValueError(f"{option} must be {_KINDS[kind]}, got {text!r}") from None
    return text


_KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number"}


def show(value: Scalar) -> str:
    """Return a value as a user types it."""
    return (
        repr(value)
        if isinstance(value, float)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
