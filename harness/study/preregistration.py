"""What a study sets out to show, said before its first result: one method against a baseline, and what is too small to matter.

Kept with the ledger, so that the report can tell the one comparison that was planned from those
that were found.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.errors import CorruptData, UsageError
from harness.jobs import canonical
from reports.analysis.hypothesis import ROPE, Hypothesis

if TYPE_CHECKING:
    from harness.ledger import Ledger

KEY = "hypothesis"  # among the facts about a ledger


def read(text: str, rope: str | None, labels: Sequence[str]) -> Hypothesis:
    """`simplex:prefix`, and the points below which a difference does not matter.

    Raises:
        UsageError: it names no two of the methods that are run, or the points are no number above
            0.
    """
    method, colon, baseline = (part.strip() for part in text.partition(":"))
    problems = []
    if not (method and colon and baseline) or method == baseline:
        problems.append(
            f"--hypothesis wants a method and its baseline, such as simplex:prefix, got {text!r}"
        )
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
        CorruptData: what is kept is not what was declared.
    """
    first = said._replace(late=ledger.any_results())
    kept = _parsed(
        ledger.remember(KEY, json.dumps({**first._asdict(), "seal": _seal(first)}, sort_keys=True))
    )
    if kept._replace(late=False) != said:
        was = f"{kept.method} over {kept.baseline}, {kept.rope:g} points"
        raise UsageError(
            f"this database was begun with the hypothesis {was}; for another one begin another database (--db)"
        )


def kept(ledger: "Ledger") -> Hypothesis | None:
    """The one that the ledger was begun with.

    Raises:
        CorruptData: it is not what was declared, or has become a fact of a name that nobody gave.
    """
    facts = ledger.facts()
    if unknown := facts.keys() - {"schema", KEY}:
        raise CorruptData(
            f"the database holds facts that bench did not write ({', '.join(map(ascii, sorted(unknown)))})"
        )
    return _parsed(facts[KEY]) if KEY in facts else None


def _seal(said: Hypothesis) -> str:
    """A hash over what a report takes from it."""
    return hashlib.sha256(canonical([KEY, *said]).encode()).hexdigest()


def _parsed(text: str) -> Hypothesis:
    """The inverse of what `declare` writes.

    One without a seal is of an earlier version and holds as it is: damage changes a field, and
    never takes one away whole.

    Raises:
        CorruptData: it was not written by it.
    """
    try:
        content = json.loads(text)
        seal = content.pop("seal", None)
        said = Hypothesis(**content)
        whole = seal in (None, _seal(said))
    except (ValueError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise CorruptData(
            "the hypothesis is not the one that was declared: the database was changed or is damaged"
        )
    return said
