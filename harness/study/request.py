"""From options as typed to a checked request: all that is wrong is named at once, nothing heavy imported, nothing fetched."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import partial
from itertools import product
from typing import TypeVar

import methods
from harness.backbones import checkpoints
from harness.errors import UsageError
from harness.jobs import Recipe
from harness.study.grid_options import PRESETS, GridOptions
from harness.study.planning import Request
from harness.tasks import GROUPS, REGISTRY, Task, draws, own
from methods import Method
from methods.core.suggestions import did_you_mean

S = TypeVar("S")
T = TypeVar("T")
MOST = {"pack": 4096, "draws": 10_000, "seeds": 10_000, "sizes": 10_000_000, "steps": 10_000_000}
MOST_CELLS = (
    1_000_000  # of a grid: many years of one GPU, and as many as are held in memory without trouble
)
POOLINGS = ("model", "cls", "mean")
DTYPES = ("float32", "bfloat16", "float64", "tf32")


def numbers(option: str, text: str | None) -> list[int]:
    """Whole numbers separated by commas; none for nothing.

    Raises:
        UsageError: something else stands there.
    """
    try:
        return [int(part) for part in split(text)] if text else []
    except ValueError:
        raise UsageError(
            f"{option} wants whole numbers separated by commas, got {text!r}"
        ) from None


class OptionReader:
    """Reads options, collecting problems and notices."""

    def __init__(self, grid: GridOptions) -> None:
        self.grid = grid
        self.problems: list[str] = []
        self.notices: list[str] = []

    def attempt(self, read: Callable[[], T]) -> T | None:
        """What `read` gives; None, with its complaint noted, if it raises."""
        try:
            return read()
        except UsageError as error:
            self.problems += error.problems
        except ValueError as error:
            self.problems.append(str(error))
        return None

    def attempt_all(self, read: Callable[[S], T], items: Iterable[S]) -> list[T]:
        """What `read` gives for each item, less those for which it raises."""
        found = [self.attempt(partial(read, item)) for item in items]
        return [one for one in found if one is not None]

    def names(self, option: str) -> list[str]:
        """The distinct entries of a list option."""
        entries = split(self.grid.value(option))
        if not entries:
            self.problems.append(f"--{option} is empty")
        return self.distinct(option, entries)

    def distinct(self, option: str, entries: Iterable[T]) -> list[T]:
        """Entries without repetitions; a notice if there were any."""
        entries = list(entries)
        seen = list(dict.fromkeys(entries))
        if len(seen) < len(entries):
            repeated = dict.fromkeys(str(entry) for entry in seen if entries.count(entry) > 1)
            self.notices.append(
                f"--{option}: {', '.join(repeated)} was named more than once; counted once"
            )
        return seen

    def number(self, option: str, text: str | None = None, *, least: int = 0) -> int:
        """A whole number, `least` or more; `least` if it is not."""
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
        """One of a few words."""
        text = self.grid.value(option)
        if text not in allowed:
            self.problems.append(
                f"--{option}: {text!r} is not one of {', '.join(allowed)}{did_you_mean(text, allowed)}"
            )
        return text


def split(text: str) -> list[str]:
    """Entries separated by commas or spaces, except inside brackets or quotes, which are taken off.

    `prefix,simplex(vertices=2, length=5)` are two, and so are `"good film",review`.
    """
    found = re.findall(r"""(?:"[^"]*"|'[^']*'|\([^)]*\)|[^,\s"'(])+""", text.strip())
    return [re.sub(r"""(["'])(.*?)\1""", r"\2", entry) for entry in found]


