"""Texts of test rows for the page that shows wrong predictions. Nothing is downloaded."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.backbones.hub.cache import offline
from harness.jobs import recipe_from
from harness.ledger import LedgerEntry
from harness.tasks import REGISTRY, Example, Task, draws
from reports.analysis.run import Run


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

    def texts_of(run: Run) -> Sequence[Sequence[str]] | None:
        entry, task = by_digest.get(run.digest), tasks.get(run.task)
        # The references of a text are not stored as labels, which show that the rows are those of the run.
        if entry is None or task is None or task.text:
            return None
        try:
            with offline():
                tests = draws.test_sets(
                    task,
                    lambda split: task.reader.examples(split, entry.setting["task"]["revision"]),
                    entry.draw,
                    recipe_from(entry.setting["recipe"]),
                )
        except Exception:  # a report needs no texts, whatever is wrong with the data
            return None
        texts = [row.texts for rows in tests.values() for row in rows]
        return texts if _same_labels(tests, run) else None

    return texts_of


def _same_labels(tests: Mapping[str, Sequence[Example]], run: Run) -> bool:
    """Return whether the rows have the labels that the run was scored with."""
    return list(tests) == list(run.labels) and all(
        len(rows) == len(run.labels[suffix])
        and np.allclose(_labels(rows, run.labels[suffix]), run.labels[suffix], atol=1e-6)
        for suffix, rows in tests.items()
    )


def _labels(rows: Sequence[Example], stored: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the labels of rows in the form of the stored ones: zeros and ones for sets of classes."""
    if stored.ndim == 1:
        return np.array([row.label for row in rows], dtype=np.float64)
    marks = np.zeros((len(rows), stored.shape[1]))
    for mark, row in zip(marks, rows, strict=True):
        mark[list(row.classes)] = 1
    return marks
