"""Do the methods learn? Computes the results of `results.db.example` again and compares them with a bare head.

    python -m tests.benchmarks.learning [DATABASE]

On at least three toy tasks at size 500, every method that trains inside the backbone must beat a
head on the frozen backbone by 5 points, and must lose 5 points if its own tensors are removed and
only its trained head remains. Scores are means over the draws.
"""

import subprocess
import sys
from collections.abc import Iterable, Mapping
from statistics import fmean

from harness.ledger import Ledger, LedgerEntry
from harness.tasks import REGISTRY

SIZE, POINTS, TASKS = 500, 5.0, 3
METHODS = ("prefix", "lora", "adapter", "simplex")
HEAD = "fine-tuning(layers=none)"
COMMON = "bench run --model tiny --tasks toy --sizes 100,500 --draws 5 --zeroed"
COMMANDS = (
    f"{COMMON} --methods fine-tuning --set layers=none",
    f"{COMMON} --rules all --methods {','.join(METHODS)}",
    f"{COMMON} --methods fine-tuning --set lr=5e-4",
)

# By method and task: points above the head, and points lost without its own tensors.
Table = dict[str, dict[str, tuple[float, float]]]


def gains(entries: Iterable[LedgerEntry]) -> Table:
    """Return what each method gains over the head and loses without its own tensors, in points."""
    scores: dict[tuple[str, str], list[float]] = {}
    zeroed: dict[tuple[str, str], list[float]] = {}
    for entry in entries:
        if entry.size != SIZE or entry.state != "done":
            continue
        names = [f"zeroed {name}" for name in REGISTRY[entry.task].metrics]
        scores.setdefault((entry.label, entry.task), []).append(100 * entry.metrics["score"])
        if all(name in entry.metrics for name in names):
            score = fmean(entry.metrics[name] for name in names)
            zeroed.setdefault((entry.label, entry.task), []).append(100 * score)
    means = {key: fmean(values) for key, values in scores.items()}
    table: Table = {}
    for (label, task), mean in means.items():
        if label in METHODS:
            loss = mean - fmean(zeroed[label, task])
            table.setdefault(label, {})[task] = (mean - means[HEAD, task], loss)
    return table


def shortfalls(table: Table) -> list[str]:
    """Return a sentence for every method and criterion that is not met."""
    problems = []
    for method in METHODS:
        gaining = [task for task, (gain, _) in table[method].items() if gain >= POINTS]
        losing = [task for task, (_, loss) in table[method].items() if loss >= POINTS]
        for text, tasks in (("beats the head", gaining), ("needs its own tensors", losing)):
            if len(tasks) < TASKS:
                problems.append(f"{method} {text} on only {len(tasks)} of {TASKS} required tasks")
    return problems


def show(table: Mapping[str, Mapping[str, tuple[float, float]]]) -> None:
    """Print the table."""
    tasks = sorted({task for row in table.values() for task in row})
    print(f"{'':10}" + "".join(f"{task.removeprefix('toy-'):>18}" for task in tasks))
    for method, row in table.items():
        values = [f"{row[task][0]:+10.1f} ({row[task][1]:+.1f})" for task in tasks]
        print(f"{method:10}" + "".join(values))
    print(
        "points above a head on the frozen backbone (points lost without the method's own tensors)"
    )


def main() -> int:
    """Run the grid, print the table and return 0 if every method learns."""
    database = sys.argv[1] if len(sys.argv) > 1 else "learning.db"
    for command in COMMANDS:
        print(f"$ {command} --db {database}", flush=True)
        subprocess.run([*command.split(), "--db", database], check=True)
    with Ledger(database) as ledger:
        table = gains(ledger.entries())
    show(table)
    problems = shortfalls(table)
    for problem in problems:
        print(f"INSUFFICIENT: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
