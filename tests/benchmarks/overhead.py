"""What planning, the ledger and reports cost with many results that nobody trained.

    python -m tests.benchmarks.overhead [--results 10000] [--repeat 3]

Fills a ledger with made-up results of a plan on the toy tasks. Then it times whole commands,
including the start of Python: `bench plan`, `bench run` with nothing left to do, `bench status`, and
`bench report` as Markdown and as HTML. It prints the medians of `--repeat` repetitions.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.jobs import Job
from harness.ledger import Ledger
from harness.outcome import Outcome, pack_predictions, pack_probabilities
from harness.study import planning, request
from harness.study.grid_options import GridOptions
from harness.tasks import REGISTRY
from harness.tasks.metrics import compute
from harness.tasks.metrics import score as mean_score

TOY_TASKS = 6
GRID = {
    "model": "tiny",
    "methods": "fine-tuning,prefix,lora,adapter,simplex",
    "tasks": "toy",
    "sizes": "50,100,200,500",
}
CELLS_PER_DRAW = 5 * TOY_TASKS * 4  # methods, tasks, sizes
BATCH = 500  # jobs claimed at once


def main() -> None:
    """Fill a ledger, time commands and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=int, default=10_000, help="how many to make up")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of each command")
    options = parser.parse_args()
    grid = GRID | {"draws": str(max(1, options.results // CELLS_PER_DRAW))}
    flags = [word for name, value in grid.items() for word in (f"--{name}", value)]
    with tempfile.TemporaryDirectory() as folder:
        db = str(Path(folder) / "many.db")
        began = time.perf_counter()
        jobs = planning.plan(request.read(GridOptions(**grid))[0]).jobs
        elapsed = time.perf_counter() - began
        print(f"first plan of {len(jobs):,} jobs, in this process: {elapsed:.1f} s")
        began = time.perf_counter()
        fill(db, jobs)
        each = 1000 * (time.perf_counter() - began) / len(jobs)
        print(f"ledger: {each:.2f} ms per result, {Path(db).stat().st_size / 2**20:.1f} MiB in all")
        for command in (
            ["plan", *flags],
            ["run", *flags],
            ["status"],
            ["report", "--format", "markdown", "--baseline", "prefix"],
            ["report", "--format", "html", "--baseline", "prefix"],
        ):
            name = " ".join([command[0], *command[2:3]]) if command[0] == "report" else command[0]
            median = statistics.median(
                seconds([*command, "--db", db]) for _ in range(options.repeat)
            )
            print(f"bench {name:16}{median:6.2f} s (median of {options.repeat})", flush=True)


def fill(db: str, jobs: Sequence[Job]) -> None:
    """Record a made-up result for every job, each in its own transaction as in a real run."""
    points = [[step, 0.5, 0.8, 0.4] for step in range(50, 501, 50)]
    curve = zlib.compress(json.dumps(points).encode())
    with Ledger(db, write=True) as ledger:
        ledger.add_jobs(jobs)
        ledger.begin("overhead")
        for start in range(0, len(jobs), BATCH):
            batch = jobs[start : start + BATCH]
            claims = ledger.claim([job.digest for job in batch], len(batch))
            for job, claim in zip(batch, claims, strict=True):
                predictions, labels, probabilities = answers(job)
                task = REGISTRY[job.draw.task]
                metrics = compute(task.metrics, predictions, labels)
                score = mean_score(task.metrics, metrics)
                outcome = Outcome(
                    digest=job.digest, status="done", metrics=metrics, score=score, dev_score=score, best_step=500,
                    trained=1000, stored=4000, curve=curve, device="cpu", probabilities=probabilities,
                    predictions=pack_predictions(predictions, task.regression),
                    labels={"": pack_predictions(labels, task.regression)},
                )  # fmt: skip
                ledger.record(outcome, claim.number)


def answers(job: Job) -> tuple[list[float], list[float], dict[str, bytes]]:
    """Return made-up predictions and labels of the test rows, and packed class probabilities."""
    task, rows = REGISTRY[job.draw.task], job.draw.n_test
    values = np.random.default_rng(len(job.draw.task)).random(rows)  # the same for all jobs
    noise = np.random.default_rng(int(job.digest[:6], 16)).random((rows, task.outputs))
    if task.regression:
        return list(values + noise[:, 0]), list(values), {}
    labels = (values * task.outputs).astype(int)
    probabilities = noise + 0.6 * np.eye(task.outputs)[labels]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return (
        list(probabilities.argmax(axis=1)),
        list(labels),
        {"": pack_probabilities(probabilities)},
    )


def seconds(command: Sequence[str]) -> float:
    """Return how long a command takes, including the start of Python."""
    began = time.perf_counter()
    env = os.environ | {"COLUMNS": "200"}
    subprocess.run(
        [sys.executable, "-m", "harness", *command], check=True, capture_output=True, env=env
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
