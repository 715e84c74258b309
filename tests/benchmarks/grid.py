"""One grid by transformers.Trainer + peft in one process and by `bench run`, in turn: jobs an hour and the ratio.

    python -m tests.benchmarks.grid [--model NAME --methods .. --tasks .. --sizes .. --steps ..] [--repeat 3] [--pack N]
    python -m tests.benchmarks.grid --devices cuda --dtype bfloat16 --model google-bert/bert-base-cased --pack 32 --fresh

Equal work: the same rows in a step, steps, evaluations, test rows, trained parameters, precision; dropout where fine-tuning.
Each side is timed as a whole command, start-up included, in turn and `--repeat` times; medians are printed. Then one job of
each method is taken apart: what share of its time goes where, how much of a batch is padding, and how near the arithmetic
comes to the rate of a plain product of matrices, measured in the same run.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.trainer_peer import arguments

GRID = ("model", "methods", "tasks", "sizes", "draws", "steps", "batch-size", "eval-every", "test-limit", "max-length", "dtype")


def main() -> int:
    """Time both sides and print what came of it."""
    parser = arguments()
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--pack", type=int, default=0, help="time bench in packs of so many as well")
    parser.add_argument("--compile", action="store_true", help="and packs whose steps are compiled, the compiling included")
    parser.add_argument("--fresh", action="store_true", help="time one process a job, padded to the greatest length, as well")
    parser.add_argument("--skip-peer", action="store_true", help="only bench")
    parser.add_argument("--only-apart", action="store_true", help="no timing of the whole, only where the time goes")
    options = parser.parse_args()
    flags = [word for name in GRID for word in (f"--{name}", str(getattr(options, name.replace("-", "_"))))]
    flags += ["--devices", options.devices]
    if options.only_apart:
        take_apart(flags, options.pack)
        return 0
    sides: dict[str, Any] = {"trainer + peft": peer, "bench": ours}
    if options.fresh:
        sides["a process a job"] = partial(peer, fresh=True)
    if options.skip_peer:
        del sides["trainer + peft"]
    if options.pack:
        sides[f"bench --pack {options.pack}"] = partial(ours, pack=options.pack)
    if options.pack and options.compile:
        sides[f"bench --pack {options.pack} --compile"] = partial(ours, pack=options.pack, compiled=True)
    ours(flags)  # once before: what a first run brings into the caches is no part of the comparison
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    jobs = 0
    for _ in range(options.repeat):
        for name, run in sides.items():
            jobs, took = run(flags)
            seconds[name].append(took)
            print(f"{name}: {jobs} jobs in {took:.1f} s", flush=True)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        ratio = f", {medians['trainer + peft'] / median:.2f} times the peer" if "trainer + peft" in medians else ""
        print(f"{name:15} {3600 * jobs / median:8.0f} jobs/h (median of {options.repeat}){ratio}")
    take_apart(flags, options.pack)
    return 0


def peer(flags: list[str], *, fresh: bool = False) -> tuple[int, float]:
    """Jobs and seconds of the peer."""
    began = time.perf_counter()
    words = [sys.executable, "-m", "tests.benchmarks.trainer_peer", *flags, *(["--fresh"] if fresh else [])]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])["jobs"], time.perf_counter() - began


def ours(flags: list[str], pack: int = 1, *, compiled: bool = False) -> tuple[int, float]:
    """Jobs and seconds of `bench run` into a new database."""
    folder = Path(tempfile.mkdtemp())
    try:
        began = time.perf_counter()
        words = [sys.executable, "-m", "harness", "run", *flags, "--db", str(folder / "grid.db"), "--keep", "none", "--yes"]
        words += ["--pack", str(pack), *(["--compile"] if compiled else [])]
        subprocess.run(words, check=True, capture_output=True, text=True)
        took = time.perf_counter() - began
        from harness.ledger import Ledger

        with Ledger(str(folder / "grid.db")) as ledger:
            return len(ledger.entries()), took
    finally:
        shutil.rmtree(folder)


def take_apart(flags: list[str], pack: int) -> None:
    """Where the time of one job of each method goes, and of one pack, in a process of one thread as a worker is."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    for places in [1, pack] if pack > 1 else [1]:
        words = [sys.executable, "-m", "tests.benchmarks.anatomy_of_a_job", *flags, "--pack", str(places)]
        print(subprocess.run(words, check=True, capture_output=True, text=True, env=env).stdout, end="", flush=True)


def shares(spent: dict[str, float], total: float) -> dict[str, Any]:
    """Each part's share of the whole, and the rest."""
    found = {name: seconds / total for name, seconds in spent.items()}
    return found | {"everything else": 1 - sum(found.values())}


if __name__ == "__main__":
    sys.exit(main())
