"""Compare runs and write reports; this package does not depend on training or databases.

Importing it is cheap, because numpy and rich are loaded by the first call.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.analysis.comparison import Comparison
    from reports.analysis.hypothesis import Hypothesis
    from reports.analysis.run import Run

# Figures are drawn later: matplotlib warns at each start about a home that cannot be written, which harms none.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
FORMATS = ("terminal", "markdown", "latex", "html", "csv", "json")


def compare(
    runs: Iterable["Run"],
    *,
    baseline: str | None = None,
    methods: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    hypothesis: "Hypothesis | None" = None,
    findings: Mapping[str, Sequence[str]] | None = None,
) -> "Comparison":
    """Compare each method with one baseline, and return the numbers.

    Args:
        runs: one run per job, finished or not, in any order.
        baseline: the method that the others are tested against. By default, it is the baseline of
            the hypothesis, else `fine-tuning` if it has runs, else the first method.
        methods: the methods to keep, by full name or by the name before the bracket. The baseline
            is always kept.
        tasks: the tasks to keep, in this order.
        sizes: the sizes to keep.
        hypothesis: the declared comparison of the study. It is tested alone, and all others are
            exploratory.
        findings: sentences on the rows of the user's files, by task.

    Raises:
        reports.analysis.paired_runs.NothingToCompare: no run is left, or the baseline has none.
        reports.analysis.paired_runs.MixedRuns: the runs belong to several backbones,
            recipes or versions of a method.
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
            findings=findings,
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
    temperature: bool = False,
    classes: bool = False,
    full: bool = True,
) -> str:
    """Write a report that ends in a newline; the same comparison gives the same bytes.

    Args:
        comparison: the result of `compare`.
        format: one of `FORMATS`.
        command: the command line that reproduces the report, printed in its header.
        width: width of the terminal in characters; other formats ignore it.
        color: whether the terminal understands styles; other formats ignore it.
        against: the study whose published scores are added to the report, one of
            `reports.published.STUDIES`; CSV and JSON ignore it.
        texts: returns the texts of a run's test examples, or None if they are not available; only
            HTML shows them.
        characteristics: whether to measure task characteristics on these texts and correlate them
            with gains; CSV ignores it.
        temperature: whether to show the scores of class probabilities that are scaled by the stored
            temperature, beside those of the raw ones; CSV ignores it.
        classes: whether to show the confusion matrix and the scores of each class; HTML always does,
            and CSV ignores it.
        full: whether a report for the terminal, in Markdown or in LaTeX has all tables and notes, and
            not only the verdict, one table and the most important notes.

    Raises:
        ValueError: the format is unknown.
        reports.analysis.paired_runs.NothingToCompare: the study is unknown, or has nothing in
            common with these runs; or they do not store what `temperature` or `classes` shows.
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
        temperature=temperature,
        classes=classes,
        full=full,
    )
