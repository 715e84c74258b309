"""The options of `bench run`, checked together, so that one message says all that is wrong."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

import methods
from harness.errors import UsageError
from harness.ledger.database import is_url
from harness.scheduling.executors import devices as device_choice
from harness.scheduling.run_options import RunOptions
from harness.scheduling.summary import print_line, progress_printer
from harness.study import automatic, option_reader, planning, preregistration, request
from harness.study.grid_options import GridOptions
from reports.analysis.hypothesis import Hypothesis


class CheckedCommand(NamedTuple):
    """A command in which nothing is wrong."""

    request: planning.Request
    devices: str | list[str]  # a list, or `auto`
    hypothesis: Hypothesis | None


def check(grid: GridOptions, options: RunOptions, log: Console) -> CheckedCommand:
    """Return the command as the program understands it, and print notices about it.

    Raises:
        UsageError: With everything that is wrong.
    """
    reader = option_reader.OptionReader(grid)
    checked: planning.Request | None = None
    try:
        checked, notices = request.read(grid)
        for notice in notices:
            print_line(log, f"note: {notice}")
    except UsageError as error:
        reader.problems += error.problems
    reader.number("jobs", options.jobs)
    if options.timeout is not None:
        reader.number("timeout", options.timeout, least=1)
    if options.max_failures is not None:
        reader.number("max-failures", options.max_failures, least=1)
    if options.shard is not None:
        reader.attempt(partial(shard, options.shard))
    if options.pack != "auto":
        reader.number("pack", options.pack, least=1)
    devices = reader.attempt(partial(device_choice.parse, options.devices)) or "auto"
    reader.problems += _pack_problems(options, devices)
    if not is_url(options.db) and Path(options.db).is_dir():
        reader.problems.append(f"--db: {options.db} is a folder; name a file")
    hypothesis = None
    if options.hypothesis is not None and checked is not None:
        hypothesis = reader.attempt(
            partial(
                preregistration.read,
                options.hypothesis,
                options.rope,
                list(dict.fromkeys(methods.label(method) for method in checked.methods)),
                options.max_draws,
            )
        )
    elif options.rope is not None and options.hypothesis is None:
        reader.problems.append(
            "--rope needs --hypothesis: a region that is chosen without a hypothesis proves nothing"
        )
    if options.max_draws is not None and options.hypothesis is None:
        reader.problems.append("--max-draws needs --hypothesis: it declares how a study ends")
    if reader.problems or checked is None:
        raise UsageError(*reader.problems)
    return CheckedCommand(checked, devices, hypothesis)


def resolve(checked: CheckedCommand, log: Console) -> CheckedCommand:
    """Return the command with what the backbone decides; the hypothesis names methods by their labels after that."""
    resolved = automatic.resolve(checked.request, progress_printer(log))
    if (hypothesis := checked.hypothesis) is not None:
        pairs = zip(checked.request.methods, resolved.methods, strict=True)
        labels = {methods.label(before): methods.label(after) for before, after in pairs}
        hypothesis = hypothesis._replace(
            method=labels[hypothesis.method], baseline=labels[hypothesis.baseline]
        )
    return checked._replace(request=resolved, hypothesis=hypothesis)


def _pack_problems(options: RunOptions, devices: str | list[str]) -> list[str]:
    """Return what is wrong with the options that act on packs."""
    problems = []
    for chosen, effect in (
        (options.compiled, "--compile compiles"),
        (options.captured, "--cuda-graphs captures"),
    ):
        if chosen and (options.pack == "1" or options.timing):
            cause = "--timing" if options.timing else "--pack 1"
            problems.append(f"{effect} packs, and {cause} runs without packs")
    if (
        options.captured
        and devices != "auto"
        and not all(device.startswith("cuda") for device in devices)
    ):
        problems.append(f"--cuda-graphs requires CUDA devices, got --devices {options.devices}")
    return problems


def shard(text: str) -> tuple[int, int]:
    """Return the number of a part and the number of parts: (3, 16) for `3/16`.

    Raises:
        UsageError: The text has another form.
    """
    number, _, parts = text.partition("/")
    if number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts):
        return int(number), int(parts)
    raise UsageError(f"--shard must be a part of a whole, such as 3/16, got {text!r}")
