"""Texts of test rows for the page that shows wrong predictions. Nothing is downloaded."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np

from harness.backbones.hub.cache import offline
from harness.jobs import recipe_from
from harness.ledger import LedgerEntry
from harness.tasks import REGISTRY, Example, Task, draws
from reports.analysis.paired_runs import Run


def reader(
    entries: Sequence[LedgerEntry], own: Sequence[Task] = ()
) -> Callable[[Run], Sequence[Sequence[str]] | None]:
    """Return a function that gives the texts of a run's test rows.

    The texts are in the order of the run's predictions. The function returns None if the data are
    not on this machine or are not those that the run was tested on.

    Args:
        entries: the jobs of the runs.
        own: tasks described by the user's files, which the ledger does not hold.
    """
    by_digest = {entry.digest: entry for entry in entries}
    tasks = {**REGISTRY, **{task.name: task for task in own}}

    def texts(run: Run) -> Sequence[Sequence[str]] | None:
        entry, task = by_digest.get(run.digest), tasks.get(run.task)
        if entry is None or task is None:
            return None
        try:
            with offline():
                tests = _test_rows(entry, task)
        except Exception:  # a report needs no texts, whatever is wrong with the data
            return None
        if not _same_labels(tests, run):
            return None
        return [row.texts for rows in tests.values() for row in rows]

    return texts


def _test_rows(entry: LedgerEntry, task: Task) -> Mapping[str, Sequence[Example]]:
    """Return the test rows that the job's draw selects, by the suffix of their split."""
    revision = entry.setting["task"]["revision"]
    read = cache(lambda split: task.reader.examples(split, revision))
    return draws.test_sets(task, read, entry.draw, recipe_from(entry.setting["recipe"]))


def _same_labels(tests: Mapping[str, Sequence[Example]], run: Run) -> bool:
    """Return whether the rows have the labels that the run was scored with."""
    if list(tests) != list(run.labels):
        return False
    pairs = [([row.label for row in rows], run.labels[suffix]) for suffix, rows in tests.items()]
    return all(
        len(labels) == len(stored) and np.allclose(labels, stored, atol=1e-6)
        for labels, stored in pairs
    )
