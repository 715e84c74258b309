"""What a cell of a user's table, or an argument, holds: a text, a label or a number."""

import csv
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from harness.errors import UsageError


def column_names(text: str) -> list[str]:
    """Return names that are separated by commas; one that contains a comma is quoted: `"text, clean"`.

    Raises:
        UsageError: the text cannot be a row of names.
    """
    if '"' not in text:
        return [name.strip() for name in text.split(",")]
    try:
        return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    except csv.Error as error:
        raise UsageError(f"the columns {text!r} cannot be read: {error}") from None


def joined_names(names: Iterable[str]) -> str:
    """Return names as `column_names` reads them."""
    return ",".join(
        '"{}"'.format(name.replace('"', '""')) if {",", '"'} & {*name} else name for name in names
    )


def column_name(text: str) -> str:
    """Return the name of one column. It may be quoted. A name without quotes may contain commas."""
    names = column_names(text) if text.lstrip().startswith('"') else []
    return names[0] if len(names) == 1 else text.strip()


def is_blank(text: str) -> bool:
    """Return whether a text has no visible character: only spaces, controls or zero-width characters."""
    return all(unicodedata.category(c) in ("Zs", "Zl", "Zp", "Cc", "Cf") for c in text)


def text_problem(text: str) -> str:
    """Return why a text cannot be used, whether it comes from a file or from an argument; empty if it can."""
    if is_blank(text):
        return "no text"
    if "\0" in text:
        return "a NUL character"
    if re.search("[\ud800-\udfff]", text):
        return "half of a surrogate pair, which is not a character"
    return ""


def as_label(value: object) -> str:
    """Return a label as stripped text: the float 1.0 as `1`, True as `true`, and a missing value as an empty text.

    The text `1.0` stays: see `whole`.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def as_mapping(value: object) -> Mapping[str, Any] | None:
    """Return the object of a cell, also one that a program wrote as JSON text; None without an object."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str) and value.lstrip().startswith("{"):
        with suppress(ValueError, RecursionError):
            found = json.loads(value)
            return found if isinstance(found, dict) else None
    return None


def not_a_label(value: object) -> str:
    """Return what a value is that cannot be a label: a list, an object or bytes; empty if it can be one."""
    if as_mapping(value) is not None:
        return "an object"
    kinds = ((list | tuple, "a list"), (bytes, "a sequence of bytes"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "")


def whole(text: str) -> str:
    """Return `1` for `1.0`, and any other text as it is."""
    return re.sub(r"(?<=[0-9])\.0+$", "", text) if re.fullmatch(r"[+-]?[0-9]+\.0+", text) else text


def as_number(text: str, *, decimal_comma: bool = False) -> float | None:
    """Return the finite number that a text represents, or None.

    Args:
        text: the text.
        decimal_comma: whether `1,5` is a number too.
    """
    try:
        number = float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None
