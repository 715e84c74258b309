"""What a study sets out to show, said before its first result: one method against a baseline, and what is too small to matter.

Kept with the ledger, so that the report can tell the one comparison that was planned from those that were found.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.errors import UsageError
from reports.hypothesis import ROPE, Hypothesis

if TYPE_CHECKING:
    from harness.ledger import Ledger

KEY = "hypothesis"  # among the facts about a ledger


def read(text: str, rope: str | None, labels: Sequence[str]) -> Hypothesis:
    """`simplex:prefix`, and the points below which a difference does not matter.

    Raises:
        UsageError: it names no two of the methods that are run, or the points are no number above 0.
    """
    method, colon, baseline = (part.strip() for part in text.partition(":"))
    problems = []
    if not (method and colon and baseline) or method == baseline:
        problems.append(f"--hypothesis wants a method and its baseline, such as simplex:prefix, got {text!r}")
    else:
        for name in (method, baseline):
            if (count := sum(name in (label, label.partition("(")[0]) for label in labels)) != 1:
                found = "could be any of" if count else "is not among"
                problems.append(f"--hypothesis: {name!r} {found} the methods: {', '.join(labels)}")
    points = ROPE
    try:
        points = ROPE if rope is None else float(rope)
        if not 0 < points < 100:
            raise ValueError
    except ValueError:
        problems.append(f"--rope wants points between 0 and 100, got {rope!r}")
    if problems:
        raise UsageError(*problems)
    full = {label.partition("(")[0]: label for label in labels} | {label: label for label in labels}
    return Hypothesis(full[method], full[baseline], points)


def declare(ledger: "Ledger", said: Hypothesis) -> None:
    """Keep it with the ledger, if nothing is kept there yet.

    Raises:
        UsageError: the ledger was begun with another one.
    """
    late = ledger.any_results()
    kept = parse(ledger.remember(KEY, json.dumps({**said._asdict(), "late": late}, sort_keys=True)))
    if kept is None or kept._replace(late=False) != said:
        was = f"{kept.method} over {kept.baseline}, {kept.rope:g} points" if kept else "nothing"
        raise UsageError(f"this database was begun with the hypothesis {was}; for another one begin another database (--db)")


def parse(text: str | None) -> Hypothesis | None:
    """The inverse of what `declare` writes.

    Raises:
        ValueError, TypeError: it was not written by it.
    """
    return None if text is None else Hypothesis(**json.loads(text))
