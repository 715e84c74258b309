"""Problems of a user's files, collected so that one message reports all of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harness.errors import UsageError
from harness.wording import escaped, plural

_MAX_PROBLEMS: Final = 10


class Problems:
    """Collects problems; equal ones of several rows become one with a count."""

    def __init__(self) -> None:
        self._positions: dict[
            tuple[str, str], list[str]
        ] = {}  # by file and text, or by text and ""
        self.count = 0
        self.notes: list[str] = []  # on rows that can be used

    def add(self, *problems: str) -> None:
        """Add problems."""
        for problem in problems:
            self._positions.setdefault((problem, ""), [])
            self.count += 1

    def add_row(self, path: Path, position: str, text: str) -> None:
        """Add a problem of one row; `text` follows its position."""
        self._positions.setdefault((escaped(str(path)), text), []).append(position)
        self.count += 1

    def raise_if_any(self) -> None:
        """Raise if there are problems.

        Raises:
            UsageError: the first problems, and how many more there are.
        """
        messages = [_message(*key, found) for key, found in self._positions.items()]
        if messages:
            more = len(messages) - _MAX_PROBLEMS
            raise UsageError(
                *messages[:_MAX_PROBLEMS],
                *([f"and {plural(more, 'more problem')}"] if more > 0 else []),
                *(f"note: {note}" for note in dict.fromkeys(self.notes)),
            )


def _message(start: str, text: str, positions: Sequence[str]) -> str:
    """Return `d.csv, row 2 (line 3), column 'text': no text; the same in 4 more rows: row 7 (line 8), ...`."""
    if not positions:
        return start
    message, others = f"{start}, {positions[0]}{text}", positions[1:]
    if others:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        what = "row" if others[0].startswith("row") else "line"
        message += f"; the same in {plural(len(others), f'more {what}')}: {shown}"
    return message
