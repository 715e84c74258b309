"""What `report` and `compare` do: results as runs, runs as a comparison, a comparison as text."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands import stored_runs
from harness.commands.show import opened
from harness.commands.verify import doubtful
from harness.errors import CannotWrite, CorruptData, UsageError
from harness.jobs import BackboneSpec, recipe_from
from harness.ledger import Known, Ledger
from harness.ledger.database import shown
from harness.redaction import redact
from harness.study import preregistration, request
from harness.study.grid_options import GridOptions
from harness.tasks import GROUPS, Task, own

if TYPE_CHECKING:
    from reports.analysis.comparison import Comparison
    from reports.analysis.hypothesis import Hypothesis
    from reports.analysis.paired_runs import Run


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which results to read."""

    db: str
    methods: str | None
    tasks: str | None
    sizes: str | None
    model: str | None
    recipe: int | None


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the search for objects that hold each other, a tenth of a report's time: reading makes many, and none that do."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@_uncollected()
def write_report(
    chosen: Selection,
    form: str,
    baseline: str | None,
    output: Path | None,
    *,
    strict: bool = False,
    against: str | None = None,
    browse: bool = False,
    task_files: Sequence[Path] = (),
    characteristics: bool = False,
) -> int:
    """`bench report`; gives the exit code, 1 if it is to be strict and a finding stands in the way of a claim.

    Raises:
        UsageError: the selection is empty, or mixes backbones or recipes; there is no such study to
            hold it against; only a page can be opened, or has room for texts; CSV has none for what
            tasks are like.
        CannotWrite: the file cannot be written.
    """
    import shutil

    from reports import render
    from reports.analysis.paired_runs import Nothing

    if form != "html" and (browse or (task_files and not characteristics)):
        raise UsageError(f"{'--open' if browse else '--task-file'} is for a page: --format html")
    if form == "csv" and characteristics:
        raise UsageError(
            "--characteristics: CSV has a row for each cell, and no room for what tasks are like"
        )
    tasks = [own.from_toml(path) for path in task_files]
    comparison = comparison_of(chosen, baseline)
    if (
        form == "html" and output is None and (browse or sys.stdout.isatty())
    ):  # a page is nothing to read in a terminal
        output = Path("report.html")
    texts = _texts(chosen, tasks) if form == "html" or characteristics else None
    color = form == "terminal" and output is None and sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 40)).columns
    try:
        text = render(
            comparison,
            format=form,
            command=typed(),
            width=width,
            color=color,
            against=against,
            texts=texts,
            characteristics=characteristics,
        )
    except Nothing as error:
        raise UsageError(str(error)) from error
    put(text, output)
    if form == "html" and output is not None:
        print(output)  # noqa: T201  # the answer
        if browse:
            import webbrowser

            webbrowser.open(output.absolute().as_uri())
    return int(strict and any(note.level == "red" for note in comparison.notes))


def _texts(
    chosen: Selection, tasks: Sequence[Task]
) -> Callable[[Run], Sequence[Sequence[str]] | None]:
    from harness.commands.example_texts import reader

    with opened(chosen.db) as ledger:
        wanted, _ = _wanted(ledger, chosen)
        return reader(ledger.entries(settings=wanted), tasks)


def typed() -> str:
    """The command line of this process, fit to be handed on with a report."""
    return redact(" ".join(["bench", *sys.argv[1:]]))


def put(text: str, output: Path | None) -> None:
    """Print a text, or write it to a file.

    Raises:
        CannotWrite: the file cannot be written.
    """
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise CannotWrite(f"{output} cannot be written: {error.strerror}") from error


def comparison_of(chosen: Selection, baseline: str | None) -> Comparison:
    """What the chosen results say.

    Raises:
        UsageError: the selection is empty, or mixes backbones or recipes.
    """
    from reports import compare
    from reports.analysis.paired_runs import Mixed, Nothing

    runs, said = runs_of(chosen)
    methods = request.split(chosen.methods) if chosen.methods else None
    try:
        return compare(
            runs,
            baseline=baseline,
            methods=methods,
            tasks=expanded(chosen.tasks),
            sizes=sizes_of(chosen),
            hypothesis=said,
        )
    except (Mixed, Nothing) as error:
        raise UsageError(str(error)) from error


