"""Read options as typed into a checked request: report all problems at once, import nothing heavy, download nothing."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import partial
from itertools import product
from typing import Literal, TypeVar, cast

import methods
from harness.backbones import checkpoints
from harness.errors import UsageError
from harness.jobs import Recipe
from harness.study.grid_options import PRESETS, GridOptions
from harness.study.planning import Request
from harness.tasks import GROUPS, REGISTRY, Task, cells, delimiters, draws, task_file, user_files
from methods import Method
from methods.core.suggestions import did_you_mean

S = TypeVar("S")
T = TypeVar("T")
MOST = {"pack": 4096, "draws": 10_000, "seeds": 10_000, "sizes": 10_000_000, "steps": 10_000_000}
# The most cells of a grid: many years of one GPU, and as many as fit in memory.
MOST_CELLS = 1_000_000
POOLINGS = ("model", "cls", "mean")
DTYPES = ("float32", "bfloat16", "float64", "tf32")


def numbers(option: str, text: str | None) -> list[int]:
    """Return whole numbers that are separated by commas; an empty list for no text.

    Raises:
        UsageError: An entry is not a whole number.
    """
    try:
        return [int(part) for part in split(text)] if text else []
    except ValueError:
        raise UsageError(
            f"{option} must be whole numbers separated by commas, got {text!r}"
        ) from None


class OptionReader:
    """Reads options, and collects problems and notices."""

    def __init__(self, grid: GridOptions) -> None:
        self.grid = grid
        self.problems: list[str] = []
        self.notices: list[str] = []

    def attempt(self, read: Callable[[], T]) -> T | None:
        """Return the result of `read`; if it raises, note the problem and return None."""
        try:
            return read()
        except UsageError as error:
            self.problems += error.problems
        except ValueError as error:
            self.problems.append(str(error))
        return None

    def attempt_all(self, read: Callable[[S], T], items: Iterable[S]) -> list[T]:
        """Return the results of `read` for the items for which it does not raise."""
        results = [self.attempt(partial(read, item)) for item in items]
        return [result for result in results if result is not None]

    def names(self, option: str) -> list[str]:
        """Return the distinct entries of an option that is a list."""
        entries = split(self.grid.value(option))
        if not entries:
            self.problems.append(f"--{option} is empty")
        return self.distinct(option, entries)

    def distinct(self, option: str, entries: Iterable[T]) -> list[T]:
        """Return the entries without repetitions, and note repetitions."""
        entries = list(entries)
        unique = list(dict.fromkeys(entries))
        if len(unique) < len(entries):
            repeated = dict.fromkeys(str(entry) for entry in unique if entries.count(entry) > 1)
            self.notices.append(
                f"--{option}: {', '.join(repeated)} was named more than once; counted once"
            )
        return unique

    def number(self, option: str, text: str | None = None, *, least: int = 0) -> int:
        """Return an option as a whole number of `least` or more; `least` if it is something else."""
        text = self.grid.value(option.replace("-", "_")) if text is None else text
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
            self.problems.append(f"--{option}: {text!r} is not a whole number")
            return least
        number = int(text)
        most = MOST.get(option, 10**9)
        if not least <= number <= most:
            self.problems.append(f"--{option}: {number} is not between {least} and {most}")
            return least
        return number

    def choice(self, option: str, allowed: Sequence[str]) -> str:
        """Return an option that is one of a few words."""
        text = self.grid.value(option.replace("-", "_"))
        if text not in allowed:
            hint = did_you_mean(text, allowed)
            self.problems.append(f"--{option}: {text!r} is not one of {', '.join(allowed)}{hint}")
        return text


def split(text: str) -> list[str]:
    """Split a text at commas and spaces, except inside brackets or quotes; quotes are removed.

    `prefix,simplex(vertices=2, length=5)` has two entries, and so has `"good film",review`.
    """
    entries = re.findall(r"""(?:"[^"]*"|'[^']*'|\([^)]*\)|[^,\s"'(])+""", text.strip())
    return [re.sub(r"""(["'])(.*?)\1""", r"\2", entry) for entry in entries]


