"""The method that only reads the backbone against trainings of the same grid: jobs an hour and the ratio.

    python -m tests.benchmarks.features [--model NAME --tasks .. --sizes .. --draws ..] [--against
    prefix --sample 4]

The whole grid by `features`, as one command with start-up, into a new cache; then a part of the
same grid by another method, its jobs spread over tasks and sizes, the seconds of the part scaled to
the grid. Both with the defaults of `bench run`.
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
    """Time both and print what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--pooling", default="model")
    parser.add_argument("--tasks", default="toy")
    parser.add_argument("--sizes", default="50,100,200,500")
    parser.add_argument("--draws", default="10")
    parser.add_argument("--against", default="prefix")
    parser.add_argument("--sample", type=int, default=4, help="trainings that are timed")
    parser.add_argument("--devices", default="cpu")
    options = parser.parse_args()
    flags = [
        word
        for name in ("model", "pooling", "tasks", "sizes", "draws", "devices")
        for word in (f"--{name}", getattr(options, name))
    ]
    with tempfile.TemporaryDirectory() as folder:
        jobs, tasks, took = run([*flags, "--methods", "features"], Path(folder))
        print(f"features: {jobs} jobs in {took:.0f} s", flush=True)
        apart = next(
            n for n in range(max(1, jobs // options.sample), 2 * jobs) if math.gcd(n, tasks) == 1
        )  # else one task
        part = f"1/{apart}"
        trained, several, seconds = run(
            [*flags, "--methods", options.against, "--shard", part], Path(folder)
        )
    each = seconds / trained
    print(
        f"{options.against}: {trained} of {jobs} jobs on {several} tasks in {seconds:.0f} s, all of them in {each * jobs:.0f} s"
    )
    print(f"features: {each * jobs / took:.0f} times as fast")
    return 0


def run(flags: list[str], folder: Path) -> tuple[int, int, float]:
    """Jobs, tasks and seconds of `bench run` into a new database; what it caches of the backbone's features is new as well."""
    db = folder / "features.db"
    db.unlink(missing_ok=True)
    began = time.perf_counter()
    words = [
        sys.executable,
        "-m",
        "harness",
        "run",
        *flags,
        "--db",
        str(db),
        "--keep",
        "none",
        "--yes",
    ]
    done = subprocess.run(
        words,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"BENCH_CACHE": str(folder)},
    )
    if done.returncode:
        sys.exit(done.stderr)
    took = time.perf_counter() - began
    with Ledger(str(db)) as ledger:
        done = [entry.task for entry in ledger.entries() if entry.result is not None]
    return len(done), len(set(done)), took


if __name__ == "__main__":
    sys.exit(main())
