"""The formats by name, and the two that people paste: Markdown and LaTeX."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from reports import escape
from reports.analysis.comparison import Comparison
from reports.analysis.paired_runs import Run
from reports.analysis.published_comparison import beside, study
from reports.analysis.task_characteristics import characteristics as measured
from reports.document import Document, Entry, Table
from reports.formats.json import as_csv, as_json
from reports.formats.terminal import as_terminal
from reports.tables.main import document
from reports.tables.task_characteristics import traits

COLUMNS = 7  # columns of numbers that fit a printed page


def write(
    comparison: Comparison,
    *,
    form: str,
    command: str,
    width: int,
    color: bool,
    against: str | None = None,
    texts: Callable[[Run], Sequence[Sequence[str]] | None] | None = None,
    characteristics: bool = False,
) -> str:
    """The comparison in one format; see `reports.render`."""
    if form == "csv":
        return as_csv(comparison)
    found = measured(comparison, texts or (lambda _: None)) if characteristics else None
    if form == "json":
        return as_json(comparison, command=command, characteristics=found)
    page = document(comparison, command=command)
    if found is not None:
        page = replace(page, appendix=(*page.appendix, *traits(comparison, found)))
    if against is not None:
        page = replace(page, tables=(*page.tables, *beside(comparison, study(against))))
    if form == "html":
        from reports.formats.html import as_html  # loads matplotlib

        return as_html(comparison, page, texts)
    if form == "terminal":
        return as_terminal(page, width=width, color=color)
    if form == "markdown":
        return as_markdown(page)
    if form == "latex":
        return as_latex(page)
    raise ValueError(f"no format {form!r}; there are terminal, markdown, latex, html, csv, json")


def as_markdown(page: Document) -> str:
    """A report as GitHub-flavoured Markdown with pipe tables."""
    lines = [f"## {escape.markdown(page.title)}", ""]
    for paragraph in page.verdict[:1]:
        lines += [f"**{escape.markdown(paragraph)}**", ""]
    lines += [f"- {escape.markdown(paragraph)}" for paragraph in page.verdict[1:]]
    lines += ["", *(f"- {name}: {escape.markdown(text)}" for name, text in page.facts)]
    if page.command:
        lines.append(f"- Command: {_code(page.command)}")
    for table in page.tables:
        lines += _pipes(table)
    if page.notes:
        lines += ["", "### Notes", ""]
        lines += [
            f"- `{note.code}` ({note.level}) {escape.markdown(note.text)}" for note in page.notes
        ]
    for table in page.appendix:
        lines += _pipes(table)
    return _joined(lines)


def _pipes(table: Table) -> Iterator[str]:
    yield from ("", f"### {escape.markdown(table.title)}", "")
    yield _piped([escape.markdown(name) for name in table.head])
    yield _piped(["---" if i < table.labels else "---:" for i in range(len(table.head))])
    for row in table.rows:
        yield _piped([_markdown(entry) for entry in row])
    if table.legend:
        yield from ("", escape.markdown(table.legend))


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(entry: Entry) -> str:
    text = escape.markdown(entry.text)
    return (f"**{text}**" if entry.strong and text else text) + (
        f" {escape.markdown(entry.marks.strip())}" if entry.marks else ""
    )


def _code(text: str) -> str:
    """A code span: a fence of backticks that the text cannot close."""
    cleaned = escape.plain(text)
    fence = "`"
    while fence in cleaned:
        fence += "`"
    pad = " " if len(fence) > 1 else ""
    return f"{fence}{pad}{cleaned}{pad}{fence}"


def _joined(lines: Sequence[str]) -> str:
    """The lines as text, never two empty ones in a row."""
    kept = [line for i, line in enumerate(lines) if line or (i > 0 and lines[i - 1])]
    return "\n".join(kept).rstrip("\n") + "\n"


def as_latex(page: Document) -> str:
    """A report for a LaTeX paper; it needs `booktabs` and nothing else."""
    lines = ["% needs \\usepackage{booktabs}", *_paragraphs(page)]
    for table in page.tables:
        for part in table.split(COLUMNS):
            lines += _booktabs(part)
    if page.notes:
        lines += ["", "\\begin{itemize}"]
        lines += [
            f"  \\item \\texttt{{{escape.latex(n.code)}}} ({n.level}) {escape.latex(n.text)}"
            for n in page.notes
        ]
        lines += ["\\end{itemize}"]
    for table in page.appendix:
        for part in table.split(COLUMNS):
            lines += _booktabs(part)
    return _joined(lines)


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


def _booktabs(table: Table) -> Iterator[str]:
    columns = "l" * table.labels + "r" * (len(table.head) - table.labels)
    yield from ("", "\\begin{table}[htbp]", "  \\centering\\small")
    yield f"  \\caption{{{escape.latex(table.title)}. {escape.latex(table.legend)}}}"
    yield f"  \\begin{{tabular}}{{{columns}}}"
    yield "    \\toprule"
    yield f"    {' & '.join(escape.latex(name) for name in table.head)} \\\\"
    yield "    \\midrule"
    for row in table.rows:
        yield f"    {' & '.join(_latex(entry) for entry in row)} \\\\"
    yield from ("    \\bottomrule", "  \\end{tabular}", "\\end{table}")


def _latex(entry: Entry) -> str:
    text = escape.latex(entry.text)
    marks = f"\\,{escape.latex(entry.marks.strip())}" if entry.marks else ""
    return (f"\\textbf{{{text}}}" if entry.strong else text) + marks
