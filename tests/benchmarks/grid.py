"""How many jobs per hour do `bench run` and transformers.Trainer with peft compute on the same grid?

    python -m tests.benchmarks.grid [--model NAME --methods .. --tasks .. --sizes .. --steps ..]
        [--repeat 3] [--pack N]
    python -m tests.benchmarks.grid --devices cuda --dtype bfloat16 --tasks sst2,rte --draws 16
        --model google-bert/bert-base-cased --pack 32 --cuda-graphs --fresh --peer-draws 1 --repeat 1

Both sides do equal work: the same rows in a step, steps, evaluations, test rows, trained parameters
and precision, and dropout for fine-tuning. Each side is timed as a whole command including
start-up; the sides alternate, `--repeat` times, and medians are printed. Packs need many jobs, for
which the peer would take hours: with `--peer-draws` the peer does a part of the draws, and its
seconds are scaled to all. With `--peer-dtypes float32,bfloat16` the peer runs in each of them, and ratios are
to its faster one. At the end, `anatomy_of_a_job` profiles one job of each method.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.benchmarks.trainer_peer import arguments

GRID = (
    "model",
    "methods",
    "tasks",
    "sizes",
    "draws",
    "steps",
    "batch-size",
    "eval-every",
    "test-limit",
    "max-length",
    "dtype",
)
PEER = "trainer + peft"


def main() -> int:
    """Time the sides, print the medians and profile one job of each method."""
    parser = arguments()
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--pack", type=int, default=0, help="also time bench with packs of N jobs")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="also time packs with compiled steps, compilation included",
    )
    parser.add_argument(
        "--cuda-graphs", action="store_true", help="also time packs with captured steps, on a GPU"
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="also time one process per job, padded to the maximum length",
    )
    parser.add_argument(
        "--peer-draws", default="", help="draws of the peer; its seconds are scaled to all draws"
    )
    parser.add_argument(
        "--dtypes", default="", help="precisions of bench; by default the one of --dtype"
    )
    parser.add_argument(
        "--peer-dtypes", default="", help="precisions of the peer; by default the one of --dtype"
    )
    parser.add_argument("--skip-peer", action="store_true", help="time bench only")
    parser.add_argument("--only-apart", action="store_true", help="profile only, without timing")
    options = parser.parse_args()
    values = vars(options)
    flags = [w for name in GRID for w in (f"--{name}", str(values[name.replace("-", "_")]))]
    flags += ["--devices", options.devices]
    if not options.only_apart:
        jobs, _ = run_bench(flags)  # fills the caches; not timed
        sides: dict[str, Callable[[], tuple[int, float]]] = {}
        if not options.skip_peer:
            for dtype in (options.peer_dtypes or options.dtype).split(","):
                words = [*flags, "--dtype", dtype]  # the last one counts
                sides[f"{PEER}, {dtype}"] = partial(run_peer, words, options.peer_draws, jobs)
        for dtype in (options.dtypes or options.dtype).split(","):
            sides[f"bench, {dtype}"] = partial(run_bench, [*flags, "--dtype", dtype])
        if options.fresh:
            sides["a process a job"] = partial(
                run_peer, flags, options.peer_draws, jobs, fresh=True
            )
        if options.pack:
            pack = ["--pack", str(options.pack)]
            switches = [[]] + [["--compile"]] * options.compile
            switches += [["--cuda-graphs"]] * options.cuda_graphs
            for switch in switches:
                name = " ".join(["bench", *pack, *switch])
                sides[name] = partial(run_bench, flags, [*pack, *switch])
        compare(sides, jobs, options.repeat)
    profile(flags, options.pack, options.cuda_graphs)
    return 0


def compare(sides: dict[str, Callable[[], tuple[int, float]]], jobs: int, repeat: int) -> None:
    """Run the sides alternately and print each time and the medians."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeat):
        for name, run in sides.items():
            done, elapsed = run()
            seconds[name].append(elapsed)
            scaled = f", scaled from {done}" if done < jobs else ""
            print(f"{name}: {jobs} jobs in {elapsed:.1f} s{scaled}", flush=True)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    peer = min((median for name, median in medians.items() if PEER in name), default=0.0)
    for name, median in medians.items():
        ratio = f", {peer / median:.2f} times the peer" if peer else ""
        print(f"{name:26} {3600 * jobs / median:8.0f} jobs/h (median of {repeat}){ratio}")


def run_peer(flags: list[str], draws: str, jobs: int, *, fresh: bool = False) -> tuple[int, float]:
    """Run the peer; return the number of its jobs, and its seconds scaled to `jobs` jobs.

    The start-up of a process is not scaled, as one process runs every job. With `fresh` it is, as
    each job has a process.
    """
    words = [*flags, *(["--draws", draws] if draws else []), *(["--fresh"] if fresh else [])]
    start = time.perf_counter()
    output = _output("tests.benchmarks.trainer_peer", words)  # the last --draws counts
    elapsed = time.perf_counter() - start
    summary = json.loads(output.splitlines()[-1])
    startup = 0.0 if fresh else elapsed - summary["working"]
    return summary["jobs"], startup + (elapsed - startup) * jobs / summary["jobs"]


def run_bench(flags: list[str], more: list[str] | None = None) -> tuple[int, float]:
    """Run `bench run` with a new database; return the number of its jobs and its seconds."""
    from harness.ledger import Ledger

    folder = Path(tempfile.mkdtemp())
    db = str(folder / "grid.db")
    words = ["run", *flags, *(more or ["--pack", "1"]), "--db", db, "--keep", "none", "--yes"]
    try:
        start = time.perf_counter()
        _output("harness", words)
        elapsed = time.perf_counter() - start
        with Ledger(db) as ledger:
            return len(ledger.entries()), elapsed
    finally:
        shutil.rmtree(folder)


def profile(flags: list[str], pack: int, captured: bool) -> None:
    """Profile one job of each method, and one pack, in a process with one thread like a worker."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    variants = [["--pack", "1"]]
    variants += [["--pack", str(pack)]] * (pack > 1)
    variants += [["--pack", str(pack), "--cuda-graphs"]] * captured
    for variant in variants:
        output = _output("tests.benchmarks.anatomy_of_a_job", [*flags, *variant], env)
        print(output, end="", flush=True)


def _output(module: str, words: list[str], env: dict[str, str] | None = None) -> str:
    """Run a module in a new process and return its output; end with its error if it fails."""
    command = [sys.executable, "-m", module, *words]
    process = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    if process.returncode:
        sys.exit(process.stderr)
    return process.stdout


if __name__ == "__main__":
    sys.exit(main())
