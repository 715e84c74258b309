"""Boxes that take methods, tasks and sizes out of the tables."""

from collections.abc import Sequence

from reports import escape
from reports.analysis.comparison import Comparison


def filters(comparison: Comparison) -> str:
    """A bar that stays in view; nothing where there is nothing to choose."""
    groups = (
        ("method", comparison.methods),
        ("task", comparison.tasks),
        ("size", tuple(map(str, comparison.sizes))),
    )
    parts = "".join(_group(name, values) for name, values in groups if len(values) > 1)
    if not parts:
        return ""
    hint = "<p>For rows and columns of the tables; figures and verdict stay as they are.</p>"
    every = "<button type=button id=every>Show all</button>"
    return (
        f"<aside class=filters aria-label=Filter><details><summary>Filter</summary>{parts}{hint}{every}</details>"
        "<p id=hidden role=status></p></aside>"
    )


def _group(name: str, values: Sequence[str]) -> str:
    boxes = "".join(
        f'<label><input type=checkbox checked data-filter={name} value="{escape.html(value)}">{escape.html(value)}</label>'
        for value in values
    )
    return f"<fieldset><legend>{name}</legend>{boxes}</fieldset>"
