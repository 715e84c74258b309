"""Numbers in, tables and words out; knows nothing of training or databases.

Importing this package costs nothing: numpy and rich are loaded by the first call.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.analysis.comparison import Comparison
    from reports.analysis.hypothesis import Hypothesis
    from reports.analysis.paired_runs import Run

FORMATS = ("terminal", "markdown", "latex", "html", "csv", "json")


def compare(
    runs: Iterable["Run"],
    *,
    baseline: str | None = None,
    methods: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    hypothesis: "Hypothesis | None" = None,
) -> "Comparison":
    """What the runs say about each method against one baseline, as numbers only.

    Args:
        runs: one per job, finished or not; their order does not matter.
        baseline: what the others are tested against; that of the hypothesis, else
            `fine-tuning` if it is there, else the first method.
        methods: which to keep, by full name or by the name before the bracket; the baseline is kept
            anyway.
        tasks: which to keep, in this order.
        sizes: which to keep.
        hypothesis: the comparison that the study is for. Its baseline is the baseline unless
            another is named, its comparison is tested alone, and all others are exploratory.

    Raises:
        reports.analysis.paired_runs.NothingToCompare: there is no run, or none is left, or the baseline is
        not among the methods. reports.analysis.paired_runs.MixedRuns: the runs left belong to several
        backbones or recipes.
    """
    from reports.analysis.comparison import compute
    from reports.analysis.paired_runs import pair_runs

    return compute(
        pair_runs(
            runs,
            baseline=baseline,
            methods=methods,
            tasks=tasks,
            sizes=sizes,
            hypothesis=hypothesis,
        )
    )


def render(
    comparison: "Comparison",
    *,
    format: str = "terminal",  # noqa: A002 - as the option of the command is called
    command: str = "",
    width: int = 100,
    color: bool = False,
    against: str | None = None,
    texts: "Callable[[Run], Sequence[Sequence[str]] | None] | None" = None,
    characteristics: bool = False,
) -> str:
    """The comparison as text, ending in a newline; the same comparison gives the same bytes.

    Args:
        comparison: what `compare` returned.
        format: one of `FORMATS`.
        command: the command line that reproduces the report, printed in its header.
        width: columns of the terminal; other formats ignore it.
        color: whether the terminal understands styles; other formats ignore it.
        against: a study whose printed numbers stand beside these, one of
            `reports.published.STUDIES`; not in CSV and JSON.
        texts: gives the texts of a run's test rows, None where they are not at hand; only HTML
            shows them.
        characteristics: measure the tasks by these texts, and hold gains against that; not in CSV.

    Raises:
        ValueError: the format is unknown.
        reports.analysis.paired_runs.NothingToCompare: there is no such study, or it has nothing in common
        with these runs.
    """
    from reports.formats.dispatch import write

    return write(
        comparison,
        form=format,
        command=command,
        width=width,
        color=color,
        against=against,
        texts=texts,
        characteristics=characteristics,
    )
