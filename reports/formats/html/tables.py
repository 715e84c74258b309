"""A neutral table as HTML: sorted by its headings, filtered by what its rows and columns are about."""

import re
from typing import Final

from reports import escape
from reports.analysis.comparison import Comparison
from reports.document import Entry, Table
from reports.formats.html.details import key

ROOM: Final = 12  # letters of marks that are aligned


def table(one: Table, comparison: Comparison) -> str:
    """The table in a container that scrolls on its own, its legend beneath."""
    about = [
        ("", "") if i < one.labels else _about(name, comparison) for i, name in enumerate(one.head)
    ]
    rooms = [
        max((len(_marks(row[i])) for row in one.rows), default=0) for i in range(len(one.head))
    ]
    head = "".join(
        _heading(name, *about[i], room=rooms[i], label=i < one.labels)
        for i, name in enumerate(one.head)
    )
    sized = re.search(r"\bsize (\d+)$", one.title, re.IGNORECASE)
    rows = "".join(_row(row, one, about, rooms, comparison) for row in one.rows)
    title = escape.html(one.title)
    legend = f"<p class=legend>{escape.html(one.legend)}</p>" if one.legend else ""
    return (
        f"<div class=table{_data('size', sized[1] if sized else '')}>"
        f'<div class=scroll tabindex=0 role=group aria-label="{title}">'
        f"<table><caption><span>{title}</span></caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{legend}</div>"
    )


def _heading(name: str, kind: str, value: str, *, room: int, label: bool) -> str:
    """A heading that sorts, with room at its right where the column has marks, so that it ends where the numbers do."""
    side = " class=label" if label else ""
    if not name:
        return f"<td{side}></td>"
    button = f"<button type=button class=sort>{escape.html(name)}</button>"
    return f"<th scope=col{side} aria-sort=none{_data(kind, value)}>{button}{_room('', room)}</th>"


def _about(name: str, comparison: Comparison) -> tuple[str, str]:
    """Which task or method a column is about, as the kind and its name."""
    tasks = [task for task in comparison.tasks if name == task or name.startswith(f"{task} ")]
    if tasks:
        return "task", max(tasks, key=len)
    return ("method", name) if name in comparison.methods else ("", "")


def _row(
    row: tuple[Entry, ...],
    one: Table,
    about: list[tuple[str, str]],
    rooms: list[int],
    comparison: Comparison,
) -> str:
    labels = [entry.text for entry in row[: one.labels]]
    method = next((text for text in labels if text in comparison.methods), "")
    size = next((text for text in labels if text in map(str, comparison.sizes)), "")
    cells = []
    for i, entry in enumerate(row):
        start, end = ("th scope=row", "th") if i < one.labels else ("td", "td")
        cells.append(f"<{start}{_data(*about[i])}>{_entry(entry, rooms[i])}</{end}>")
    return f"<tr{_data('method', method)}{_data('size', size)}>{''.join(cells)}</tr>"


def _marks(entry: Entry) -> str:
    """The marks, with a star that says what bold says."""
    star = "*" if entry.strong and entry.text else ""
    return star + entry.marks.strip()


def _entry(entry: Entry, room: int) -> str:
    text = escape.html(entry.text)
    if entry.strong and entry.text:
        text = f"<strong>{text}</strong>"
    if entry.cell is not None:
        method, task, size = entry.cell.rsplit("\n", 2)
        said = escape.html(f"{entry.text}: runs of {method} on {task}, size {size}")
        name = escape.html(key(method, task, int(size)))
        text = f'<button type=button class=cell data-cell="{name}" aria-label="{said}" aria-haspopup=dialog>{text}</button>'
    return text + _room(_marks(entry), room)


def _room(marks: str, room: int) -> str:
    return f'<span class="marks m{min(room, ROOM)}">{escape.html(marks)}</span>' if room else ""


def _data(name: str, value: str) -> str:
    return f' data-{name}="{escape.html(value)}"' if value else ""
