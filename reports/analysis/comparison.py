"""Everything a report says, as numbers; words and layout come later."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from reports.analysis.cells import Cell, marked, row
from reports.analysis.contrasts import Contrast, Family, contrasts
from reports.analysis.diagnostics import inspect
from reports.analysis.estimates import explained
from reports.analysis.paired_runs import PairedRuns, Run
from reports.analysis.rankings import Ranking, standing
from reports.analysis.sampled_dev_scores import SampledDevScores, samples
from reports.analysis.secondary import SecondaryEstimates, details
from reports.analysis.selection_rules import RuleComparison, rules
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
    details: tuple[SecondaryEstimates, ...]  # of the comparisons overall, over several tasks
    standing: Ranking | None  # all methods against each other
    rules: tuple[
        RuleComparison, ...
    ]  # what other selection rules would have chosen in the same trainings
    samples: tuple[SampledDevScores, ...]  # the dev scores of sampled models
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


def compute(paired_runs: PairedRuns) -> Comparison:
    """All numbers of a frame."""
    scopes: list[int | None] = [*([None] if len(paired_runs.sizes) > 1 else []), *paired_runs.sizes]
    cells = []
    for scope in scopes:
        for method in paired_runs.methods:
            cells += row(paired_runs, method, scope)
    tests = contrasts(paired_runs)
    cells = marked(cells, tests, paired_runs)
    placed = standing(paired_runs, cells)
    labels: dict[int, set[tuple[int, int]]] = {}
    for run in paired_runs.all():
        if run.status != "infeasible":
            labels.setdefault(run.size, set()).add((run.n_train, run.n_dev))
    real = [cell for cell in cells if cell.task is not None and cell.size is not None]
    return Comparison(
        backbone=paired_runs.backbone,
        recipe=paired_runs.recipe,
        baseline=paired_runs.baseline,
        declared=paired_runs.declared,
        methods=paired_runs.methods,
        tasks=paired_runs.tasks,
        sizes=paired_runs.sizes,
        seen=paired_runs.seen,
        holdout=paired_runs.holdout,
        labels={size: tuple(sorted(pairs)) for size, pairs in sorted(labels.items())},
        better={name: way for run in paired_runs.all() for name, way in sorted(run.better.items())},
        done=sum(cell.done for cell in real),
        planned=sum(cell.planned for cell in real),
        cells=tuple(cells),
        tests=tuple(tests),
        details=details(tests, paired_runs.all()),
        standing=placed,
        rules=rules(paired_runs.all(), paired_runs.methods),
        samples=samples(paired_runs.all(), paired_runs.methods),
        notes=inspect(paired_runs, real, tests, placed),
        runs=tuple(paired_runs.all()),
    )
