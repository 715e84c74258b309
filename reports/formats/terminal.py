"""Write a report for a terminal; tables that are too wide are split, and numbers are never cut."""

import io
import re
from collections.abc import Iterable, Iterator

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from reports import escape
from reports.document import Document, Table, TableCell

# widths in characters
GAP = 2  # between two columns of a table
MIN_WIDTH = 40  # on a narrower terminal, the terminal wraps the lines
MIN_LABEL_WIDTH = 12  # labels are not folded to less
MAX_HEADING_WIDTH = 10  # longer column names are broken after hyphens and spaces


def as_terminal(page: Document, *, width: int, color: bool) -> str:
    """Return a report as lines of at most `width` characters, with styles only if `color`."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=max(width, MIN_WIDTH),
        force_terminal=color,
        force_jupyter=False,
        force_interactive=False,
        color_system="standard" if color else None,
        no_color=not color,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
        _environ={},  # the output does not depend on environment variables
    )
    console.print(Text(escape.plain(page.verdict[0]), style="bold"))
    for paragraph in page.verdict[1:]:
        console.print(_bullet_item("•", paragraph))
    console.print()
    console.print(_facts(page))
    for table in page.tables:
        _print_table(console, table)
    if page.notes:
        console.print()
        console.print(Text("Notes", style="bold"))
        for note in page.notes:
            console.print(
                _bullet_item("!" if note.level == "red" else "·", f"{note.code}: {note.text}")
            )
    for table in page.appendix:
        _print_table(console, table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).rstrip("\n") + "\n"


def _bullet_item(bullet: str, text: str) -> RenderableType:
    grid = RichTable.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row(bullet, Text(escape.plain(text), overflow="fold"))
    return grid


def _facts(page: Document) -> RenderableType:
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in [*page.facts, *([("Command", page.command)] if page.command else [])]:
        grid.add_row(Text(name, style="dim"), Text(escape.plain(text), overflow="fold"))
    return grid


def _print_table(console: Console, table: Table) -> None:
    console.print()
    console.print(Text(escape.plain(table.title), style="bold"))
    for number, (part, widths) in enumerate(_split_to_width(table, console.width)):
        if number:
            console.print()
        console.print(_grid(part, widths))
    if table.legend:
        console.print(Text(escape.plain(table.legend), style="dim", overflow="fold"))


def _split_to_width(table: Table, width: int) -> Iterator[tuple[Table, list[int]]]:
    """Yield as few parts of the table as fit the width, each with the widths of its columns."""
    widths = _widths(table, width)
    labels, numbers = widths[: table.labels], widths[table.labels :]
    start = sum(label + GAP for label in labels)
    part_columns: list[int] = []
    used = start
    for column, column_width in enumerate(numbers):
        if part_columns and used + column_width > width:
            yield table.part(part_columns), [*labels, *(numbers[i] for i in part_columns)]
            part_columns, used = [], start
        part_columns.append(column)
        used += column_width + GAP
    yield table.part(part_columns), [*labels, *(numbers[i] for i in part_columns)]


def _widths(table: Table, width: int) -> list[int]:
    """Return the width of each column; the last label column is folded if the table is otherwise too wide."""
    widths = []
    for i, name in enumerate(table.head):
        inside = max((cell_len(text) for text in _column(row[i] for row in table.rows)), default=1)
        heading = cell_len(escape.plain(name))
        if i >= table.labels and heading > MAX_HEADING_WIDTH:
            heading = max(
                MAX_HEADING_WIDTH,
                *(cell_len(part) for part in _breakable_parts(escape.plain(name))),
            )
        widths.append(max(inside, heading))
    last = table.labels - 1
    spare = width - sum(column_width + GAP for column_width in widths) + GAP + widths[last]
    widths[last] = min(
        widths[last], spare if spare >= MIN_LABEL_WIDTH else max(width // 3, MIN_LABEL_WIDTH)
    )
    return widths


def _breakable_parts(name: str) -> list[str]:
    """Split a name where it may be broken: after hyphens and spaces."""
    return re.findall(r"[^- ]*[- ]?", name)[:-1]


def _break_name(name: str, width: int) -> str:
    """Return a name on lines of at most `width` characters, where its hyphens and spaces allow it."""
    lines = [""]
    for part in _breakable_parts(name):
        if lines[-1] and cell_len((lines[-1] + part).rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def _marks(cell: TableCell) -> str:
    """Return the marks, with a star for a bold entry, which is visible without styles."""
    return ("*" if cell.strong and cell.text else "") + cell.marks


def _column(cells: Iterable[TableCell]) -> list[str]:
    """Return the texts of a column; all marks are padded to one width, so that the numbers are aligned."""
    cells = list(cells)
    marks_width = max((len(_marks(cell)) for cell in cells), default=0)
    return [escape.plain(cell.text) + _marks(cell).ljust(marks_width) for cell in cells]


def _grid(table: Table, widths: list[int]) -> RenderableType:
    grid = RichTable.grid(padding=(0, GAP, 0, 0))
    for i, column_width in enumerate(widths):
        grid.add_column(justify="left" if i < table.labels else "right", width=column_width)
    heads = (
        _break_name(escape.plain(name), column_width)
        for name, column_width in zip(table.head, widths, strict=True)
    )
    grid.add_row(*(Text(head, style="bold", overflow="fold") for head in heads))
    grid.add_row(*("─" * column_width for column_width in widths))
    texts = [_column(row[i] for row in table.rows) for i in range(len(table.head))]
    for number, row in enumerate(table.rows):
        styles = ["bold" if cell.strong else "" for cell in row]
        grid.add_row(
            *(
                Text(texts[i][number], style=style, overflow="fold")
                for i, style in enumerate(styles)
            )
        )
    return grid