def runs_of(chosen: Selection) -> tuple[list[Run], Hypothesis | None]:
    """The results of the chosen backbone, recipe and tasks; those on earlier data are left out with a word about it.

    Raises:
        UsageError: no backbone or recipe of that name. CorruptData: a result is not what was
            recorded.
    """
    sizes_of(chosen)
    with opened(chosen.db) as ledger:
        wanted, outdated = _wanted(ledger, chosen)
        entries = ledger.entries(settings=wanted)
        blobs = ledger.all_blobs(wanted)
        if wrong := list(doubtful(entries, blobs)):
            head = f"{shown(chosen.db)} is not what bench wrote (`bench db verify` tells more):"
            raise CorruptData("\n".join([head, *wrong[:3]]))
        runs = stored_runs.runs(entries, blobs)
        said = preregistration.kept(ledger)
    for task, count in outdated.items():
        print(  # noqa: T201
            f"bench: {task}: {count} results on earlier data of that name are left out",
            file=sys.stderr,
        )
    return runs, said


def sizes_of(chosen: Selection) -> list[int] | None:
    """The sizes asked for.

    Raises:
        UsageError: one is no size.
    """
    reading = request.Reading(GridOptions())
    sizes = (
        [reading.number("sizes", entry, least=1) for entry in request.split(chosen.sizes)]
        if chosen.sizes
        else None
    )
    if reading.problems:
        raise UsageError(*reading.problems)
    return sizes


def expanded(tasks: str | None) -> list[str] | None:
    """The tasks asked for, groups by their members."""
    if not tasks:
        return None
    names = [member for name in request.split(tasks) for member in GROUPS.get(name, (name,))]
    return list(dict.fromkeys(names))


def _wanted(ledger: Ledger, chosen: Selection) -> tuple[list[int], Counter[str]]:
    """The settings of the chosen backbone, recipe and tasks; and how many results on earlier data are left out, by task."""
    tasks = expanded(chosen.tasks)
    known, outdated = _current(ledger.settings())
    known = _one_recipe(_one_backbone(known, chosen.model), chosen.recipe)
    wanted = [one.id for one in known if not tasks or one.setting["task"]["task"] in tasks]
    return wanted or [one.id for one in known], outdated


def _current(known: Sequence[Known]) -> tuple[list[Known], Counter[str]]:
    """The settings on the data that each task was last run on; and how many jobs the others have, by task."""
    outdated = outdated_settings(known)
    old: Counter[str] = Counter()
    for one in outdated:
        old[one.setting["task"]["task"]] += one.jobs
    ids = {one.id for one in outdated}
    return [one for one in known if one.id not in ids], old


def outdated_settings(known: Sequence[Known]) -> list[Known]:
    """Those of results on other data than each task was last run on."""
    last = {one.setting["task"]["task"]: one.setting["task"] for one in known}
    return [one for one in known if one.setting["task"] != last[one.setting["task"]["task"]]]


def _one_backbone(known: list[Known], model: str | None) -> list[Known]:
    if model is None:
        return known
    lines = {one.id: BackboneSpec(**one.setting["backbone"]).line() for one in known}
    chosen = [one for one in known if model.lower() in lines[one.id].lower()]
    if not chosen and known:
        raise UsageError(
            f"no results of a backbone called {model!r}; there are: {'; '.join(sorted(set(lines.values())))}"
        )
    return chosen


def _one_recipe(known: list[Known], number: int | None) -> list[Known]:
    if number is None:
        return known
    lines = {one.id: recipe_from(one.setting["recipe"]).line() for one in known}
    recipes = sorted(set(lines.values()))
    if not 1 <= number <= len(recipes):
        raise UsageError(f"--recipe: there is no recipe {number}; there are 1 to {len(recipes)}")
    return [one for one in known if lines[one.id] == recipes[number - 1]]
