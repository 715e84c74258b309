"""Write a table as HTML that the page's script can sort by column and filter by method, task and size."""

import re
from typing import Final

from reports import escape
from reports.analysis.comparison import Comparison
from reports.document import Table, TableCell
from reports.formats.html.details import key

MAX_MARKS_WIDTH: Final = 12  # characters; page.css has a class for each width


def as_html_table(table: Table, comparison: Comparison) -> str:
    """Return the table in a container that scrolls sideways, with its legend below."""
    subjects = [
        ("", "") if i < table.labels else _subject(name, comparison)
        for i, name in enumerate(table.head)
    ]
    mark_widths = [
        max((len(_marks(row[i])) for row in table.rows), default=0) for i in range(len(table.head))
    ]
    head = "".join(
        _heading(name, *subjects[i], marks_width=mark_widths[i], label=i < table.labels)
        for i, name in enumerate(table.head)
    )
    size = re.search(r"\bsize (\d+)$", table.title, re.IGNORECASE)
    rows = "".join(_row(row, table, subjects, mark_widths, comparison) for row in table.rows)
    title = escape.html(table.title)
    legend = f"<p class=legend>{escape.html_sentence(table.legend)}</p>" if table.legend else ""
    return (
        f"<div class=table{_data('size', size[1] if size else '')}>"
        f'<div class=scroll tabindex=0 role=group aria-label="{title}">'
        f"<table><caption><span>{title}</span></caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{legend}</div>"
    )


def _heading(name: str, kind: str, value: str, *, marks_width: int, label: bool) -> str:
    """Return a heading that sorts its column, padded like the numbers below it."""
    side = " class=label" if label else ""
    if not name:
        return f"<td{side}></td>"
    button = f"<button type=button class=sort>{escape.html(name)}</button>"
    data = _data(kind, value)
    return f"<th scope=col{side} aria-sort=none{data}>{button}{_marks_span('', marks_width)}</th>"


def _subject(name: str, comparison: Comparison) -> tuple[str, str]:
    """Return the kind and the name of the task or method that a column shows; empty strings if neither."""
    tasks = [task for task in comparison.tasks if name == task or name.startswith(f"{task} ")]
    if tasks:
        return "task", max(tasks, key=len)
    return ("method", name) if name in comparison.methods else ("", "")


def _row(
    row: tuple[TableCell, ...],
    table: Table,
    subjects: list[tuple[str, str]],
    mark_widths: list[int],
    comparison: Comparison,
) -> str:
    labels = [cell.text for cell in row[: table.labels]]
    method = next((text for text in labels if text in comparison.methods), "")
    size = next((text for text in labels if text in map(str, comparison.sizes)), "")
    cells = []
    for i, cell in enumerate(row):
        start, end = ("th scope=row", "th") if i < table.labels else ("td", "td")
        cells.append(f"<{start}{_data(*subjects[i])}>{_cell(cell, mark_widths[i])}</{end}>")
    return f"<tr{_data('method', method)}{_data('size', size)}>{''.join(cells)}</tr>"


def _marks(cell: TableCell) -> str:
    """Return the marks, with a star for a bold entry."""
    star = "*" if cell.strong and cell.text else ""
    return star + cell.marks.strip()


def _cell(cell: TableCell, marks_width: int) -> str:
    text = escape.html(cell.text)
    if cell.strong and cell.text:
        text = f"<strong>{text}</strong>"
    if cell.runs_key is not None:
        method, task, size = cell.runs_key.rsplit("\n", 2)
        label = escape.html(f"{cell.text}: runs of {method} on {task}, size {size}")
        name = escape.html(key(method, task, int(size)))
        text = (
            f'<button type=button class=cell data-cell="{name}" aria-label="{label}" '
            f"aria-haspopup=dialog>{text}</button>"
        )
    return text + _marks_span(_marks(cell), marks_width)


def _marks_span(marks: str, width: int) -> str:
    if not width:
        return ""
    return f'<span class="marks m{min(width, MAX_MARKS_WIDTH)}">{escape.html(marks)}</span>'


def _data(name: str, value: str) -> str:
    return f' data-{name}="{escape.html(value)}"' if value else ""
