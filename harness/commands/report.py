"""`bench report`: compare methods and write the comparison as text, a page or data."""

import gc
import shutil
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.atomic_write import write_output
from harness.errors import UsageError
from harness.redaction import redact
from harness.results.query import ResultQuery
from harness.results.report import Report
from harness.tasks import task_file
from methods.core.suggestions import did_you_mean
from reports.published import STUDIES


@contextmanager
def _without_gc() -> Iterator[None]:
    """Disable the cyclic garbage collector: reading makes many objects, none of them in a cycle.

    They are frozen at the end, so that the end of the program does not look through them either. This saves
    a sixth of a report's time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@_without_gc()
def write_report(
    query: ResultQuery,
    form: str,
    baseline: str | None,
    output: Path | None,
    *,
    strict: bool = False,
    against: str | None = None,
    browse: bool = False,
    task_files: Sequence[Path] = (),
    characteristics: bool = False,
    temperature: bool = False,
    classes: bool = False,
    full: bool = False,
) -> int:
    """Compare the requested results and print or write the report.

    Args:
        query: which results.
        form: one of `reports.FORMATS`.
        baseline: the method that the others are compared with.
        output: a file; None: standard output.
        strict: return 1 if a red note forbids a claim.
        against: a published study whose numbers are shown beside these.
        browse: open the page in a browser.
        task_files: descriptions of the user's own tasks, for the texts of their rows.
        characteristics: also measure what the tasks are like.
        temperature: also show scores of class probabilities that are scaled by a temperature.
        classes: also show the confusion matrix and the scores of each class.
        full: write all tables and notes.

    Returns:
        The exit code.

    Raises:
        UsageError: the query matches nothing, or results of several backbones or recipes; there is
            no such study; or an option does not apply to this format.
        CannotWrite: the file cannot be written.
    """
    if against is not None and against not in STUDIES:
        hint = did_you_mean(against, STUDIES)
        raise UsageError(f"--against: no study {against!r}{hint}; there are {', '.join(STUDIES)}")
    if form != "html" and browse:
        raise UsageError("--open requires --format html")
    if form != "html" and task_files and not characteristics:
        raise UsageError("--task-file requires --format html or --characteristics")
    tasks = [task_file.read(path) for path in task_files]
    report = Report(query, baseline, tasks)
    if form == "html" and output is None and (browse or sys.stdout.isatty()):
        output = Path("report.html")  # a page is unreadable in a terminal
    text = report.text(
        form,
        command=command_line(),
        width=shutil.get_terminal_size((100, 40)).columns,
        color=form == "terminal" and output is None and sys.stdout.isatty(),
        against=against,
        characteristics=characteristics,
        temperature=temperature,
        classes=classes,
        full=full,
    )
    print_or_write(text, output)
    if form == "html" and output is not None:
        print(output)  # noqa: T201
        if browse:
            webbrowser.open(output.absolute().as_uri())
    return int(strict and any(note.level == "red" for note in report.comparison.notes))


def command_line() -> str:
    """Return the command line of this process, without passwords, to print in a report."""
    return redact(" ".join(["bench", *sys.argv[1:]]))


def print_or_write(text: str, output: Path | None) -> None:
    """Print a text, or write it to a file.

    Raises:
        CannotWrite: the file cannot be written.
    """
    if output is None:
        sys.stdout.write(text)
    else:
        write_output(output, text)
