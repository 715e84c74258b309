"""The hypothesis of a study, declared before its first result: a method, its baseline, and what does not matter.

It is kept in the ledger, so that the report can distinguish the planned comparison from others.
"""

import hashlib
import json
from collections.abc import Sequence

from harness.errors import CorruptData, UsageError
from harness.jobs import canonical
from harness.ledger import Ledger, looks
from harness.ledger.overview import DATA_KEYS, NEWEST_KEYS
from reports.analysis.hypothesis import ROPE, Hypothesis

KEY = "hypothesis"  # of the ledger's `Meta` table


def read(
    text: str, rope: str | None, labels: Sequence[str], max_draws: str | None = None
) -> Hypothesis:
    """Return the hypothesis that the options --hypothesis, --rope and --max-draws state.

    Args:
        text: A method and its baseline, such as `simplex:prefix`.
        rope: The points below which a difference does not matter; None: the default.
        labels: The labels of the methods that are run.
        max_draws: The number of draws after which the study ends; None: not declared.

    Raises:
        UsageError: The text does not name two of the methods, or the points are not a number
            above 0.
    """
    method, colon, baseline = (part.strip() for part in text.partition(":"))
    problems = []
    if not (method and colon and baseline) or method == baseline:
        problems.append(
            f"--hypothesis must be a method and its baseline, such as simplex:prefix, got {text!r}"
        )
    else:
        for name in (method, baseline):
            if (count := sum(name in (label, label.partition("(")[0]) for label in labels)) != 1:
                problem = "could be several of" if count else "is not among"
                problems.append(
                    f"--hypothesis: {name!r} {problem} the methods: {', '.join(labels)}"
                )
    try:
        points = ROPE if rope is None else float(rope)
        if not 0 < points < 100:
            raise ValueError
    except ValueError:
        problems.append(f"--rope must be points between 0 and 100, got {rope!r}")
    if max_draws is not None and not (max_draws.isdecimal() and int(max_draws) > 1):
        problems.append(f"--max-draws must be a number of draws above 1, got {max_draws!r}")
    if problems:
        raise UsageError(*problems)
    full = {label.partition("(")[0]: label for label in labels} | {label: label for label in labels}
    return Hypothesis(full[method], full[baseline], points, max_draws=int(max_draws or 0))


def declare(ledger: Ledger, hypothesis: Hypothesis) -> None:
    """Store a hypothesis in a ledger that has none.

    Raises:
        UsageError: The ledger has another hypothesis.
        CorruptData: The stored hypothesis was changed.
    """
    check(ledger, hypothesis)
    declared = hypothesis._replace(late=ledger.any_results())
    sealed = {**declared._asdict(), "seal": _seal(declared)}
    del sealed["narrowed"]
    if not declared.max_draws:
        del sealed["max_draws"]
    ledger.set_once(KEY, json.dumps(sealed, sort_keys=True))
    check(ledger, hypothesis)  # another run may have declared one in the meantime


def check(ledger: Ledger, hypothesis: Hypothesis) -> None:
    """Refuse a hypothesis if the ledger has another one.

    Raises:
        UsageError: The ledger has another hypothesis.
        CorruptData: The stored hypothesis was changed.
    """
    stored = declared_hypothesis(ledger)
    if stored is not None and stored._replace(late=False) != hypothesis:
        points = "point" if stored.rope == 1 else "points"
        most = f", at most {stored.max_draws} draws" if stored.max_draws else ""
        raise UsageError(
            f"the hypothesis of this database is {stored.method} over {stored.baseline}, "
            f"{stored.rope:g} {points}{most}; test another one in another database (--db)"
        )


def declared_hypothesis(ledger: Ledger) -> Hypothesis | None:
    """Return the hypothesis of a ledger, if it has one.

    Raises:
        CorruptData: The hypothesis, or the key under which it is stored, was changed.
    """
    facts = ledger.meta_values()
    known = {"schema", KEY, looks.KEY}
    if unknown := {key for key in facts if not key.startswith((DATA_KEYS, NEWEST_KEYS))} - known:
        raise CorruptData(
            f"the database has metadata that bench did not write ({', '.join(map(ascii, sorted(unknown)))})"
        )
    return _parse(facts[KEY]) if KEY in facts else None


def _seal(hypothesis: Hypothesis) -> str:
    """Return a hash over every field; a maximum of draws only if there is one, as earlier versions had none."""
    stated = hypothesis.method, hypothesis.baseline, hypothesis.rope, hypothesis.late
    fields = [*stated, *([hypothesis.max_draws] if hypothesis.max_draws else [])]
    return hashlib.sha256(canonical([KEY, *fields]).encode()).hexdigest()


def _parse(text: str) -> Hypothesis:
    """Return the hypothesis that `declare` wrote.

    A text without a seal is from an earlier version and is accepted: damage changes fields, but
    does not remove a whole one.

    Raises:
        CorruptData: `declare` did not write this text.
    """
    try:
        content = json.loads(text)
        seal = content.pop("seal", None)
        hypothesis = Hypothesis(**content)
        intact = seal in (None, _seal(hypothesis))
    except (ValueError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise CorruptData(
            "the hypothesis is not the one that was declared: the database was changed or is damaged"
        )
    return hypothesis