def read(grid: GridOptions) -> tuple[Request, list[str]]:
    """Return the request that the options make, and notices about it.

    Raises:
        UsageError: With everything that is wrong.
    """
    reader = OptionReader(grid)
    if grid.preset is not None and grid.preset not in PRESETS:
        reader.problems.append(
            f"--preset: {grid.preset!r} is not one of {', '.join(PRESETS)}"
            f"{did_you_mean(grid.preset, PRESETS)}"
        )
    variants = _methods(reader)
    tasks = _tasks(reader)
    sizes = [reader.number("sizes", entry, least=1) for entry in reader.names("sizes")]
    recipe = _recipe(reader)
    draw_count, seed_count = (reader.number(name, least=1) for name in ("draws", "seeds"))
    pooling, dtype = reader.choice("pooling", POOLINGS), reader.choice("dtype", DTYPES)
    model = grid.value("model").strip()
    if not model:
        reader.problems.append("--model is empty")
    reader.problems += _invalid_texts(grid)
    if not reader.problems:
        sizes = _feasible_sizes(reader, tasks, sizes, recipe)
    if reader.problems:
        raise UsageError(*dict.fromkeys(reader.problems))
    request = Request(
        methods=tuple(variants),
        tasks=tuple(tasks),
        sizes=tuple(dict.fromkeys(sizes)),
        draws=draw_count,
        seeds=seed_count,
        model=checkpoints.canonical_name(model),
        pooling=pooling,
        dtype=dtype,
        recipe=recipe,
    )
    if request.cells > MOST_CELLS:
        raise UsageError(
            f"the grid has {request.cells:,} jobs, and at most {MOST_CELLS:,} are possible: "
            "ask for fewer --draws or --seeds now and for more when those are done"
        )
    return request, reader.notices


def _invalid_texts(grid: GridOptions) -> Iterator[str]:
    """Yield a problem for each option with a lone surrogate, as file names may have: a job's identity must be UTF-8."""
    for option in fields(grid):
        value = getattr(grid, option.name)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and re.search("[\ud800-\udfff]", text):
                name = option.name.strip("_").replace("_", "-")
                yield f"--{name}: {text!r} is not valid UTF-8"


def _recipe(reader: OptionReader) -> Recipe:
    grid = reader.grid
    dev = grid.value("dev").strip().lower()
    if re.fullmatch(r"[+-]?[0-9]+", dev):
        dev = str(reader.number("dev", dev, least=1))
    elif dev not in ("extra", "carved"):
        reader.problems.append(f"--dev must be extra, carved or a number of rows, got {dev!r}")
    sampling = reader.choice("sampling", ("random", "stratified"))
    truncate = reader.choice("truncate", ("head", "tail", "both"))
    weights = reader.choice("class-weights", ("none", "balanced"))
    return Recipe(
        steps=reader.number("steps", least=1),
        batch_size=reader.number("batch-size", least=1),
        eval_every=reader.number("eval-every", least=1),
        patience=reader.number("patience"),
        max_length=reader.number("max-length", least=4),
        dev=dev,
        sampling="stratified" if sampling == "stratified" else "random",
        per_class=grid.per_class,
        test_limit=reader.number("test-limit"),
        truncate=cast(Literal["head", "tail", "both"], truncate),
        class_weights="balanced" if weights == "balanced" else "none",
    )


# -- methods
# ----------------------------------------------------------------------------------------------------


def _methods(reader: OptionReader) -> list[Method]:
    """Return each method once for every combination of the values of its options."""
    names = [
        name
        for entry in reader.names("methods")
        for name in (methods.REGISTRY if entry == "all" else [entry])
    ]
    names = reader.distinct("methods", reader.attempt_all(_variant_name, names))
    values: dict[str, dict[str, list[str]]] = {name: {} for name in names}
    for setting in reader.attempt_all(_parse_setting, reader.grid.set_):
        _apply_setting(reader, values, *setting)
    variants: list[Method] = []
    for name, options in values.items():
        variants += _variants(reader, name, options)
    return reader.distinct("set", variants)


def _variants(
    reader: OptionReader, name: str, options: Mapping[str, Sequence[str]]
) -> list[Method]:
    """Return a method for every combination of the values of its options."""
    if (count := math.prod(map(len, options.values()))) > MOST_CELLS:
        reader.problems.append(
            f"--set: {name} has {count:,} variants, and at most {MOST_CELLS:,} are possible: "
            "name fewer values"
        )
        return []
    combinations = [
        dict(zip(options, values, strict=True)) for values in product(*options.values())
    ]
    built = reader.attempt_all(partial(methods.build, name), combinations)
    if len(built) < len(combinations):
        # Each failure names its first problem; building with one option at a time finds the others.
        base = {"base": options["base"][0]} if "base" in options else {}
        single = [base | {option: value} for option, values in options.items() for value in values]
        reader.attempt_all(partial(methods.build, name), single)
    return built


def _variant_name(name: str) -> str:
    """Return the name under which variants of a method are collected: an alias only if it stands for options.

    Raises:
        ValueError: There is no such method, or it is a plug-in that is broken.
    """
    methods.class_of(name)
    canonical, options = methods.resolve_alias(name)
    return name if options else canonical


