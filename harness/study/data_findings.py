"""What a run said about the rows of a user's file, kept in the ledger for the report."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from harness.errors import CorruptData
from harness.jobs import canonical
from harness.ledger import Ledger
from harness.ledger.tables import DATA_KEYS
from harness.tasks.base import Task


def store(ledger: Ledger, tasks: Iterable[Task], revisions: Mapping[str, str]) -> None:
    """Store the findings of tasks at their revisions, unless they are stored already."""
    for task in tasks:
        if task.findings:
            key = _key(task.name, revisions[task.name])
            sealed = {"findings": task.findings, "seal": _seal(key, task.findings)}
            ledger.set_once(key, json.dumps(sealed, sort_keys=True))


def read(values: Mapping[str, str], revisions: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the findings of tasks, by name.

    Args:
        values: all values of the `Meta` table.
        revisions: the revision of each task whose findings are wanted.

    Raises:
        CorruptData: findings were changed.
    """
    found = {}
    for task, revision in revisions.items():
        key = _key(task, revision)
        if key in values:
            try:
                entry = json.loads(values[key])
                findings, intact = entry["findings"], entry["seal"] == _seal(key, entry["findings"])
            except (ValueError, TypeError, KeyError):
                findings, intact = (), False
            if not intact:
                raise CorruptData(f"what the database says about the data of {task} was changed")
            found[task] = tuple(findings)
    return found


def _key(task: str, revision: str) -> str:
    return f"{DATA_KEYS}{task} {revision}"


def _seal(key: str, findings: Sequence[str]) -> str:
    return hashlib.sha256(canonical([key, *findings]).encode()).hexdigest()
