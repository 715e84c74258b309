"""Read options as typed into a checked request: report all problems at once, import nothing heavy, download nothing."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import partial
from itertools import product
from typing import Literal, cast

import methods
from harness.backbones import checkpoints
from harness.errors import UsageError
from harness.jobs import Recipe
from harness.study import task_options
from harness.study.grid_options import GridOptions
from harness.study.option_reader import OptionReader, split
from harness.study.planning import Request
from harness.study.presets import PRESETS
from harness.tasks.base import Task
from methods import Method
from methods.core.suggestions import did_you_mean

# The most cells of a grid: many years of one GPU, and as many as fit in memory.
MOST_CELLS = 1_000_000
POOLINGS = ("model", "cls", "mean")
DTYPES = ("float32", "bfloat16", "float64", "tf32")


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
    tasks = task_options.read(reader)
    variants = _methods(reader, tasks)
    sizes = [reader.number("sizes", entry, least=1) for entry in reader.names("sizes")]
    recipe = _recipe(reader)
    draw_count, seed_count = (reader.number(name, least=1) for name in ("draws", "seeds"))
    pooling, dtype = reader.choice("pooling", POOLINGS), reader.choice("dtype", DTYPES)
    model = grid.value("model").strip()
    if not model:
        reader.problems.append("--model is empty")
    reader.problems += _invalid_texts(grid)
    if tasks and not any(task.labels for task in tasks):
        reader.problems += _for_classes(recipe)
    if not reader.problems:
        sizes = task_options.feasible_sizes(reader, tasks, sizes, recipe)
        reader.notices += task_options.limited_tests(tasks, recipe)
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


def _for_classes(recipe: Recipe) -> Iterator[str]:
    """Yield a problem for each option that does nothing where no task has classes."""
    if recipe.class_weights != "none":
        yield "--class-weights needs a task with classes"
    if recipe.sampling == "stratified":
        yield "--sampling stratified needs a task with classes"
    if recipe.per_class:
        yield "--per-class needs a task with classes"


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
    auto = grid.value("max_length").strip().lower() == "auto"
    sampling = reader.choice("sampling", ("random", "stratified"))
    truncate = reader.choice("truncate", ("head", "tail", "both"))
    weights = reader.choice("class-weights", ("none", "balanced"))
    dev_score = reader.choice("dev-score", ("loss", "metric"))
    return Recipe(
        steps=reader.number("steps", least=1),
        batch_size=reader.number("batch-size", least=1),
        eval_every=reader.number("eval-every", least=1),
        patience=reader.number("patience"),
        # 0: `row_lengths` chooses it
        max_length=0 if auto else reader.number("max-length", least=4),
        dev=dev,
        sampling="stratified" if sampling == "stratified" else "random",
        per_class=grid.per_class,
        test_limit=reader.number("test-limit"),
        truncate=cast(Literal["head", "tail", "both"], truncate),
        class_weights="balanced" if weights == "balanced" else "none",
        target_length=reader.number("target-length", least=2),
        beams=reader.number("beams", least=1),
        length_penalty=reader.decimal("length-penalty"),
        dev_score="metric" if dev_score == "metric" else "loss",
    )


# -- methods
# ----------------------------------------------------------------------------------------------------


def _every_method(tasks: Sequence[Task]) -> list[str]:
    """Return the names of all methods that suit some of the tasks: to write text, or to classify."""
    purposes = {task.text for task in tasks} or {False}
    suited = {name for writes in purposes for name in methods.suitable(writes=writes)}
    return [name for name in methods.REGISTRY if name in suited]


def _methods(reader: OptionReader, tasks: Sequence[Task]) -> list[Method]:
    """Return each method once for every combination of the values of its options."""
    names = [
        name
        for entry in reader.names("methods")
        for name in (_every_method(tasks) if entry == "all" else [entry])
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
