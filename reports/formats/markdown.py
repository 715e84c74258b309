"""Write a report as GitHub-flavoured Markdown."""

import re
from collections.abc import Iterator, Sequence

from reports import escape
from reports.document import Document, Table, TableCell


def as_markdown(page: Document) -> str:
    """Return a report as GitHub-flavoured Markdown with pipe tables."""
    lines = [f"## {escape.markdown(page.title)}", "", f"**{escape.markdown(page.verdict[0])}**", ""]
    lines += [f"- {escape.markdown(paragraph)}" for paragraph in page.verdict[1:]]
    lines += ["", *(f"- {name}: {escape.markdown(text)}" for name, text in page.facts)]
    if page.command:
        lines.append(f"- Command: {_code_span(page.command)}")
    for table in page.tables:
        lines += _pipe_table(table)
    if page.notes:
        lines += ["", "### Notes", ""]
        lines += [
            f"- `{note.code}` ({note.level}) {escape.markdown(note.text)}" for note in page.notes
        ]
    for table in page.appendix:
        lines += _pipe_table(table)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip("\n") + "\n"


def _pipe_table(table: Table) -> Iterator[str]:
    yield from ("", f"### {escape.markdown(table.title)}", "")
    yield _pipe_row([escape.markdown(name) for name in table.head])
    yield _pipe_row(["---"] * table.labels + ["---:"] * (len(table.head) - table.labels))
    for row in table.rows:
        yield _pipe_row([_cell(cell) for cell in row])
    if table.legend:
        yield from ("", escape.markdown(table.legend))


def _pipe_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: TableCell) -> str:
    text = escape.markdown(cell.text)
    if cell.strong and text:
        text = f"**{text}**"
    return f"{text} {escape.markdown(cell.marks.strip())}" if cell.marks else text


def _code_span(text: str) -> str:
    """Return a code span whose fence is longer than every run of backticks in the text."""
    cleaned = escape.plain(text)
    fence = "`"
    while fence in cleaned:
        fence += "`"
    pad = " " if len(fence) > 1 else ""
    return f"{fence}{pad}{cleaned}{pad}{fence}"
