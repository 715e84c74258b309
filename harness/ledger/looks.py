"""Looks: the numbers of draws at which a comparison was complete before it was given more.

More draws after a complete analysis are another test, so the report must know how many there were. A
comparison is all jobs of one backbone, task, recipe and size, of two methods or more. It is complete if
all of its jobs have ended. Resumed runs, shards of one plan and added methods start no look.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import Connection, select

from harness.errors import CorruptData
from harness.jobs import canonical
from harness.ledger.statements import chunks, table_of
from harness.ledger.tables import JobRow, Meta, Setting

KEY: Final = "looks"  # of the `Meta` table
ENDED: Final = frozenset({"done", "diverged", "failed", "infeasible"})

Looks = dict[str, list[int]]  # by comparison: numbers of draws, ascending


def comparison_of(setting: Mapping[str, Any], size: int) -> str:
    """Return the name of the comparison that the jobs of a setting and a size belong to."""
    shared = {name: setting[name] for name in ("backbone", "task", "recipe")}
    return hashlib.sha256(canonical([shared, size]).encode()).hexdigest()[:16]


def parse(text: str | None) -> Looks:
    """Return the looks that `record` stored.

    Raises:
        CorruptData: they were changed.
    """
    if text is None:
        return {}
    try:
        content = json.loads(text)
        looks: Looks = content["looks"]
        intact = content["seal"] == _seal(looks)
    except (ValueError, TypeError, KeyError):
        intact = False
    if not intact:
        raise CorruptData(
            "the recorded looks are not those that were stored: the database was changed or is damaged"
        )
    return looks


def record(connection: Connection, new_draws: Mapping[str, Collection[int]]) -> None:
    """Record a look of every comparison that is complete and is given draws that it does not have.

    Args:
        connection: an open transaction, before the new jobs are inserted.
        new_draws: the draws of the jobs that will be inserted, by comparison.
    """
    found: Looks = {}
    for comparison, draws in _complete(connection, new_draws).items():
        if set(new_draws[comparison]) - draws:
            found[comparison] = [len(draws)]
    add(connection, found)


def add(connection: Connection, looks: Looks) -> None:
    """Add looks to those that are stored."""
    if not looks:
        return
    meta = table_of(Meta)
    stored = connection.execute(select(meta.c.value).where(meta.c.key == KEY)).scalar()
    together = parse(stored)
    for comparison, counts in looks.items():
        together[comparison] = sorted({*together.get(comparison, []), *counts})
    content = json.dumps({"looks": together, "seal": _seal(together)}, sort_keys=True)
    connection.execute(meta.delete().where(meta.c.key == KEY))
    connection.execute(meta.insert().values(key=KEY, value=content))


def draws_of(connection: Connection) -> dict[str, set[int]]:
    """Return the draws of all jobs by comparison."""
    jobs = table_of(JobRow)
    names = _comparisons(connection)
    draws: dict[str, set[int]] = {}
    columns = jobs.c.setting, jobs.c.size, jobs.c.draw
    for setting, size, draw in connection.execute(select(*columns).distinct()).all():
        draws.setdefault(names[setting, size], set()).add(draw)
    return draws


def _complete(connection: Connection, requested: Collection[str]) -> dict[str, set[int]]:
    """Return the draws of those of these comparisons that are complete."""
    jobs, names = table_of(JobRow), _comparisons(connection)
    settings = sorted({setting for (setting, _), name in names.items() if name in requested})
    columns = jobs.c.setting, jobs.c.size, jobs.c.draw, jobs.c.state
    methods: dict[str, set[int]] = {}
    draws: dict[str, set[int]] = {}
    open_ones = set()
    for part in chunks(settings, 500):
        query = select(*columns).where(jobs.c.setting.in_(part)).distinct()
        for setting, size, draw, state in connection.execute(query).all():
            name = names[setting, size]
            methods.setdefault(name, set()).add(setting)
            draws.setdefault(name, set()).add(draw)
            if state not in ENDED:
                open_ones.add(name)
    return {
        name: numbers
        for name, numbers in draws.items()
        if name in requested and name not in open_ones and len(methods[name]) > 1
    }


def _comparisons(connection: Connection) -> dict[tuple[int, int], str]:
    """Return the comparison of each setting and size that has jobs, by the id of the setting."""
    settings, jobs = table_of(Setting), table_of(JobRow)
    texts = dict(connection.execute(select(settings.c.id, settings.c.json)).all())
    pairs = connection.execute(select(jobs.c.setting, jobs.c.size).distinct()).all()
    return {
        (setting, size): comparison_of(json.loads(texts[setting]), size) for setting, size in pairs
    }


def _seal(looks: Looks) -> str:
    """Return a hash over all looks."""
    return hashlib.sha256(canonical([KEY, looks]).encode()).hexdigest()
