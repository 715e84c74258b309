"""Does every method that trains inside the backbone beat a bare head on the toy tasks?

    python -m tests.benchmarks.gains [DATABASE]

The benchmark runs what is missing in the database (about half an hour on two cores): size 200, mean
of three draws. It prints the points above the head by method and task, and exits with 0 if every
method gains 3 points or more on at least three of the six tasks. Fine-tuning gets a learning rate
for the small backbone.
"""

import subprocess
import sys
from collections.abc import Iterable
from statistics import fmean

from harness.ledger import Ledger, LedgerEntry

POINTS, TASKS = 3.0, 3
HEAD = "fine-tuning(layers=none)"
METHODS = "head,prompt,bitfit,prefix,lora,adapter,ia3,unipelt,simplex,simplex-lora,simplex-adapter,simplex-prompt"
COMMON = "bench run --model tiny --tasks toy --sizes 200 --draws 3 --yes"
COMMANDS = (
    f"{COMMON} --methods {METHODS}",
    f"{COMMON} --methods fine-tuning --set lr=5e-4",
    f"{COMMON} --methods features",
)

Table = dict[str, dict[str, float]]  # points by method and task


def means(entries: Iterable[LedgerEntry]) -> Table:
    """Return the mean score of each method on each task, in points."""
    scores: dict[str, dict[str, list[float]]] = {}
    for entry in entries:
        if entry.state == "done":
            name = entry.task.removeprefix("toy-")
            score = 100 * entry.metrics["score"]
            scores.setdefault(entry.label, {}).setdefault(name, []).append(score)
    return {
        label: {task: fmean(values) for task, values in by_task.items()}
        for label, by_task in scores.items()
    }


def main() -> int:
    """Run the commands, print the table and return the exit code."""
    database = sys.argv[1] if len(sys.argv) > 1 else "gains.db"
    for command in COMMANDS:
        print(f"$ {command} --db {database}", flush=True)
        subprocess.run([*command.split(), "--db", database], check=True, stdout=subprocess.DEVNULL)
    with Ledger(database) as ledger:
        table = means(ledger.entries())
    head = table.pop(HEAD)
    tasks = sorted(head)
    print("| method | " + " | ".join(tasks) + f" | tasks at +{POINTS:g} |")
    print("|---|" + "---:|" * (len(tasks) + 1))
    print("| head alone, points | " + " | ".join(f"{head[task]:.1f}" for task in tasks) + " | |")
    insufficient = []
    for label, scores in table.items():
        gains = [scores[task] - head[task] for task in tasks]
        ahead = sum(gain >= POINTS for gain in gains)
        print(f"| {label} | " + " | ".join(f"{gain:+.1f}" for gain in gains) + f" | {ahead} |")
        if ahead < TASKS and label != "features":  # features trains nothing inside the backbone
            insufficient.append(label)
    for label in insufficient:
        print(f"INSUFFICIENT: {label}")
    return 1 if insufficient else 0


if __name__ == "__main__":
    sys.exit(main())
