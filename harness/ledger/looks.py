"""Looks (interim analyses): how many runs methods had when they could be compared, before more were added.

Draws or seeds added after a complete analysis lead to another test, so the report must count such additions. A
comparison is all jobs of one backbone, task, recipe and size. A method is complete in it if all of its
jobs have ended. If one of several complete methods is given draws or seeds, the numbers of runs of all
of them are recorded. A record counts as one look at the difference between any two of its methods. The number
of runs at that look is that of the method with fewer runs. Resumed runs and added methods start no look, and
neither do the shards that one `bench db merge` copies into a new database.
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
LOCK: Final = 0x6C6F6F6B73  # lets one process at a time add jobs and looks to a server
DRAWS: Final = " draws"
ENDED: Final = frozenset({"done", "diverged", "failed", "infeasible"})

Place = tuple[str, str]  # of jobs: their comparison and their method
# By comparison: its looks. A look maps the name of each complete method to its number of runs, and the name
# followed by `DRAWS` to its number of draws.
Looks = dict[str, list[dict[str, int]]]


def place_of(setting: Mapping[str, Any], size: int) -> Place:
    """Return hashes that name the comparison and the method of a setting's jobs at a size."""
    shared = {name: setting[name] for name in ("backbone", "task", "recipe")}
    return _name([shared, size]), _name(setting["method"])


def of_method(looks: Looks, place: Place) -> tuple[int, ...]:
    """Return the number of runs that the method had at each look of its comparison; 0 if it was not complete."""
    comparison, method = place
    return tuple(look.get(method, 0) for look in looks.get(comparison, ()))


def draws_of_method(looks: Looks, place: Place) -> tuple[int, ...]:
    """Return the number of draws that the method had at each look; 0 if it was not complete.

    Looks of an earlier version have the number of runs only, which is at least that of draws.
    """
    comparison, method = place
    return tuple(
        look.get(f"{method}{DRAWS}", look.get(method, 0)) for look in looks.get(comparison, ())
    )


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
        intact &= all(isinstance(look, dict) for found in looks.values() for look in found)
    except (ValueError, TypeError, KeyError):
        intact = False
    if not intact:
        raise CorruptData(
            "the recorded looks are not those that were stored: the database was changed or is damaged"
        )
    return looks


def lock(connection: Connection) -> None:
    """Let other processes that add jobs to a server wait until the transaction ends.

    Without this, two of them could both write the looks, and a statement could see jobs that an earlier one did not.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")


def record(connection: Connection, new: Mapping[Place, Collection[tuple[int, int]]]) -> None:
    """Record a look of every comparison in which one of several complete methods is given runs that it lacks.

    Args:
        connection: an open transaction, before the new jobs are inserted.
        new: draw and seed of the jobs that will be inserted, by comparison and method.
    """
    lock(connection)
    found: Looks = {}
    for comparison, methods in _complete(connection, {name for name, _ in new}).items():
        given = any(
            set(new.get((comparison, method), ())) - runs for method, runs in methods.items()
        )
        if given and len(methods) > 1:
            look = {method: len(runs) for method, runs in methods.items()}
            draws = {
                f"{method}{DRAWS}": len({draw for draw, _ in runs})
                for method, runs in methods.items()
            }
            found[comparison] = [look | draws]
    add(connection, found)


def add(connection: Connection, looks: Looks) -> None:
    """Add looks to those that are stored."""
    if not looks:
        return
    meta = table_of(Meta)
    stored = connection.execute(select(meta.c.value).where(meta.c.key == KEY)).scalar()
    together = parse(stored)
    for comparison, found in looks.items():
        known = together.setdefault(comparison, [])
        known += [look for look in found if look not in known]
    content = json.dumps({"looks": together, "seal": _seal(together)}, sort_keys=True)
    connection.execute(meta.delete().where(meta.c.key == KEY))
    connection.execute(meta.insert().values(key=KEY, value=content))


def runs_of(connection: Connection) -> dict[Place, set[tuple[int, int]]]:
    """Return draw and seed of all jobs by comparison and method."""
    jobs, places = table_of(JobRow), _places(connection)
    runs: dict[Place, set[tuple[int, int]]] = {}
    columns = jobs.c.setting, jobs.c.size, jobs.c.draw, jobs.c.seed
    for setting, size, *run in connection.execute(select(*columns).distinct()).all():
        runs.setdefault(places[setting, size], set()).add(tuple(run))
    return runs


def _complete(
    connection: Connection, comparisons: Collection[str]
) -> dict[str, dict[str, set[tuple[int, int]]]]:
    """Return, for each of these comparisons, draw and seed of the jobs of each complete method."""
    jobs, places = table_of(JobRow), _places(connection)
    settings = sorted(
        {setting for (setting, _), (name, _) in places.items() if name in comparisons}
    )
    columns = jobs.c.setting, jobs.c.size, jobs.c.draw, jobs.c.seed, jobs.c.state
    runs: dict[Place, set[tuple[int, int]]] = {}
    incomplete = set()
    for part in chunks(settings, 500):
        query = select(*columns).where(jobs.c.setting.in_(part)).distinct()
        for setting, size, draw, seed, state in connection.execute(query).all():
            place = places[setting, size]
            runs.setdefault(place, set()).add((draw, seed))
            if state not in ENDED:
                incomplete.add(place)
    complete: dict[str, dict[str, set[tuple[int, int]]]] = {}
    for (comparison, method), found in runs.items():
        if comparison in comparisons and (comparison, method) not in incomplete:
            complete.setdefault(comparison, {})[method] = found
    return complete


def _places(connection: Connection) -> dict[tuple[int, int], Place]:
    """Return comparison and method of the jobs, by the id of their setting and their size."""
    settings, jobs = table_of(Setting), table_of(JobRow)
    texts = dict(connection.execute(select(settings.c.id, settings.c.json)).all())
    pairs = connection.execute(select(jobs.c.setting, jobs.c.size).distinct()).all()
    return {(setting, size): place_of(json.loads(texts[setting]), size) for setting, size in pairs}


def _name(value: object) -> str:
    """Return a short hash of a value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def _seal(looks: Looks) -> str:
    """Return a hash over all looks."""
    return hashlib.sha256(canonical([KEY, looks]).encode()).hexdigest()
