"""How much faster is `features`, which only reads the backbone, than training another method on the same grid?

    python -m tests.benchmarks.features [--model NAME --tasks .. --sizes .. --draws ..]
        [--against prefix --sample 4]

First the whole grid runs with `features`, as one command including start-up, with a new cache. Then
`--sample` jobs of the other method run, spread over tasks and sizes, and their seconds are scaled
to the whole grid. Both use the defaults of `bench run`.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.ledger import Ledger


def main() -> int:
    """Time both methods and print the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--pooling", default="model")
    parser.add_argument("--tasks", default="toy")
    parser.add_argument("--sizes", default="50,100,200,500")
    parser.add_argument("--draws", default="10")
    parser.add_argument("--against", default="prefix", help="the other method")
    parser.add_argument("--sample", type=int, default=4, help="number of its jobs to time")
    parser.add_argument("--devices", default="cpu")
    options = parser.parse_args()
    names = ("model", "pooling", "tasks", "sizes", "draws", "devices")
    flags = [word for name in names for word in (f"--{name}", getattr(options, name))]
    with tempfile.TemporaryDirectory() as folder:
        jobs, tasks, feature_seconds = run([*flags, "--methods", "features"], Path(folder))
        print(f"features: {jobs} jobs in {feature_seconds:.0f} s", flush=True)
        # A number of shards without a common factor with the tasks spreads a shard over all tasks.
        least = max(1, jobs // options.sample)
        shards = next(n for n in range(least, 2 * jobs) if math.gcd(n, tasks) == 1)
        part = [*flags, "--methods", options.against, "--shard", f"1/{shards}"]
        trained, trained_tasks, seconds = run(part, Path(folder))
    whole = seconds / trained * jobs
    print(
        f"{options.against}: {trained} of {jobs} jobs on {trained_tasks} tasks in {seconds:.0f} s, "
        f"so all of them in {whole:.0f} s"
    )
    print(f"features: {whole / feature_seconds:.0f} times as fast")
    return 0


def run(flags: list[str], folder: Path) -> tuple[int, int, float]:
    """Run `bench run` with a new database and feature cache; return its jobs, tasks and seconds."""
    db = folder / "features.db"
    db.unlink(missing_ok=True)
    command = [sys.executable, "-m", "harness", "run", *flags]
    command += ["--db", str(db), "--keep", "none", "--yes"]
    env = os.environ | {"BENCH_CACHE": str(folder)}
    start = time.perf_counter()
    process = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    if process.returncode:
        sys.exit(process.stderr)
    seconds = time.perf_counter() - start
    with Ledger(str(db)) as ledger:
        tasks = [entry.task for entry in ledger.entries() if entry.result is not None]
    return len(tasks), len(set(tasks)), seconds


if __name__ == "__main__":
    sys.exit(main())
