"""Read single options as typed; problems and notices are collected, so that one message reports all."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from harness.errors import UsageError
from harness.study.grid_options import GridOptions
from methods.core.suggestions import did_you_mean

S = TypeVar("S")
T = TypeVar("T")
MOST = {"pack": 4096, "draws": 10_000, "seeds": 10_000, "sizes": 10_000_000, "steps": 10_000_000}


def numbers(option: str, text: str | None) -> list[int]:
    """Return whole numbers that are separated by commas; an empty list for no text.

    Raises:
        UsageError: An entry is not a whole number.
    """
    try:
        return [int(part) for part in split(text)] if text else []
    except ValueError:
        raise UsageError(
            f"{option} must be whole numbers separated by commas, got {text!r}"
        ) from None


class OptionReader:
    """Reads options, and collects problems and notices."""

    def __init__(self, grid: GridOptions) -> None:
        self.grid = grid
        self.problems: list[str] = []
        self.notices: list[str] = []

    def attempt(self, read: Callable[[], T]) -> T | None:
        """Return the result of `read`; if it raises, note the problem and return None."""
        try:
            return read()
        except UsageError as error:
            self.problems += error.problems
        except ValueError as error:
            self.problems.append(str(error))
        return None

    def attempt_all(self, read: Callable[[S], T], items: Iterable[S]) -> list[T]:
        """Return the results of `read` for the items for which it does not raise."""
        results = [self.attempt(partial(read, item)) for item in items]
        return [result for result in results if result is not None]

    def names(self, option: str) -> list[str]:
        """Return the distinct entries of an option that is a list."""
        entries = split(self.grid.value(option))
        if not entries:
            self.problems.append(f"--{option} is empty")
        return self.distinct(option, entries)

    def distinct(self, option: str, entries: Iterable[T]) -> list[T]:
        """Return the entries without repetitions, and note repetitions."""
        entries = list(entries)
        unique = list(dict.fromkeys(entries))
        if len(unique) < len(entries):
            repeated = dict.fromkeys(str(entry) for entry in unique if entries.count(entry) > 1)
            self.notices.append(
                f"--{option}: {', '.join(repeated)} was named more than once; counted once"
            )
        return unique

    def number(self, option: str, text: str | None = None, *, least: int = 0) -> int:
        """Return an option as a whole number of `least` or more; `least` if it is something else."""
        text = self.grid.value(option.replace("-", "_")) if text is None else text
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
            self.problems.append(f"--{option}: {text!r} is not a whole number")
            return least
        number = int(text)
        most = MOST.get(option, 10**9)
        if not least <= number <= most:
            self.problems.append(f"--{option}: {number} is not between {least} and {most}")
            return least
        return number

    def decimal(self, option: str) -> float:
        """Return an option as a finite number; 0 if it is something else."""
        text = self.grid.value(option.replace("-", "_"))
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self.problems.append(f"--{option}: {text!r} is not a number")
            return 0.0
        return number

    def choice(self, option: str, allowed: Sequence[str]) -> str:
        """Return an option that is one of a few words."""
        text = self.grid.value(option.replace("-", "_"))
        if text not in allowed:
            hint = did_you_mean(text, allowed)
            self.problems.append(f"--{option}: {text!r} is not one of {', '.join(allowed)}{hint}")
        return text


def split(text: str) -> list[str]:
    """Split a text at commas and spaces, except inside brackets or quotes; quotes are removed.

    `prefix,simplex(vertices=2, length=5)` has two entries, and so has `"good film",review`.
    """
    entries = re.findall(r"""(?:"[^"]*"|'[^']*'|\([^)]*\)|[^,\s"'(])+""", text.strip())
    return [re.sub(r"""(["'])(.*?)\1""", r"\2", entry) for entry in entries]


def seconds(option: str, text: str) -> float:
    """Return a length of time such as 90s, 10m or 1h; a number without a unit is in seconds.

    Raises:
        UsageError: the text has another form, or is 0.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([smh]?)", text.strip().lower())
    found = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if not found:
        raise UsageError(f"{option} must be a time such as 90s, 10m or 1h, got {text!r}")
    return found
