"""Do methods learn? Makes the results of `results.db.example` again and holds them against the bare head.

    python -m tests.benchmarks.learning [DATABASE]

Every method that trains inside the backbone must beat a head on the frozen backbone by 5 points on
at least three toy tasks at size 500, and must lose 5 points there without its own tensors, as the
trained head alone: mean of the draws.
"""

import subprocess
import sys
from collections.abc import Iterable, Mapping
from statistics import fmean

from harness.ledger import Entry, Ledger
from harness.tasks import REGISTRY

SIZE, POINTS, TASKS = 500, 5.0, 3
METHODS = ("prefix", "lora", "adapter", "simplex")
HEAD = "fine-tuning(layers=none)"
COMMANDS = (
    "bench run --model tiny --tasks toy --sizes 100,500 --draws 5 --zeroed --methods fine-tuning --set layers=none",
    "bench run --model tiny --tasks toy --sizes 100,500 --draws 5 --zeroed --rules all --methods prefix,lora,adapter,simplex",
    "bench run --model tiny --tasks toy --sizes 100,500 --draws 5 --zeroed --methods fine-tuning --set lr=5e-4",
)

Table = dict[
    str, dict[str, tuple[float, float]]
]  # method -> task -> points above the head, points lost without its tensors


def gains(entries: Iterable[Entry]) -> Table:
    """What each method gains over the head and loses without its own tensors, in points, by task."""
    scores: dict[tuple[str, str], list[float]] = {}
    bare: dict[tuple[str, str], list[float]] = {}
    for entry in entries:
        if entry.size != SIZE or entry.state != "done":
            continue
        names = REGISTRY[entry.task].metrics
        scores.setdefault((entry.label, entry.task), []).append(100 * entry.metrics["score"])
        if all(f"zeroed {name}" in entry.metrics for name in names):
            zeroed = fmean(entry.metrics[f"zeroed {name}"] for name in names)
            bare.setdefault((entry.label, entry.task), []).append(100 * zeroed)
    means = {key: fmean(values) for key, values in scores.items()}
    table: Table = {}
    for (label, task), mean in means.items():
        if label in METHODS:
            table.setdefault(label, {})[task] = (
                mean - means[HEAD, task],
                mean - fmean(bare[label, task]),
            )
    return table


def shortfalls(table: Table) -> list[str]:
    """The methods that do not learn enough, in words."""
    found = []
    for method in METHODS:
        above = [task for task, (gain, _) in table[method].items() if gain >= POINTS]
        carried = [task for task, (_, loss) in table[method].items() if loss >= POINTS]
        for text, tasks in (("beats the head", above), ("needs its own tensors", carried)):
            if len(tasks) < TASKS:
                found.append(f"{method} {text} on {len(tasks)} tasks only")
    return found


def show(table: Mapping[str, Mapping[str, tuple[float, float]]]) -> None:
    """Print the table."""
    tasks = sorted({task for row in table.values() for task in row})
    print(f"{'':10}" + "".join(f"{task.removeprefix('toy-'):>18}" for task in tasks))
    for method, row in table.items():
        print(
            f"{method:10}"
            + "".join(f"{row[task][0]:+10.1f} ({row[task][1]:+.1f})" for task in tasks)
        )
    print(
        "points above a head on the frozen backbone; in brackets, points lost without the method's own tensors"
    )


def main() -> int:
    """Run the grid, print the table; 0 if every method learns."""
    database = sys.argv[1] if len(sys.argv) > 1 else "learning.db"
    for command in COMMANDS:
        print(f"$ {command} --db {database}", flush=True)
        subprocess.run([*command.split(), "--db", database], check=True)
    with Ledger(database) as ledger:
        table = gains(ledger.entries())
    show(table)
    for text in shortfalls(table):
        print(f"NOT ENOUGH: {text}")
    return 1 if shortfalls(table) else 0


if __name__ == "__main__":
    sys.exit(main())
