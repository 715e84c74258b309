"""Everything a report says, as numbers; words and layout come later."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from reports.analysis.cells import Cell, marked, row
from reports.analysis.contrasts import Contrast, Family, contrasts
from reports.analysis.diagnostics import inspect
from reports.analysis.estimates import explained
from reports.analysis.paired_runs import Frame, Run
from reports.analysis.rankings import Standing, standing
from reports.analysis.sampled_dev_scores import Samples, samples
from reports.analysis.secondary import Detail, details
from reports.analysis.selection_rules import Rule, rules
from reports.document import Note


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything a report says, before words and layout."""

    backbone: str
    recipe: str
    baseline: str
    declared: bool
    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    sizes: tuple[int, ...]
    seen: tuple[str, ...]
    holdout: tuple[str, ...]
    labels: Mapping[
        int, tuple[tuple[int, int], ...]
    ]  # per size: the different (train, dev) rows that runs had
    better: Mapping[str, str]  # per metric, which way is up
    done: int
    planned: int
    cells: tuple[Cell, ...]
    tests: tuple[Contrast, ...]
    details: tuple[Detail, ...]  # of the comparisons overall, over several tasks
    standing: Standing | None  # all methods against each other
    rules: tuple[Rule, ...]  # what other selection rules would have chosen in the same trainings
    samples: tuple[Samples, ...]  # the dev scores of sampled models
    notes: tuple[Note, ...]
    runs: tuple[Run, ...]  # every run in use, finished or not

    def cell(
        self, method: str, task: str | None, size: int | None, *, without_seen: bool = False
    ) -> Cell:
        """The cell at these coordinates.

        Raises:
            KeyError: there is none.
        """
        for cell in self.cells:
            if (cell.method, cell.task, cell.size, cell.without_seen) == (
                method,
                task,
                size,
                without_seen,
            ):
                return cell
        raise KeyError((method, task, size))

    @property
    def question(self) -> Contrast | None:
        """The comparison that the study is for, all others being exploratory; None if none was named in time."""
        return next((test for test in self.tests if test.planned_for), None)

    @property
    def covered(self) -> str:
        """What the intervals of its cells speak of."""
        return explained(cell.estimand for cell in self.cells if not math.isnan(cell.low))

    def family(self, name: Family) -> list[Contrast]:
        """The tests that were adjusted together."""
        return [test for test in self.tests if test.family == name]


def compute(frame: Frame) -> Comparison:
    """All numbers of a frame."""
    scopes: list[int | None] = [*([None] if len(frame.sizes) > 1 else []), *frame.sizes]
    cells = []
    for scope in scopes:
        for method in frame.methods:
            cells += row(frame, method, scope)
    tests = contrasts(frame)
    cells = marked(cells, tests, frame)
    placed = standing(frame, cells)
    labels: dict[int, set[tuple[int, int]]] = {}
    for run in frame.all():
        if run.status != "infeasible":
            labels.setdefault(run.size, set()).add((run.n_train, run.n_dev))
    real = [cell for cell in cells if cell.task is not None and cell.size is not None]
    return Comparison(
        backbone=frame.backbone,
        recipe=frame.recipe,
        baseline=frame.baseline,
        declared=frame.declared,
        methods=frame.methods,
        tasks=frame.tasks,
        sizes=frame.sizes,
        seen=frame.seen,
        holdout=frame.holdout,
        labels={size: tuple(sorted(pairs)) for size, pairs in sorted(labels.items())},
        better={name: way for run in frame.all() for name, way in sorted(run.better.items())},
        done=sum(cell.done for cell in real),
        planned=sum(cell.planned for cell in real),
        cells=tuple(cells),
        tests=tuple(tests),
        details=details(tests, frame.all()),
        standing=placed,
        rules=rules(frame.all(), frame.methods),
        samples=samples(frame.all(), frame.methods),
        notes=inspect(frame, real, tests, placed),
        runs=tuple(frame.all()),
    )
