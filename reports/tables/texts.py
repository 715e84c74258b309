"""The table of all metrics of tasks that write text."""

from collections.abc import Sequence
from statistics import fmean
from typing import Final

from reports.analysis.comparison import Comparison
from reports.analysis.run import Run, has_score
from reports.document import Table, TableCell, metric_title, number

# What each number is, so that it can be compared with those of other programs.
SIGNATURES: Final = {
    "bleu": "BLEU by sacrebleu: case kept, tokens 13a, exponential smoothing",
    "chrf": "chrF2 by sacrebleu: up to 6 characters, no words",
    "ter": "TER by sacrebleu: case ignored",
    "rouge": "ROUGE by rouge-score: F1 of stemmed words, the best reference",
}


def text_tables(comparison: Comparison) -> list[Table]:
    """Return a table for each task that writes text: the mean of each metric over the runs of a method."""
    return [_of_task(comparison, task) for task in comparison.tasks if _runs(comparison, task)]


def _runs(comparison: Comparison, task: str) -> list[Run]:
    return [run for run in comparison.runs if run.task == task and has_score(run) and run.writes]


def _of_task(comparison: Comparison, task: str) -> Table:
    runs = _runs(comparison, task)
    # A name with a space belongs to another model: that of another selection rule, or the `zeroed` one.
    names = [name for name in runs[0].metrics if " " not in name]
    methods = [m for m in comparison.methods if any(run.method == m for run in runs)]
    rows = []
    for method in methods:
        own = [run for run in runs if run.method == method]
        rows.append((TableCell(method), *(TableCell(_mean(own, name)) for name in names)))
    used = {name.partition("/")[0].rstrip("12L") for name in names}
    return Table(
        title=f"Texts of {task}",
        head=("method", *(metric_title(name, ()) for name in names)),
        rows=tuple(rows),
        legend=(
            "Means over the runs of a method, in points; each text is compared with all its references. "
            f"{'; '.join(text for name, text in SIGNATURES.items() if name in used)}."
        ),
    )


def _mean(runs: Sequence[Run], name: str) -> str:
    values = [run.metrics[name] for run in runs if name in run.metrics]
    return number(100 * fmean(values) if values else None, 1)
