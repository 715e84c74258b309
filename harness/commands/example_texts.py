"""The texts of a run's test rows, for a page that shows which are answered wrongly; never from the network."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np

from harness.backbones import hub
from harness.jobs import recipe_from
from harness.ledger import Entry
from harness.tasks import REGISTRY, Row, Task, draws
from reports.analysis.paired_runs import Run


def reader(
    entries: Sequence[Entry], own: Sequence[Task] = ()
) -> Callable[[Run], Sequence[Sequence[str]] | None]:
    """What gives the texts of a run's test rows in the order of its answers; None where they are not at hand.

    Args:
        entries: the jobs that runs stand for.
        own: tasks of the user's own files, which the ledger does not name.
    """
    known = {entry.digest: entry for entry in entries}
    tasks = {**REGISTRY, **{task.name: task for task in own}}

    def texts(run: Run) -> Sequence[Sequence[str]] | None:
        entry, task = known.get(run.digest), tasks.get(run.task)
        if entry is None or task is None:
            return None
        try:
            with hub.offline():
                tests = _tests(entry, task)
        except Exception:  # whatever is wrong with the data: a report does without them
            return None
        return [row.texts for rows in tests.values() for row in rows] if _same(tests, run) else None

    return texts


def _tests(entry: Entry, task: Task) -> Mapping[str, Sequence[Row]]:
    """The test rows as they were given to the job."""
    revision = entry.setting["task"]["revision"]
    read = cache(lambda split: task.reader.rows(split, revision))
    return draws.tested(task, read, entry.draw, recipe_from(entry.setting["recipe"]))


def _same(tests: Mapping[str, Sequence[Row]], run: Run) -> bool:
    """Whether these are the rows that the run was tested on: the right answers tell."""
    if list(tests) != list(run.right):
        return False
    pairs = [([row.label for row in rows], run.right[suffix]) for suffix, rows in tests.items()]
    return all(
        len(ours) == len(theirs) and np.allclose(ours, theirs, atol=1e-6) for ours, theirs in pairs
    )
