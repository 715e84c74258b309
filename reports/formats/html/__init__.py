"""The report as one page that needs nothing else: no network, no library, one style and one script, both allowed by hash."""

import base64
import hashlib
import json
from collections.abc import Iterator
from importlib.resources import files

from reports import escape
from reports.analysis.comparison import Comparison
from reports.document import Document
from reports.formats.html.details import details
from reports.formats.html.figures import PageFigures, figures
from reports.formats.html.filters import filters
from reports.formats.html.misanswered import Texts
from reports.formats.html.tables import table


def as_html(comparison: Comparison, page: Document, texts: Texts | None = None) -> str:
    """The whole page; the same comparison and texts give the same bytes.

    Args:
        comparison: the numbers.
        page: the words and tables.
        texts: gives the texts of a run's test rows in the order of its answers, None where they are
            not at hand.
    """
    folder = files("reports.formats.html")
    drawn = figures(comparison)
    style = (folder / "page.css").read_text("utf-8") + drawn.css
    script = (folder / "page.js").read_text("utf-8")
    data = details(comparison, texts)
    body = "\n".join([
        _head(page),
        filters(comparison),
        "<main id=main>",
        _answer(page),
        "<section aria-labelledby=scores><h2 id=scores>Scores and tests</h2>",
        *(table(one, comparison) for one in page.tables),
        "</section>",
        _figures(drawn),
        _notes(page),
        "<section aria-labelledby=appendix><h2 id=appendix>Appendix</h2>",
        *(table(one, comparison) for one in page.appendix),
        _provenance(comparison),
        "</section>",
        "</main>",
        _dialog(),
        f'<script type="application/json" id="data">{_harmless(data)}</script>',
        f"<script>{script}</script>",
    ])  # fmt: skip
    allowed = f"style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape.html(page.title)} · bench</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _harmless(data: object) -> str:
    """JSON in which nothing can end the element that it stands in."""
    text = json.dumps(
        data, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )
    return text.translate({ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"})


def _head(page: Document) -> str:
    return (
        "<a class=skip href=#main>Skip to the answer</a>\n<header>"
        f"<h1>{escape.html(page.title)}</h1>"
        "<button type=button id=theme aria-pressed=false>Dark</button></header>"
    )


def _answer(page: Document) -> str:
    rest = "".join(f"<li>{escape.html(text)}</li>" for text in page.verdict[1:])
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
        f"<p class=headline>{escape.html(page.verdict[0])}</p>{f'<ul>{rest}</ul>' if rest else ''}<dl>{facts}</dl></section>"
    )


def _figures(drawn: PageFigures) -> str:
    if not drawn.shown and not drawn.left:
        return ""
    each = "".join(
        f'<figure id="figure-{name}" class=scroll tabindex=0 aria-label="{escape.html(title)}">{svg}</figure>'
        for name, title, svg in drawn.shown
    )
    left = f"<p>{escape.html(drawn.left)}</p>" if drawn.left else ""
    return f"<section aria-labelledby=figures><h2 id=figures>Figures</h2>{left}{each}</section>"


def _notes(page: Document) -> str:
    if not page.notes:
        return ""
    words = {"red": "! stands in the way of a claim", "amber": "· to keep in mind"}
    items = "".join(
        f"<li class={note.level}><span class=level>{words[note.level]}</span> <code>{escape.html(note.code)}</code> "
        f"{escape.html(note.text)}</li>"
        for note in page.notes
    )
    return f"<section aria-labelledby=notes><h2 id=notes>Notes</h2><ul class=notes>{items}</ul></section>"


def _provenance(comparison: Comparison) -> str:
    rows = "".join(
        f"<tr><th scope=row>{escape.html(versions or 'not known')}</th><td>{count}</td><td>{hours:.2f}</td></tr>"
        for versions, count, hours in _versions(comparison)
    )
    head = "<thead><tr><th scope=col class=label>made with</th><th scope=col>runs</th><th scope=col>hours</th></tr></thead>"
    return (
        "<div class=table><div class=scroll tabindex=0 role=group aria-label=Provenance>"
        f"<table><caption><span>Provenance</span></caption>{head}<tbody>{rows}</tbody></table></div></div>"
    )


def _versions(comparison: Comparison) -> Iterator[tuple[str, int, float]]:
    """What runs were made with, how many, and their hours."""
    done = [run for run in comparison.runs if run.status in ("done", "diverged")]
    for versions in sorted({run.versions for run in done}):
        here = [run for run in done if run.versions == versions]
        yield (
            versions,
            len(here),
            sum(run.seconds_training + run.seconds_evaluation for run in here) / 3600,
        )


def _dialog() -> str:
    return (
        "<dialog id=runs aria-labelledby=runs-title><div class=bar><h2 id=runs-title></h2>"
        "<button type=button id=close>Close</button></div><div id=runs-body></div></dialog>"
    )