def read(grid: GridOptions) -> tuple[Request, list[str]]:
    """A request and notices about it.

    Raises:
        UsageError: with everything that is wrong.
    """
    reading = OptionReader(grid)
    if grid.preset is not None and grid.preset not in PRESETS:
        reading.problems.append(f"--preset: {grid.preset!r} is not one of {', '.join(PRESETS)}")
    chosen = _methods(reading)
    tasks = _tasks(reading)
    sizes = [reading.number("sizes", entry, least=1) for entry in reading.names("sizes")]
    sizes = (
        reading.distinct("sizes", sizes)
        if len(set(sizes)) == len(sizes)
        else list(dict.fromkeys(sizes))
    )
    recipe = _recipe(reading)
    numbers = {name: reading.number(name, least=1) for name in ("draws", "seeds")}
    pooling, dtype = reading.choice("pooling", POOLINGS), reading.choice("dtype", DTYPES)
    model = grid.value("model").strip()
    if not model:
        reading.problems.append("--model is empty")
    reading.problems += _no_texts(grid)
    if not reading.problems:
        _sizes_possible(reading, tasks, sizes, recipe)
    if reading.problems:
        raise UsageError(*dict.fromkeys(reading.problems))
    request = Request(
        methods=tuple(chosen),
        tasks=tuple(tasks),
        sizes=tuple(sizes),
        model=checkpoints.spelt(model),
        pooling=pooling,
        dtype=dtype,
        recipe=recipe,
        **numbers,
    )
    if request.cells > MOST_CELLS:
        less = "ask for fewer --draws or --seeds now and for more once those are done"
        raise UsageError(
            f"the grid has {request.cells:,} jobs, and {MOST_CELLS:,} are the most: {less}"
        )
    return request, reading.notices


def _no_texts(grid: GridOptions) -> Iterator[str]:
    """Options with half a character in them, as names of files may have: a job's identity cannot hang on one."""
    for one in fields(grid):
        value = getattr(grid, one.name)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and re.search("[\ud800-\udfff]", text):
                yield f"--{one.name.strip('_').replace('_', '-')}: {text!r} is no text in UTF-8"


def _recipe(reading: OptionReader) -> Recipe:
    grid = reading.grid
    dev = grid.value("dev").strip().lower()
    if dev not in ("extra", "carved"):
        dev = str(reading.number("dev", dev, least=1)) if re.fullmatch(r"[+-]?[0-9]+", dev) else dev
        if not dev.isdecimal():
            reading.problems.append(f"--dev must be extra, carved or a number of rows, got {dev!r}")
    sampling = reading.choice("sampling", ("random", "stratified"))
    return Recipe(
        steps=reading.number("steps", least=1),
        batch_size=reading.number("batch-size", least=1),
        eval_every=reading.number("eval-every", least=1),
        patience=reading.number("patience"),
        max_length=reading.number("max-length", least=4),
        dev=dev,
        sampling="stratified" if sampling == "stratified" else "random",
        per_class=grid.per_class,
        test_limit=reading.number("test-limit"),
    )


# -- methods
# -----------------------------------------------------------------------------------------------------------


def _methods(reading: OptionReader) -> list[Method]:
    """Each method once for every combination of its options' values."""
    asked = [
        name
        for one in reading.names("methods")
        for name in (methods.REGISTRY if one == "all" else [one])
    ]
    found = reading.attempt_all(_asked, asked)
    names = reading.distinct("methods", [_short(*one) for one in found])
    variants: dict[str, dict[str, list[str]]] = {name: {} for name in names}
    for target, option, values in reading.attempt_all(_setting, reading.grid.set_):
        _apply(reading, variants, target, option, values)
    chosen: list[Method] = []
    for name, options in variants.items():
        if (many := math.prod(map(len, options.values()))) > MOST_CELLS:
            reading.problems.append(
                f"--set: {name} has {many:,} variants, and {MOST_CELLS:,} are the most: name fewer values"
            )
            continue
        combinations = [
            dict(zip(options, values, strict=True)) for values in product(*options.values())
        ]
        built = reading.attempt_all(partial(methods.build, name), combinations)
        if len(built) < len(
            combinations
        ):  # of each the first complaint was heard; its other options may be wrong as well
            base = {"base": options["base"][0]} if "base" in options else {}
            single = [
                base | {option: value} for option, values in options.items() for value in values
            ]
            reading.attempt_all(partial(methods.build, name), single)
        chosen += built
    return reading.distinct("set", chosen)


def _asked(name: str) -> tuple[str, str, Mapping[str, str]]:
    """A method's name as it was typed, as it is registered, and what an alias stands for; a plug-in must be sound."""
    methods.class_of(name)
    return name, *methods.resolve_alias(name)


def _short(name: str, canonical: str, options: Mapping[str, str]) -> str:
    """The name under which a method's variants are gathered: an alias only where it stands for options."""
    return name if options else canonical


def _setting(text: str) -> tuple[str, str, list[str]]:
    """`METHOD.OPTION=VALUE,VALUE` in its three parts; the method is empty where none was named."""
    match = re.fullmatch(r"(?:([\w-]+)\.)?([\w-]+)=(.*)", text.strip())
    values = split(match[3]) if match else []
    if match is None or not values:
        raise ValueError(f"--set wants [METHOD.]OPTION=VALUE[,VALUE], got {text!r}")
    name = _short(match[1], *methods.resolve_alias(match[1])) if match[1] else ""
    return name, match[2].replace("-", "_"), values


