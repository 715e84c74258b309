"""The comparison: all numbers of a report, before words and layout."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.analysis.cells import Cell, mark_cells, method_cells
from reports.analysis.contrasts import Contrast, Family, contrasts
from reports.analysis.diagnostics import diagnose
from reports.analysis.estimates import describe_populations
from reports.analysis.paired_runs import PairedRuns
from reports.analysis.rankings import Ranking, rank_methods
from reports.analysis.run import Run, majority_score
from reports.analysis.sampled_dev_scores import SampledDevScores, sampled_dev_scores
from reports.analysis.secondary import SecondaryEstimates, secondary_estimates
from reports.analysis.selection_rules import RuleComparison, compare_rules
from reports.document import Note


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All numbers of a report."""

    backbone: str
    recipe: str
    baseline: str
    baseline_named: bool
    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    sizes: tuple[int, ...]
    seen: tuple[str, ...]
    holdout: tuple[str, ...]
    # per size: the distinct numbers of (train, dev) rows of the runs
    labels: Mapping[int, tuple[tuple[int, int], ...]]
    better: Mapping[str, str]  # per metric: higher or lower
    majority: Mapping[str, float]  # by task: the score of one constant prediction, if it is known
    done: int
    planned: int
    cells: tuple[Cell, ...]
    tests: tuple[Contrast, ...]
    secondary: tuple[SecondaryEstimates, ...]  # of the overall comparisons over several tasks
    ranking: Ranking | None
    rules: tuple[RuleComparison, ...]  # what other selection rules choose in the same trainings
    samples: tuple[SampledDevScores, ...]  # dev scores of sampled models
    notes: tuple[Note, ...]
    runs: tuple[Run, ...]  # every run in use, finished or not

    def cell(
        self, method: str, task: str | None, size: int | None, *, without_seen: bool = False
    ) -> Cell:
        """Return the cell at these coordinates.

        Raises:
            KeyError: There is no such cell.
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

    def classes_of(self, task: str) -> Sequence[str]:
        """Return the names of a task's classes; none for a regression."""
        return next((run.classes for run in self.runs if run.task == task), ())

    @property
    def hypothesis(self) -> Contrast | None:
        """The hypothesis of the study, or None; all other comparisons are exploratory then."""
        return next((test for test in self.tests if test.declared), None)

    @property
    def covered(self) -> str:
        """A description of what the intervals of the cells cover."""
        return describe_populations(
            cell.population for cell in self.cells if not math.isnan(cell.low)
        )

    def family(self, name: Family) -> list[Contrast]:
        """Return the tests whose p values are adjusted together."""
        return [test for test in self.tests if test.family == name]


def compute(paired_runs: PairedRuns) -> Comparison:
    """Compute all numbers of a report."""
    scopes: list[int | None] = [*([None] if len(paired_runs.sizes) > 1 else []), *paired_runs.sizes]
    tests = contrasts(paired_runs)
    cells = mark_cells(
        [
            cell
            for scope in scopes
            for method in paired_runs.methods
            for cell in method_cells(paired_runs, method, scope)
        ],
        tests,
        paired_runs,
    )
    ranking = rank_methods(paired_runs, cells)
    labels: dict[int, set[tuple[int, int]]] = {}
    for run in paired_runs.all():
        if run.status != "infeasible":
            labels.setdefault(run.size, set()).add((run.n_train, run.n_dev))
    real = [cell for cell in cells if cell.task is not None and cell.size is not None]
    return Comparison(
        backbone=paired_runs.backbone,
        recipe=paired_runs.recipe,
        baseline=paired_runs.baseline,
        baseline_named=paired_runs.baseline_named,
        methods=paired_runs.methods,
        tasks=paired_runs.tasks,
        sizes=paired_runs.sizes,
        seen=paired_runs.seen,
        holdout=paired_runs.holdout,
        labels={size: tuple(sorted(pairs)) for size, pairs in sorted(labels.items())},
        better={name: way for run in paired_runs.all() for name, way in sorted(run.better.items())},
        majority={
            task: score
            for task in paired_runs.tasks
            if (score := majority_score(run for run in paired_runs.all() if run.task == task))
            is not None
        },
        done=sum(cell.done for cell in real),
        planned=sum(cell.planned for cell in real),
        cells=tuple(cells),
        tests=tuple(tests),
        secondary=secondary_estimates(tests, span=_largest_difference(paired_runs)),
        ranking=ranking,
        rules=compare_rules(paired_runs.all(), paired_runs.methods),
        samples=sampled_dev_scores(paired_runs.all(), paired_runs.methods),
        notes=diagnose(paired_runs, real, tests, ranking),
        runs=tuple(paired_runs.all()),
    )


def _largest_difference(paired_runs: PairedRuns) -> float:
    """Return the largest possible difference of two scores on a task like these, in points."""
    spans = (high - low for low, high in {run.bounds for run in paired_runs.all()})
    return max(spans, default=math.inf)
