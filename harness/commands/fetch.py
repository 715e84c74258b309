"""`bench fetch`: download the model and the data that a grid needs."""

from collections.abc import Callable

from rich.console import Console

from harness.backbones import checkpoints
from harness.scheduling.summary import print_line, progress_printer
from harness.study import automatic, planning, request
from harness.study.grid_options import GridOptions
from harness.study.planning import Plan
from harness.wording import plural


def fetch_grid(grid: GridOptions) -> None:
    """Download the model and the data of a grid, and print a line about each.

    Raises:
        BenchError: The request is wrong, or something is not available.
    """
    out = Console()
    progress = progress_printer(Console(stderr=True))
    plan = planning.plan(automatic.resolve(request.read(grid)[0], progress), progress)
    for line in fetch(plan, set(plan.tasks), progress):
        print_line(out, line)


def fetch(plan: Plan, task_names: set[str], progress: Callable[[str], None]) -> list[str]:
    """Download the model and the data of these tasks, since workers have no network.

    A plan whose draws were known from the cache has not read any data.

    Returns:
        A line about the model and about each split.
    """
    backbone = plan.backbone
    progress(f"fetching {backbone.name}")
    lines = [f"{backbone.name}: {checkpoints.locate_verified(backbone.name, backbone.revision)}"]
    for name, task in plan.tasks.items():
        if name not in task_names:
            continue
        progress(f"reading {name}")
        revision = task.reader.revision()
        for split in dict.fromkeys([task.train, *([] if task.holdout else task.tests.values())]):
            count = plural(len(task.reader.examples(split, revision)), "row")
            lines.append(f"{name} {split}: {count} at {revision[:12]}")
    return lines
