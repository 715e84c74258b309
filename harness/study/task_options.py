"""The tasks that options name or describe, and the sizes that they have rows for."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from harness.jobs import Recipe
from harness.study.option_reader import OptionReader, split
from harness.tasks import GROUPS, REGISTRY, Task, draws, metrics, sources, task_file, user_files
from harness.tasks.files import cells, delimiters
from harness.tasks.label_kinds import KINDS, NamedKind
from harness.tasks.sources import Source
from methods.core.suggestions import did_you_mean


def read(reader: OptionReader) -> list[Task]:
    """Return the named tasks and those of the user's files; with such files, no default tasks are added."""
    grid, own_tasks = reader.grid, _own_tasks(reader)
    named = grid.tasks is not None or not (grid.task_file or grid.data or grid.dataset)
    tasks: list[Task] = []
    for name in reader.names("tasks") if named else []:
        if name in GROUPS:
            tasks += [REGISTRY[member] for member in GROUPS[name]]
            tasks += [REGISTRY["wnli"]] if name == "glue" and grid.wnli else []
        elif name in REGISTRY:
            tasks.append(REGISTRY[name])
        else:
            known = [*GROUPS, *REGISTRY]
            hint = did_you_mean(name, known, 3) or f"; there are {', '.join(known)}"
            reader.problems.append(f"no task {name!r}{hint}")
    for task in own_tasks:
        if task.name in REGISTRY or task.name in GROUPS:
            reader.problems.append(
                f"there is a task {task.name!r} already: name yours with --name, or the key `name` of a task file"
            )
    named_twice = [name for name, n in Counter(task.name for task in own_tasks).items() if n > 1]
    for name in named_twice:
        reader.problems.append(
            f"two of your tasks are named {name!r}: give one another name (--name, or the key `name`)"
        )
    by_name = {task.name: task for task in [*tasks, *own_tasks]}
    names = reader.distinct("tasks", [task.name for task in [*tasks, *own_tasks]])
    return [by_name[name] for name in names]


# Options that need a dataset of the Hub, and those that need it or a file.
_OF_DATASET = ("config", "split", "test_split")
_OF_FILE = ("test", "delimiter", "encoding")
_OF_DATA = ("text", "label", "kind", "group", "metrics", "positive", "name", "strict_data")


def _own_tasks(reader: OptionReader) -> list[Task]:
    """Return the tasks of --task-file, --data and --dataset."""
    grid = reader.grid
    tasks = reader.attempt_all(task_file.read, grid.task_file)
    some = grid.data is not None or grid.dataset is not None
    needs: list[tuple[Sequence[str], bool, str]] = [
        (_OF_DATASET, grid.dataset is not None, "--dataset NAME"),
        (_OF_FILE, grid.data is not None, "--data FILE"),
        (_OF_DATA, some, "--data FILE or --dataset NAME"),
    ]
    for options, given, needed in needs:
        unused = [f"--{name.replace('_', '-')}" for name in options if getattr(grid, name)]
        if unused and not given:
            verb = "needs" if len(unused) == 1 else "need"
            reader.problems.append(f"{', '.join(unused)} {verb} {needed}")
    if grid.data is not None and grid.dataset is not None:
        reader.problems.append(
            "pass --data FILE or --dataset NAME, not both: a task file can describe another"
        )
    elif grid.data is not None or grid.dataset is not None:
        task = _task_of_data(reader)
        tasks += [task] if task else []
    reader.notices += [text for task in tasks for text in (*task.description, *task.findings)]
    return tasks


def _task_of_data(reader: OptionReader) -> Task | None:
    """Return the task of --data or --dataset; None if something is wrong with it."""
    grid, before = reader.grid, len(reader.problems)
    if grid.text is None or grid.label is None:
        option = "--data" if grid.data is not None else "--dataset"
        reader.problems.append(f"{option} needs --text COLUMN and --label COLUMN")
    if grid.metrics is not None and not split(grid.metrics):
        reader.problems.append("--metrics is empty")
    if grid.kind not in (None, *KINDS):
        reader.problems.append(f"--kind must be {' or '.join(KINDS)}, got {grid.kind!r}")
    delimiter = None
    if grid.delimiter is not None:
        delimiter = reader.attempt(partial(delimiters.delimiter_named, grid.delimiter))
    origin: Path | Source | None = grid.data
    if grid.dataset is not None and len(reader.problems) == before:
        origin = reader.attempt(
            partial(
                sources.hub_splits,
                grid.dataset.strip(),
                grid.config,
                grid.split or "train",
                grid.test_split,
            )
        )
    if origin is None or len(reader.problems) > before:
        return None
    assert grid.text is not None  # or there is a problem
    assert grid.label is not None
    return reader.attempt(
        partial(
            user_files.from_options,
            origin,
            cells.column_names(grid.text),
            cells.column_names(grid.label)
            if grid.kind in ("multilabel", "text")
            else [cells.column_name(grid.label)],
            test=grid.test,
            kind=cast("NamedKind | None", grid.kind),  # checked above
            metrics=[metrics.located(name, Path()) for name in split(grid.metrics)]
            if grid.metrics is not None
            else None,
            group=cells.column_name(grid.group) if grid.group else None,
            positive=grid.positive,
            name=grid.name,
            strict=grid.strict_data,
            delimiter=delimiter,
            encoding=grid.encoding,
        )
    )


def limited_tests(tasks: Iterable[Task], recipe: Recipe) -> Iterator[str]:
    """Yield a sentence for each test split of the user's of which only a part is tested on."""
    for task in tasks:
        if task.test_rows and 0 < recipe.test_limit < task.test_rows:
            yield (
                f"{task.name}: {recipe.test_limit:,} of the {task.test_rows:,} test rows are tested on, the same "
                "in every draw (--test-limit; 0: all of them)"
            )


def feasible_sizes(
    reader: OptionReader, tasks: Sequence[Task], sizes: Sequence[int], recipe: Recipe
) -> list[int]:
    """Return the sizes, and instead of one that no task has rows for, the largest that a file of the user gives.

    If there is no such file, the size is a problem. If only some tasks have the rows, the plan marks the others as
    infeasible.
    """
    feasible = []
    for size in sizes:
        reasons = {task.name: draws.infeasible_reason(task, size, recipe) for task in tasks}
        if not tasks or not all(reasons.values()):
            feasible.append(size)
            continue
        name, reason = next(iter(reasons.items()))
        others = "" if len(reasons) == 1 else ", and no other task has the rows"
        where = f"{name}: {reason}{others}"
        own = [task for task in tasks if task.name not in REGISTRY]
        largest = max((draws.largest_size(task, size, recipe) for task in own), default=0)
        if largest:
            feasible.append(largest)
            reader.notices.append(f"--sizes: {largest} instead of {size} ({where})")
        else:
            reader.problems.append(f"--sizes: {size} is too large or too small: {where}")
    return feasible
