"""The report on a terminal: tables that fit the width by being split, never by cutting a number."""

import io
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from reports import escape
from reports.document import Document, Entry, Table

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

GAP = 2  # columns between two cells
NARROW = 40  # below this nothing fits; lines are then left to the terminal
LABEL = 12  # a label is folded to no less
HEADING = 10  # a longer name of a column is broken at its hyphens


def as_terminal(page: Document, *, width: int, color: bool) -> str:
    """A report as lines of at most `width` columns, styled only if `color`."""
    from rich.console import Console
    from rich.text import Text

    out = io.StringIO()
    console = Console(
        file=out,
        width=max(width, NARROW),
        force_terminal=color,
        force_jupyter=False,
        force_interactive=False,
        color_system="standard" if color else None,
        no_color=not color,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
        _environ={},  # the same report in every environment
    )
    console.print(Text(escape.plain(page.verdict[0]), style="bold"))
    for paragraph in page.verdict[1:]:
        console.print(_item("•", paragraph))
    console.print()
    console.print(_facts(page))
    for table in page.tables:
        _print(console, table)
    if page.notes:
        console.print()
        console.print(Text("Notes", style="bold"))
        for note in page.notes:
            console.print(_item("!" if note.level == "red" else "·", f"{note.code}: {note.text}"))
    for table in page.appendix:
        _print(console, table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).rstrip("\n") + "\n"


def _item(bullet: str, text: str) -> "RenderableType":
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row(bullet, Text(escape.plain(text), overflow="fold"))
    return grid


def _facts(page: Document) -> "RenderableType":
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in [*page.facts, *([("Command", page.command)] if page.command else [])]:
        grid.add_row(Text(name, style="dim"), Text(escape.plain(text), overflow="fold"))
    return grid


def _print(console: "Console", table: Table) -> None:
    from rich.text import Text

    console.print()
    console.print(Text(escape.plain(table.title), style="bold"))
    for number, (piece, widths) in enumerate(_pieces(table, console.width)):
        if number:
            console.print()
        console.print(_grid(piece, widths))
    if table.legend:
        console.print(Text(escape.plain(table.legend), style="dim", overflow="fold"))


def _pieces(table: Table, width: int) -> Iterator[tuple[Table, list[int]]]:
    """Parts of the table that fit the width, as few as possible, with the widths of their columns."""
    widths = _widths(table, width)
    labels, numbers = widths[: table.labels], widths[table.labels :]
    start = sum(label + GAP for label in labels)
    chosen: list[int] = []
    used = start
    for column, needed in enumerate(numbers):
        if chosen and used + needed > width:
            yield table.part(chosen), [*labels, *(numbers[i] for i in chosen)]
            chosen, used = [], start
        chosen.append(column)
        used += needed + GAP
    yield table.part(chosen), [*labels, *(numbers[i] for i in chosen)]


def _widths(table: Table, width: int) -> list[int]:
    """What each column needs; the last label is folded where that keeps the table in one piece, or if it is long."""
    from rich.cells import cell_len

    widths = []
    for i, name in enumerate(table.head):
        inside = max((cell_len(text) for text in _column(row[i] for row in table.rows)), default=1)
        heading = cell_len(escape.plain(name))
        if i >= table.labels and heading > HEADING:
            heading = max(HEADING, *(cell_len(piece) for piece in _syllables(escape.plain(name))))
        widths.append(max(inside, heading))
    last = table.labels - 1
    spare = width - sum(needed + GAP for needed in widths) + GAP + widths[last]
    widths[last] = min(widths[last], spare if spare >= LABEL else max(width // 3, LABEL))
    return widths


def _syllables(name: str) -> list[str]:
    """A name cut where it may be broken: after hyphens and spaces."""
    return re.findall(r"[^- ]*[- ]?", name)[:-1]


def _broken(name: str, width: int) -> str:
    """A name on lines of at most `width` columns, as far as its hyphens allow."""
    from rich.cells import cell_len

    lines = [""]
    for piece in _syllables(name):
        if lines[-1] and cell_len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _marks(entry: Entry) -> str:
    """The marks, with a star that says what bold says, for those who do not see it."""
    return ("*" if entry.strong and entry.text else "") + entry.marks


def _column(entries: Iterable[Entry]) -> list[str]:
    """The texts of a column, each with its marks in room of one width, so that the numbers stand under each other."""
    entries = list(entries)
    room = max((len(_marks(entry)) for entry in entries), default=0)
    return [escape.plain(entry.text) + _marks(entry).ljust(room) for entry in entries]


def _grid(table: Table, widths: list[int]) -> "RenderableType":
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, GAP, 0, 0))
    for i, needed in enumerate(widths):
        grid.add_column(justify="left" if i < table.labels else "right", width=needed)
    heads = (
        _broken(escape.plain(name), needed) for name, needed in zip(table.head, widths, strict=True)
    )
    grid.add_row(*(Text(head, style="bold", overflow="fold") for head in heads))
    grid.add_row(*("─" * needed for needed in widths))
    texts = [_column(row[i] for row in table.rows) for i in range(len(table.head))]
    for number, row in enumerate(table.rows):
        styles = ["bold" if entry.strong else "" for entry in row]
        grid.add_row(
            *(
                Text(texts[i][number], style=style, overflow="fold")
                for i, style in enumerate(styles)
            )
        )
    return grid
