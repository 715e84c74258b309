"""Arguments of Python calls, in the form in which the command line has them."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from harness.errors import UsageError
from harness.scheduling.run_options import RunOptions
from harness.study.grid_options import GridOptions
from harness.tasks.files.cells import joined_names
from methods.core.suggestions import did_you_mean

# What an option takes: what the command line takes, or values of Python for it.
Value = str | float | Path | Sequence[str] | Sequence[float] | Sequence[Path] | None
Settings = Mapping[str, str | float | Sequence[str] | Sequence[float]]  # for --set
COLUMNS = ("text", "label")  # a list of names may hold names with commas

T = TypeVar("T", GridOptions, RunOptions)


def read(call: str, values: Mapping[str, object]) -> tuple[GridOptions, RunOptions]:
    """Return the options that arguments set; None leaves an option at its default.

    Args:
        call: the name of the function that was called, for messages.
        values: by the name of the option, with `_` for `-`. A list stands for values with commas between them.

    Raises:
        TypeError: an argument is unknown.
        UsageError: a value has the wrong type.
    """
    _check_names(call, values, [*_names(GridOptions), *_names(RunOptions)])
    return _options(GridOptions, values), _options(RunOptions, values)


def grid(call: str, values: Mapping[str, object]) -> GridOptions:
    """Return the options of the grid that arguments set; otherwise as `read`.

    Raises:
        TypeError: an argument is unknown, or says how jobs run.
        UsageError: a value has the wrong type.
    """
    _check_names(call, values, [*_names(GridOptions)])
    return _options(GridOptions, values)


def _check_names(call: str, values: Mapping[str, object], known: Sequence[str]) -> None:
    for name in values:
        if name not in known:
            raise TypeError(f"{call}() has no argument {name!r}{did_you_mean(name, known)}")


def database(db: str | Path | None) -> str:
    """Return the name of a database; by default that of the environment variable BENCH_DB, or results.db."""
    return os.environ.get("BENCH_DB", RunOptions().db) if db is None else str(db)


def command(name: str, *options: GridOptions | RunOptions) -> str:
    """Return the command line with these options."""
    words = ["bench", name]
    for one in options:
        by_field = {field.name: option for option, field in _names(type(one)).items()}
        for field in fields(one):
            value = getattr(one, field.name)
            if value == _default(field):
                continue
            flag = f"--{by_field[field.name].replace('_', '-')}"
            if value is True:
                words.append(flag)
            else:
                each = value if isinstance(value, list) else [value]
                words += [word for item in each for word in (flag, str(item))]
    return shlex.join(words)


def _names(cls: type[GridOptions] | type[RunOptions]) -> dict[str, Field[Any]]:
    """Return the fields by the names of their options, with `_` for `-`."""
    hints = get_type_hints(cls, include_extras=True)
    named = {}
    for field in fields(cls):
        (option,) = hints[field.name].__metadata__
        long = next(
            word for word in (option.default, *option.param_decls) if str(word).startswith("--")
        )
        named[long.removeprefix("--").replace("-", "_")] = field
    return named


def _default(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _options(cls: type[T], values: Mapping[str, object]) -> T:
    hints = get_type_hints(cls)
    return cls(
        **{
            field.name: _typed(name, hints[field.name], values[name])
            for name, field in _names(cls).items()
            if values.get(name) is not None
        }
    )


def _typed(name: str, hint: Any, value: object) -> Any:
    """Return a value as a field of this type has it.

    Raises:
        UsageError: it has the wrong type.
    """
    if hint is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{name} must be True or False, got {value!r}")
        return value
    if get_origin(hint) is list:
        if isinstance(value, Mapping):
            return [f"{key}={_setting(name, one)}" for key, one in value.items()]
        each = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if not all(isinstance(one, str | Path) for one in each):
            raise UsageError(f"{name} must be text or a list of texts, got {value!r}")
        return [get_args(hint)[0](one) for one in each]
    if Path in get_args(hint):
        if not isinstance(value, str | Path):
            raise UsageError(f"{name} must be the name of a file, got {value!r}")
        return Path(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if value not in list(hint):
            raise UsageError(f"{name} must be one of {', '.join(hint)}, got {value!r}")
        return hint(str(value))
    return text_of(name, value)


def _setting(name: str, value: object) -> str:
    """Return the value of an option of a method, or its values, as one would type them."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(_item(_setting(name, one)) for one in value)
    return text_of(name, value)


def text_of(name: str, value: Any) -> str:
    """Return a value as one would type it.

    Raises:
        UsageError: nobody can type it.
    """
    if isinstance(value, str):
        return value
    if hasattr(value, "tolist"):  # an array, or a number of numpy
        value = value.tolist()
    if isinstance(value, Path | int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, list | tuple | range) or not len(value):
        raise UsageError(f"{name} must be text, a number or a list of them, got {value!r}")
    if name in COLUMNS:
        return joined_names([str(one) for one in value])
    return ",".join(_item(text_of(name, one)) for one in value)


def _item(word: str) -> str:
    """Return an item of a list such that the command line does not separate its words."""
    return f'"{word}"' if re.search(r"[\s,]", word) and "(" not in word else word
