"""What `report` does: runs out of the ledger, opened for reading only, into words and tables."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import request, scores
from harness.errors import CannotWrite, CorruptData, UsageError
from harness.jobs import BackboneSpec, recipe_from
from harness.ledger import Known
from harness.options import GridOptions
from harness.reading import opened
from harness.tasks import GROUPS
from harness.verifying import doubtful


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which results to read."""

    db: str
    methods: str | None
    tasks: str | None
    sizes: str | None
    model: str | None
    recipe: int | None


def write_report(chosen: Selection, form: str, baseline: str | None, output: Path | None) -> None:
    """`bench report`.

    Raises:
        UsageError: the selection is empty, or mixes backbones or recipes.
    """
    import shutil

    from reports import compare, render
    from reports.frame import Mixed, Nothing

    reading = request.Reading(GridOptions())
    sizes = [reading.number("sizes", entry, least=1) for entry in request.split(chosen.sizes)] if chosen.sizes else None
    if reading.problems:
        raise UsageError(*reading.problems)
    tasks = _expanded(chosen.tasks)
    with opened(chosen.db) as ledger:
        known, outdated = _current(ledger.settings())
        known = _one_recipe(_one_backbone(known, chosen.model), chosen.recipe)
        wanted = [one.id for one in known if not tasks or one.setting["task"]["task"] in tasks]
        wanted = wanted or [one.id for one in known]
        entries = ledger.entries(settings=wanted)
        blobs = ledger.all_blobs(wanted)
        if wrong := list(doubtful(entries, blobs)):
            raise CorruptData("\n".join([f"{chosen.db} is not what bench wrote (`bench db verify` tells more):", *wrong[:3]]))
        runs = scores.runs(entries, blobs)
    for task, count in outdated.items():
        print(f"bench: {task}: {count} results on earlier data of that name are left out", file=sys.stderr)  # noqa: T201
    methods = request.split(chosen.methods) if chosen.methods else None
    try:
        comparison = compare(runs, baseline=baseline, methods=methods, tasks=tasks, sizes=sizes)
    except (Mixed, Nothing) as error:
        raise UsageError(str(error)) from error
    color = form == "terminal" and output is None and sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 40)).columns
    command = " ".join(["bench", *sys.argv[1:]])
    text = render(comparison, format=form, command=command, width=width, color=color)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise CannotWrite(f"{output} cannot be written: {error.strerror}") from error


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


def _expanded(tasks: str | None) -> list[str] | None:
    if not tasks:
        return None
    names = [member for name in request.split(tasks) for member in GROUPS.get(name, (name,))]
    return list(dict.fromkeys(names))


def _one_backbone(known: list[Known], model: str | None) -> list[Known]:
    if model is None:
        return known
    lines = {one.id: BackboneSpec(**one.setting["backbone"]).line() for one in known}
    chosen = [one for one in known if model.lower() in lines[one.id].lower()]
    if not chosen and known:
        raise UsageError(f"no results of a backbone called {model!r}; there are: {'; '.join(sorted(set(lines.values())))}")
    return chosen


def _one_recipe(known: list[Known], number: int | None) -> list[Known]:
    if number is None:
        return known
    lines = {one.id: recipe_from(one.setting["recipe"]).line() for one in known}
    recipes = sorted(set(lines.values()))
    if not 1 <= number <= len(recipes):
        raise UsageError(f"--recipe: there is no recipe {number}; there are 1 to {len(recipes)}")
    return [one for one in known if lines[one.id] == recipes[number - 1]]
