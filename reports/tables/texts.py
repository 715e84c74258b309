"""The tables of tasks that write text: all metrics, and texts side by side."""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Final

from reports.analysis.comparison import Comparison
from reports.analysis.run import Run, has_score
from reports.document import Table, TableCell, metric_title, number

# What each number is, so that it can be compared with those of other programs, by the beginning of its name.
SIGNATURES: Final = {
    "bleu": "BLEU by sacrebleu: case kept, tokens 13a, exponential smoothing",
    "nist": "NIST: n-grams of up to 5 words, case ignored, tokens 13a",
    "cider": "CIDEr: CIDEr-D of up to 4 words, case ignored, tokens 13a without punctuation",
    "chrf": "chrF2 by sacrebleu: up to 6 characters, no words",
    "ter": "TER by sacrebleu: case ignored",
    "rouge": "ROUGE by rouge-score: F1 of stemmed words, the best reference",
    "length-ratio": "length-ratio: words per word of the reference that is nearest in length, in percent",
    "repetition": "repetition: share of 4-grams of words that the same text has before, in percent",
    "slot-errors": "slot errors: attributes that are missing, added or wrong, by rules, in percent of the attributes",
}
# Said where no metric of `evaluate` was asked for.
OPTIONAL: Final = (
    " METEOR, BERTScore and BLEURT need a download and are not computed; for files, "
    "`--metrics evaluate:meteor` asks for METEOR."
)
SHOWN: Final = 300  # characters of a text


def text_tables(comparison: Comparison) -> list[Table]:
    """Return, for each task that writes text, the mean of each metric by method, and some texts side by side."""
    return [
        table
        for task in comparison.tasks
        if (runs := _runs(comparison, task))
        for table in (_metrics(comparison, task, runs), _texts(comparison, task, runs))
        if table
    ]


def _runs(comparison: Comparison, task: str) -> list[Run]:
    return [run for run in comparison.runs if run.task == task and has_score(run) and run.writes]


def _metrics(comparison: Comparison, task: str, runs: Sequence[Run]) -> Table:
    # A name with a space belongs to another model: that of another selection rule, or the `zeroed` one.
    names = [name for name in runs[0].metrics if " " not in name]
    of_methods = {
        method: [run for run in runs if run.method == method] for method in comparison.methods
    }
    rows = [
        (TableCell(method), *(TableCell(_mean(own, name)) for name in names))
        for method, own in of_methods.items()
        if own
    ]
    used = {name.partition("/")[0] for name in names}
    signatures = [
        text for start, text in SIGNATURES.items() if any(name.startswith(start) for name in used)
    ]
    chosen = any(name.startswith("evaluate:") for name in used)
    return Table(
        title=f"Texts of {task}",
        head=(
            "method",
            *(
                f"{metric_title(name, ())}{' ↓' if runs[0].better.get(name) == 'lower' else ''}"
                for name in names
            ),
        ),
        rows=tuple(rows),
        legend=(
            "Means over the runs of a method, in points; each text is compared with all its references. ↓: less is "
            f"better. {'; '.join(signatures)}.{'' if chosen else OPTIONAL}"
        ),
    )


def _mean(runs: Sequence[Run], name: str) -> str:
    values = [run.metrics[name] for run in runs if name in run.metrics]
    digits = 2 if name.startswith(("nist", "cider")) else 1
    return number(100 * fmean(values) if values else None, digits)


def _texts(comparison: Comparison, task: str, runs: Sequence[Run]) -> Table | None:
    """Return what each method wrote for a few sources, in its first run of the greatest size."""
    size = max(run.size for run in runs)
    first: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (run.draw, run.seed)):
        if run.size == size and run.texts:
            first.setdefault(run.method, run)
    shown = [first[method] for method in comparison.methods if method in first]
    if not shown or len({run.rows for run in shown}) > 1:  # they wrote texts for different rows
        return None
    return Table(
        title=f"Some texts of {task}, size {size}",
        head=("row", "what", "text"),
        rows=tuple(_lines(shown)),
        labels=3,
        legend=(
            f"Rows that are evenly spread over the test rows, and the texts of draw {shown[0].draw}. "
            "`bench show DIGEST --json` prints all texts of a job."
        ),
    )


def _lines(runs: Sequence[Run]) -> Iterator[tuple[TableCell, ...]]:
    for number_, text in enumerate(runs[0].texts):
        lines = {"source": text.source, "reference": text.reference}
        lines |= {run.method: run.texts[number_].text for run in runs}
        for name, line in lines.items():
            yield (
                TableCell(str(number_ + 1) if name == "source" else ""),
                TableCell(name),
                TableCell(_shown(line) or "(nothing)"),
            )


def _shown(text: str) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"
