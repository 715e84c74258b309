"""What a run knows about a user's file, kept in the ledger: where the data come from, and findings for the report."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from harness.errors import CorruptData, UsageError
from harness.jobs import Job, canonical
from harness.ledger import Ledger
from harness.ledger.database import display_name
from harness.ledger.overview import DATA_KEYS, NEWEST_KEYS
from harness.tasks.base import Task


class DataEntry(NamedTuple):
    """What the ledger has on the data of a task at one revision."""

    findings: tuple[str, ...]
    source: str = ""  # the file and its columns; empty in entries of earlier versions


def check_names(ledger: Ledger, tasks: Iterable[Task], revisions: Mapping[str, str]) -> list[str]:
    """Return a note for each task whose data are not those of earlier results; refuse another file of that name.

    Raises:
        UsageError: the ledger has data of another file, or of other columns, under the name of a task.
        CorruptData: what the database says about data was changed.
    """
    values, notes, problems = ledger.meta_values(), [], []
    for task in tasks:
        source, known = _source(task), _entries(values, task.name)
        others = {
            revision: entry.source
            for revision, entry in known.items()
            if entry.source and revision != revisions[task.name]
        }
        # The file of a revision that the ledger has is the same one, wherever it was.
        moved = revisions[task.name] in known
        if (
            source
            and not moved
            and (other := next((text for text in others.values() if text != source), None))
        ):
            problems.append(
                f"this database has results of {other} under the name {task.name!r}, "
                f"and this is {source}: name it with --name, or the key `name` of a task file; "
                "if the file was moved and then changed, use another database"
            )
        elif others:
            notes.append(
                f"{task.name}: the file, or how it is read, is not that of earlier results; reports show this one"
            )
    if problems:
        raise UsageError(*problems)
    return notes


def check_merge(ledgers: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse to merge ledgers that have results of different files under one task's name.

    Args:
        ledgers: all values of the `Meta` table of each ledger, by the ledger's name.

    Raises:
        UsageError: under the name of a task, a ledger has data of another file than one before it.
        CorruptData: what a database says about data was changed.
    """
    problems = [
        problem
        for first, second in combinations(ledgers, 2)
        for problem in _other_files(first, ledgers[first], second, ledgers[second])
    ]
    if problems:
        raise UsageError(*problems)


def _other_files(
    target: str, stored: Mapping[str, str], source: str, added: Mapping[str, str]
) -> Iterator[str]:
    """Yield a problem for each task of which two ledgers have results of different files."""
    for task in sorted({_task(key) for key in added if key.startswith(DATA_KEYS)}):
        known, new = _entries(stored, task), _entries(added, task)
        ours = {entry.source for entry in known.values()} - {""}
        # The file of a revision that both have is the same one, wherever it was.
        same = ours | {new[revision].source for revision in new.keys() & known.keys()}
        others = {entry.source for entry in new.values()} - {""} - same
        if ours and others:
            yield (
                f"{display_name(target)} has results of {min(ours)} under the name {task!r}, and "
                f"{display_name(source)} of {min(others)}: keep the two databases apart, or run one of "
                "the files again under another --name"
            )


def store(ledger: Ledger, tasks: Iterable[Task], revisions: Mapping[str, str]) -> None:
    """Store the findings of tasks and where their data come from, unless that is stored already."""
    for task in tasks:
        source = _source(task)
        if task.findings or source:
            key = _key(task.name, revisions[task.name])
            entry = DataEntry(task.findings, source)
            sealed = {**entry._asdict(), "seal": _seal(key, entry)}
            ledger.set_once(key, json.dumps(sealed, sort_keys=True))


def mark_newest(ledger: Ledger, tasks: Iterable[Task], jobs: Iterable[Job]) -> None:
    """Store on which data a run asked for each task of the user's, which reports then show.

    A run that goes back to earlier data may have no new job.
    """
    own = {task.name for task in tasks if _source(task)}
    settings = {job.draw.task: job.setting()["task"] for job in jobs if job.draw.task in own}
    for name, setting in settings.items():
        key, value = f"{NEWEST_KEYS}{name}", name_of(setting)
        if ledger.meta_values().get(key) != value:
            ledger.replace(key, value)


def newest(values: Mapping[str, str]) -> dict[str, str]:
    """Return the name of the data that a run asked for last, by task.

    Args:
        values: all values of the `Meta` table.
    """
    return {
        key.removeprefix(NEWEST_KEYS): value
        for key, value in values.items()
        if key.startswith(NEWEST_KEYS)
    }


def name_of(setting: Mapping[str, Any]) -> str:
    """Return a short name of the data, classes and metrics of a task, from the setting of its jobs."""
    return hashlib.sha256(canonical(setting).encode()).hexdigest()[:16]


def merged(ledgers: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return a note on each task of which ledgers have results on different data.

    Args:
        ledgers: all values of the `Meta` table of each ledger, by the ledger's name.
    """
    revisions: dict[str, set[frozenset[str]]] = {}
    for values in ledgers.values():
        for task in {_task(key) for key in values if key.startswith(DATA_KEYS)}:
            revisions.setdefault(task, set()).add(frozenset(_entries(values, task)))
    return [
        f"{task}: the databases have results on different data of that name; a report shows those of one"
        for task, found in sorted(revisions.items())
        if len(found) > 1
    ]


def read(values: Mapping[str, str], revisions: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the findings of tasks that have any, by name.

    Args:
        values: all values of the `Meta` table.
        revisions: the revision of each task whose findings are wanted.

    Raises:
        CorruptData: findings were changed.
    """
    found = {}
    for task, revision in revisions.items():
        entry = _entries(values, task).get(revision)
        if entry is not None and entry.findings:
            found[task] = entry.findings
    return found


def _entries(values: Mapping[str, str], task: str) -> dict[str, DataEntry]:
    """Return what is stored on the data of a task, by revision."""
    start = _key(task, "")
    return {
        key.removeprefix(start): _parse(task, key, text)
        for key, text in values.items()
        if key.startswith(start)
    }


def _parse(task: str, key: str, text: str) -> DataEntry:
    try:
        content = json.loads(text)
        entry = DataEntry(tuple(content["findings"]), content.get("source", ""))
        intact = content["seal"] == _seal(key, entry)
    except (ValueError, TypeError, KeyError, AttributeError):
        intact = False
    if not intact:
        raise CorruptData(f"what the database says about the data of {task} was changed")
    return entry


def _source(task: Task) -> str:
    return getattr(task.reader, "source", "")


def _key(task: str, revision: str) -> str:
    return f"{DATA_KEYS}{task} {revision}"


def _task(key: str) -> str:
    return key.removeprefix(DATA_KEYS).rpartition(" ")[0]


def _seal(key: str, entry: DataEntry) -> str:
    fields: Sequence[str] = [key, *([entry.source] if entry.source else []), *entry.findings]
    return hashlib.sha256(canonical(fields).encode()).hexdigest()
