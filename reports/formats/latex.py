"""Write a report as LaTeX source."""

import re
from collections.abc import Iterator
from typing import Final

from reports import escape
from reports.document import Document, Table, TableCell

COLUMNS: Final = 7  # columns of numbers that fit on a printed page


def as_latex(page: Document) -> str:
    """Return a report as LaTeX source, which requires the package `booktabs` only."""
    lines = ["% needs \\usepackage{booktabs}", *_paragraphs(page)]
    for table in page.tables:
        lines += _tables(table)
    if page.notes:
        lines += ["", "\\begin{itemize}"]
        lines += [
            f"  \\item \\texttt{{{escape.latex(note.code)}}} ({note.level}) {escape.latex(note.text)}"
            for note in page.notes
        ]
        lines += ["\\end{itemize}"]
    for table in page.appendix:
        lines += _tables(table)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip("\n") + "\n"


def _paragraphs(page: Document) -> Iterator[str]:
    yield f"\\noindent\\textbf{{{escape.latex(page.verdict[0])}}}"
    if len(page.verdict) > 1:
        yield "\\begin{itemize}"
        yield from (f"  \\item {escape.latex(text)}" for text in page.verdict[1:])
        yield "\\end{itemize}"
    yield ""
    for name, text in page.facts:
        yield f"\\noindent {name}: {escape.latex(text)}\\\\"
    if page.command:
        yield f"\\noindent Command: \\texttt{{{escape.latex(page.command)}}}"


def _tables(table: Table) -> Iterator[str]:
    """Yield the lines of one `table` environment per part of at most `COLUMNS` columns of numbers."""
    for part in table.split(COLUMNS):
        columns = "l" * part.labels + "r" * (len(part.head) - part.labels)
        yield from ("", "\\begin{table}[htbp]", "  \\centering\\small")
        yield f"  \\caption{{{escape.latex(part.title)}. {escape.latex(part.legend)}}}"
        yield f"  \\begin{{tabular}}{{{columns}}}"
        yield "    \\toprule"
        yield f"    {' & '.join(escape.latex(name) for name in part.head)} \\\\"
        yield "    \\midrule"
        for row in part.rows:
            yield f"    {' & '.join(_cell(cell) for cell in row)} \\\\"
        yield from ("    \\bottomrule", "  \\end{tabular}", "\\end{table}")


def _cell(cell: TableCell) -> str:
    text = escape.latex(cell.text)
    if cell.strong:
        text = f"\\textbf{{{text}}}"
    return f"{text}\\,{escape.latex(cell.marks.strip())}" if cell.marks else text
