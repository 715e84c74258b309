"""A neutral table as HTML: sorted by its headings, filtered by what its rows and columns are about."""

from reports import escape
from reports.comparison import Comparison
from reports.document import Entry, Table


def table(one: Table, comparison: Comparison) -> str:
    """The table in a container that scrolls on its own, its legend beneath."""
    about = [_task(name, comparison) for name in one.head]
    head = "".join(_heading(name, task) for name, task in zip(one.head, about, strict=True))
    size = one.title.removeprefix("Size ") if one.title.startswith("Size ") else ""
    rows = "".join(_row(row, one, about, comparison) for row in one.rows)
    title = escape.html(one.title)
    legend = f"<p class=legend>{escape.html(one.legend)}</p>" if one.legend else ""
    return (
        f'<div class=table{_data("size", size)}><div class=scroll tabindex=0 role=group aria-label="{title}">'
        f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{legend}</div>"
    )


def _heading(name: str, task: str) -> str:
    if not name:
        return "<td></td>"
    button = f"<button type=button class=sort>{escape.html(name)}</button>"
    return f"<th scope=col aria-sort=none{_data('task', task)}>{button}</th>"


def _task(name: str, comparison: Comparison) -> str:
    """Which task a column is about."""
    return next((task for task in comparison.tasks if name == task or name.startswith(f"{task} ")), "")


def _row(row: tuple[Entry, ...], one: Table, about: list[str], comparison: Comparison) -> str:
    labels = [entry.text for entry in row[: one.labels]]
    method = next((text for text in labels if text in comparison.methods), "")
    size = next((text for text in labels if text in map(str, comparison.sizes)), "")
    cells = []
    for i, entry in enumerate(row):
        tag = "th scope=row" if i == 0 else "td"
        cells.append(f"<{tag}{_data('task', about[i])}>{_entry(entry)}</{tag.split()[0]}>")
    return f"<tr{_data('method', method)}{_data('size', size)}>{''.join(cells)}</tr>"


def _entry(entry: Entry) -> str:
    text = escape.html(entry.text)
    if entry.strong and entry.text:
        text = f"<strong>{text}<span class=star>*</span></strong>"
    if entry.marks:
        text += f" <span class=marks>{escape.html(entry.marks.strip())}</span>"
    if entry.cell is None:
        return text
    return f'<button type=button class=cell data-cell="{escape.html(entry.cell)}" aria-haspopup=dialog>{text}</button>'


def _data(name: str, value: str) -> str:
    return f' data-{name}="{escape.html(value)}"' if value else ""