def _apply(
    reading: OptionReader,
    variants: dict[str, dict[str, list[str]]],
    target: str,
    option: str,
    values: list[str],
) -> None:
    """Note an option's values for the methods that it is meant for."""
    named = [
        name for name in variants if target in (name, methods.canonical(name))
    ]  # `simplex` means `simplex-lora` as well
    if target and not named:
        reading.problems.append(f"--set {target}.{option}: {target} is not among --methods")
        return
    targets = (
        named if target else [name for name in variants if option in _options(name, variants[name])]
    )
    if not targets and variants:
        known = {one for name in variants for one in _options(name, variants[name])}
        hint = did_you_mean(option, known) or f"; they have {', '.join(sorted(known))}"
        reading.problems.append(f"--set {option}: none of the methods has such an option{hint}")
    for name in targets:
        variants[name][option] = values


def _options(name: str, chosen: Mapping[str, list[str]]) -> Iterable[str]:
    canonical, preset = methods.resolve_alias(name)
    bases = chosen.get("base", [preset.get("base", "prefix")])
    found: set[str] = set()
    for base in bases:
        with suppress(ValueError):  # no such base, or a broken one: its building says so
            found |= methods.options_of(canonical, base)
    return found


# -- tasks
# -------------------------------------------------------------------------------------------------------------


def _tasks(reading: OptionReader) -> list[Task]:
    """Tasks by name and group, and those of the user's own files; with her own, no others unless they are asked for."""
    grid, mine = reading.grid, _own(reading)
    asked = grid.tasks is not None or not (grid.task_file or grid.data)
    found: list[Task] = []
    for name in reading.names("tasks") if asked else []:
        if name in GROUPS:
            found += [REGISTRY[member] for member in GROUPS[name]]
            found += [REGISTRY["wnli"]] if name == "glue" and grid.wnli else []
        elif name in REGISTRY:
            found.append(REGISTRY[name])
        else:
            known = [*GROUPS, *REGISTRY]
            hint = did_you_mean(name, known, 3) or f"; there are {', '.join(known)}"
            reading.problems.append(f"no task {name!r}{hint}")
    for task in mine:
        if task.name in REGISTRY or task.name in GROUPS:
            reading.problems.append(
                f"a task called {task.name!r} exists already: give yours another name (key `name` of a task file)"
            )
    names = reading.distinct("tasks", [task.name for task in [*found, *mine]])
    by_name = {task.name: task for task in [*found, *mine]}
    return [by_name[name] for name in names]


def _own(reading: OptionReader) -> list[Task]:
    grid = reading.grid
    tasks = reading.attempt_all(own.from_toml, grid.task_file)
    if grid.data is None:
        extra = [
            f"--{name}"
            for name in ("text", "label", "test", "kind")
            if getattr(grid, name) is not None
        ]
        if extra:
            reading.problems.append(f"{', '.join(extra)} goes with --data FILE")
    elif grid.text is None or grid.label is None:
        reading.problems.append("--data needs --text COLUMN and --label COLUMN")
    elif grid.kind not in (None, "classes", "number"):
        reading.problems.append(f"--kind must be classes or number, got {grid.kind!r}")
    else:
        regression = {"classes": False, "number": True}.get(grid.kind or "")
        columns = [column.strip() for column in grid.text.split(",")]
        task = reading.attempt(
            partial(
                own.from_options,
                grid.data,
                columns,
                grid.label,
                test=grid.test,
                regression=regression,
            )
        )
        tasks += [task] if task else []
    return tasks


def _sizes_possible(
    reading: OptionReader, tasks: Sequence[Task], sizes: Sequence[int], recipe: Recipe
) -> None:
    """Refuse a size that none of the tasks can give; where some can, the others' cells are shown as infeasible."""
    for size in sizes:
        reasons = {task.name: draws.feasible(task, size, recipe) for task in tasks}
        if tasks and all(reasons.values()):
            name, reason = next(iter(reasons.items()))
            where = (
                f"{name}: {reason}"
                if len(reasons) == 1
                else f"none of the tasks can give it ({name}: {reason}, ...)"
            )
            reading.problems.append(f"--sizes: {size} is too large or too small: {where}")