def _parse_setting(text: str) -> tuple[str, str, list[str]]:
    """Return the method, the option and the values of `METHOD.OPTION=VALUE,VALUE`; without a method, an empty text.

    Raises:
        ValueError: The text has another form, or there is no such method.
    """
    match = re.fullmatch(r"(?:([\w-]+)\.)?([\w-]+)=(.*)", text.strip())
    values = split(match[3]) if match else []
    if match is None or not values:
        raise ValueError(f"--set must be [METHOD.]OPTION=VALUE[,VALUE], got {text!r}")
    method = ""
    if match[1]:
        canonical, options = methods.resolve_alias(match[1])
        method = match[1] if options else canonical
    return method, match[2].replace("-", "_"), values


def _apply_setting(
    reader: OptionReader,
    variants: dict[str, dict[str, list[str]]],
    method: str,
    option: str,
    values: list[str],
) -> None:
    """Note the values of an option for the methods that it applies to."""
    # `simplex` names `simplex-lora` as well.
    named = [name for name in variants if method in (name, methods.canonical(name))]
    if method and not named:
        reader.problems.append(f"--set {method}.{option}: {method} is not among --methods")
        return
    targets = named or [name for name in variants if option in _options(name, variants[name])]
    if not targets and variants:
        known = {entry for name in variants for entry in _options(name, variants[name])}
        hint = did_you_mean(option, known) or f"; they have {', '.join(sorted(known))}"
        reader.problems.append(f"--set {option}: none of the methods has such an option{hint}")
    for name in targets:
        variants[name][option] = values


def _options(name: str, values: Mapping[str, list[str]]) -> set[str]:
    """Return the names of a method's options; those of a simplex depend on its bases."""
    canonical, preset = methods.resolve_alias(name)
    options: set[str] = set()
    for base in values.get("base", [preset.get("base", "prefix")]):
        with suppress(ValueError):  # building the method reports an unknown or broken base
            options |= methods.options_of(canonical, base)
    return options


# -- tasks
# ----------------------------------------------------------------------------------------------------


def _tasks(reader: OptionReader) -> list[Task]:
    """Return the named tasks and those of the user's files; with such files, no default tasks are added."""
    grid, own_tasks = reader.grid, _own_tasks(reader)
    named = grid.tasks is not None or not (grid.task_file or grid.data)
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
                f"there is a task {task.name!r} already: give yours another name (key `name` of a task file)"
            )
    named_twice = [name for name, n in Counter(task.name for task in own_tasks).items() if n > 1]
    for name in named_twice:
        reader.problems.append(
            f"two of your tasks are named {name!r}: give one another name (--name, or the key `name`)"
        )
    by_name = {task.name: task for task in [*tasks, *own_tasks]}
    names = reader.distinct("tasks", [task.name for task in [*tasks, *own_tasks]])
    return [by_name[name] for name in names]


def _own_tasks(reader: OptionReader) -> list[Task]:
    """Return the tasks of --task-file and --data."""
    grid = reader.grid
    tasks = reader.attempt_all(task_file.read, grid.task_file)
    if grid.data is None:
        names = (
            *("text", "label", "test", "kind", "group", "metrics", "positive"),
            *("name", "strict_data", "delimiter", "encoding"),
        )
        unused = [f"--{name.replace('_', '-')}" for name in names if getattr(grid, name)]
        if unused:
            verb = "needs" if len(unused) == 1 else "need"
            reader.problems.append(f"{', '.join(unused)} {verb} --data FILE")
    elif grid.text is None or grid.label is None:
        reader.problems.append("--data needs --text COLUMN and --label COLUMN")
    elif grid.metrics is not None and not split(grid.metrics):
        reader.problems.append("--metrics is empty")
    elif grid.kind not in (None, "classes", "number"):
        reader.problems.append(f"--kind must be classes or number, got {grid.kind!r}")
    else:
        delimiter = None
        if grid.delimiter is not None:
            delimiter = reader.attempt(partial(delimiters.delimiter_named, grid.delimiter))
        task = reader.attempt(
            partial(
                user_files.from_options,
                grid.data,
                cells.column_names(grid.text),
                cells.column_name(grid.label),
                test=grid.test,
                regression={"classes": False, "number": True}.get(grid.kind or ""),
                metrics=split(grid.metrics) if grid.metrics is not None else None,
                group=cells.column_name(grid.group) if grid.group else None,
                positive=grid.positive,
                name=grid.name,
                strict=grid.strict_data,
                delimiter=delimiter,
                encoding=grid.encoding,
            )
        )
        tasks += [task] if task else []
    reader.notices += [text for task in tasks for text in (*task.description, *task.findings)]
    return tasks


def _feasible_sizes(
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
