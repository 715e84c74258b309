"""Check boxes that hide methods, tasks and sizes in the tables."""

from collections.abc import Sequence

from reports import escape
from reports.analysis.comparison import Comparison


def filters(comparison: Comparison) -> str:
    """Return a bar of check boxes, or an empty string if there is nothing to choose from."""
    groups = (
        ("method", comparison.methods),
        ("task", comparison.tasks),
        ("size", tuple(map(str, comparison.sizes))),
    )
    parts = "".join(_group(name, values) for name, values in groups if len(values) > 1)
    if not parts:
        return ""
    hint = "<p>Filters apply to the rows and columns of tables, not to figures and the answer.</p>"
    every = "<button type=button id=every>Show all</button>"
    return (
        f"<aside class=filters aria-label=Filter><details><summary>Filter</summary>{parts}{hint}{every}</details>"
        "<p id=hidden role=status></p></aside>"
    )


def _group(name: str, values: Sequence[str]) -> str:
    boxes = "".join(
        f'<label><input type=checkbox checked data-filter={name} value="{text}">{text}</label>'
        for text in map(escape.html, values)
    )
    return f"<fieldset><legend>{name}</legend>{boxes}</fieldset>"
