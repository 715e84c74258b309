"""Write a report as one self-contained HTML page.

The page loads nothing. Its security policy allows its one stylesheet and its one script by their
hashes, and nothing else.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.resources import files

from reports import escape
from reports.analysis.comparison import Comparison
from reports.document import Document, Table
from reports.formats.html.details import details
from reports.formats.html.figures import PageFigures, figures
from reports.formats.html.filters import filters
from reports.formats.html.misanswered import Texts
from reports.formats.html.tables import as_html_table
from reports.tables.classification import MAX_MATRIX


def as_html(
    comparison: Comparison,
    page: Document,
    texts: Texts | None = None,
    by_class: Sequence[Table] = (),
) -> str:
    """Return the whole page; the same comparison and texts give the same bytes.

    Args:
        comparison: the numbers.
        page: the sentences and tables.
        texts: returns the texts of a run's test examples in the order of its predictions, or None if
            they are not available.
        by_class: the tables of the folded section about classes.
    """
    folder = files("reports.formats.html")
    page_figures = figures(comparison)
    style = (folder / "page.css").read_text("utf-8") + page_figures.css
    script = (folder / "page.js").read_text("utf-8")
    data = details(comparison, texts)
    classes = _classes(by_class, comparison)
    body = "\n".join([
        _header(page),
        _contents(page, page_figures, classes=bool(classes)),
        filters(comparison),
        "<main id=main>",
        _answer(page, page_figures),
        "<section aria-labelledby=scores><h2 id=scores>Scores and tests</h2>",
        *(as_html_table(table, comparison) for table in page.tables),
        "</section>",
        _figures(page_figures),
        classes,
        _notes(page),
        "<section aria-labelledby=appendix><details><summary><h2 id=appendix>Appendix</h2></summary>",
        *(as_html_table(table, comparison) for table in page.appendix),
        _provenance(comparison),
        "</details></section>",
        "</main>",
        _dialog(),
        f'<script type="application/json" id="data">{_embeddable(data)}</script>',
        f"<script>{script}</script>",
    ])  # fmt: skip
    allowed = f"style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape.html(page.title)} · bench</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _embeddable(data: object) -> str:
    """Return JSON that cannot close the script element around it."""
    text = json.dumps(
        data, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )
    return text.translate({ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


def _header(page: Document) -> str:
    return (
        "<a class=skip href=#main>Skip to the answer</a>\n<header>"
        f"<h1>{escape.html(page.title)}</h1>"
        "<button type=button id=theme aria-pressed=false>Dark</button></header>"
    )


def _contents(page: Document, figures: PageFigures, *, classes: bool) -> str:
    """Return links to the sections of the page."""
    sections = {
        "answer": "Answer",
        "scores": "Scores and tests",
        **({"figures": "Figures"} if len(figures.shown) > 1 or figures.reason else {}),
        **({"classes": "Classes"} if classes else {}),
        **({"notes": "Notes"} if page.notes else {}),
        "appendix": "Appendix",
    }
    links = "".join(f"<li><a href=#{name}>{title}</a></li>" for name, title in sections.items())
    return f"<nav class=contents aria-label=Contents><ul>{links}</ul></nav>"


def _answer(page: Document, figures: PageFigures) -> str:
    """Return the verdict, with the main figure beneath the headline; facts are folded."""
    rest = "".join(f"<li>{escape.html_sentence(text)}</li>" for text in page.verdict[1:])
    facts = "".join(
        f"<dt>{escape.html(name)}</dt><dd>{escape.html(text)}</dd>" for name, text in page.facts
    )
    if page.command:
        copy = "<button type=button id=copy>Copy</button> <span id=copied role=status></span>"
        facts += (
            f"<dt>Command</dt><dd><code id=command>{escape.html(page.command)}</code> {copy}</dd>"
        )
    return (
        "<section aria-labelledby=answer><h2 id=answer>Answer</h2>"
        f"<p class=headline>{escape.html(page.verdict[0])}</p>"
        f"{''.join(_figure(*figure) for figure in figures.shown[:1])}"
        f"{f'<ul>{rest}</ul>' if rest else ''}"
        f"<details><summary>Study and method</summary><dl>{facts}</dl></details></section>"
    )


def _figures(figures: PageFigures) -> str:
    if len(figures.shown) < 2 and not figures.reason:
        return ""
    elements = "".join(_figure(*figure) for figure in figures.shown[1:])
    reason = f"<p>{escape.html(figures.reason)}</p>" if figures.reason else ""
    heading = "<h2 id=figures>Figures</h2>"
    return f"<section aria-labelledby=figures>{heading}{reason}{elements}</section>"


def _figure(name: str, title: str, svg: str) -> str:
    label = escape.html(title)
    return f'<figure id="figure-{name}" class=scroll tabindex=0 aria-label="{label}">{svg}</figure>'


def _classes(tables: Sequence[Table], comparison: Comparison) -> str:
    """Return the folded section with the confusion matrix and the scores of each class."""
    content = "".join(as_html_table(table, comparison) for table in tables)
    shown = {table.title.rpartition(",")[0].removeprefix("Classes of ") for table in tables}
    large = [
        task
        for task in comparison.tasks
        if task not in shown and len(comparison.classes_of(task)) > MAX_MATRIX
    ]
    if large:
        text = f"Not shown: {', '.join(large)} with more than {MAX_MATRIX} classes; add --classes."
        content += f"<p class=legend>{escape.html(text)}</p>"
    if not content:
        return ""
    summary = "<summary><h2 id=classes>Classes</h2></summary>"
    return f"<section aria-labelledby=classes><details>{summary}{content}</details></section>"


def _notes(page: Document) -> str:
    if not page.notes:
        return ""
    labels = {"red": "! prevents a claim", "amber": "· caution"}
    items = "".join(
        f"<li class={note.level}><span class=level>{labels[note.level]}</span> "
        f"<code>{escape.html(note.code)}</code> {escape.html_sentence(note.text)}</li>"
        for note in page.notes
    )
    return f"<section aria-labelledby=notes><h2 id=notes>Notes</h2><ul class=notes>{items}</ul></section>"


def _provenance(comparison: Comparison) -> str:
    rows = "".join(
        f"<tr><th scope=row>{escape.html(versions or 'unknown')}</th><td>{count}</td><td>{hours:.2f}</td></tr>"
        for versions, count, hours in _versions(comparison)
    )
    head = (
        "<thead><tr><th scope=col class=label>versions</th>"
        "<th scope=col>runs</th><th scope=col>hours</th></tr></thead>"
    )
    return (
        "<div class=table><div class=scroll tabindex=0 role=group aria-label=Provenance>"
        f"<table><caption><span>Provenance</span></caption>{head}<tbody>{rows}</tbody></table></div></div>"
    )


def _versions(comparison: Comparison) -> Iterator[tuple[str, int, float]]:
    """Yield the software versions of finished runs, the number of runs and their hours."""
    done = [run for run in comparison.runs if run.status in ("done", "diverged")]
    for versions in sorted({run.versions for run in done}):
        runs = [run for run in done if run.versions == versions]
        seconds = sum(run.seconds_training + run.seconds_evaluation for run in runs)
        yield versions, len(runs), seconds / 3600


def _dialog() -> str:
    return (
        "<dialog id=runs aria-labelledby=runs-title><div class=bar><h2 id=runs-title></h2>"
        "<button type=button id=close>Close</button></div><div id=runs-body></div></dialog>"
    )
