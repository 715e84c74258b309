"""Choose the writer of a report by the name of its format."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from reports.analysis.comparison import Comparison
from reports.analysis.paired_runs import NothingToCompare
from reports.analysis.published_comparison import find_study, published_tables
from reports.analysis.run import Run
from reports.analysis.task_characteristics import characteristics as measure
from reports.document import Table
from reports.formats.csv import as_csv
from reports.formats.json import as_json
from reports.formats.latex import as_latex
from reports.formats.markdown import as_markdown
from reports.formats.terminal import as_terminal
from reports.tables.classification import MAX_MATRIX, class_tables, temperature_table
from reports.tables.main import brief_document, document
from reports.tables.task_characteristics import characteristics_tables


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
    temperature: bool = False,
    classes: bool = False,
    full: bool = True,
) -> str:
    """Return the comparison in one format; see `reports.render` for the arguments."""
    if form == "csv":
        return as_csv(comparison)
    measured = measure(comparison, texts or (lambda _: None)) if characteristics else None
    requested = _temperature_tables(comparison) if temperature else ()
    by_class = _class_tables(comparison) if classes else ()
    if form == "json":
        return as_json(
            comparison,
            command=command,
            characteristics=measured,
            temperature=temperature,
            classes=classes,
        )
    short = not full and form != "html" and against is None and measured is None
    page = brief_document(comparison) if short else document(comparison, command=command)
    if form != "html":  # the page has a section of its own for the classes
        requested = (*requested, *by_class)
    page = replace(page, appendix=(*page.appendix, *requested))
    if measured is not None:
        page = replace(
            page, appendix=(*page.appendix, *characteristics_tables(comparison, measured))
        )
    if against is not None:
        page = replace(
            page, tables=(*page.tables, *published_tables(comparison, find_study(against)))
        )
    if form == "html":
        from reports.formats.html import as_html  # loads matplotlib

        return as_html(
            comparison, page, texts, by_class or class_tables(comparison, most_classes=MAX_MATRIX)
        )
    if form == "terminal":
        return as_terminal(page, width=width, color=color)
    if form == "markdown":
        return as_markdown(page)
    if form == "latex":
        return as_latex(page)
    raise ValueError(f"no format {form!r}; there are terminal, markdown, latex, html, csv, json")


def _temperature_tables(comparison: Comparison) -> tuple[Table, ...]:
    """Return the table of `--temperature`.

    Raises:
        NothingToCompare: no run stores a temperature.
    """
    if (table := temperature_table(comparison)) is None:
        raise NothingToCompare(
            "no run stores a temperature: results of earlier versions, of regressions and of multilabel tasks have none"
        )
    return (table,)


def _class_tables(comparison: Comparison) -> tuple[Table, ...]:
    """Return the tables of `--classes`.

    Raises:
        NothingToCompare: no run has classes and stored predictions.
    """
    if not (tables := class_tables(comparison)):
        raise NothingToCompare("no run of a task with classes has a score and stored predictions")
    return tables
