"""One grid by transformers.Trainer + peft in one process and by `bench run`, in turn: jobs an hour and the ratio.

    python -m tests.benchmarks.grid [--model NAME --methods .. --tasks .. --sizes .. --steps ..]
    [--repeat 3] [--pack N] python -m tests.benchmarks.grid --devices cuda --dtype bfloat16 --model
    google-bert/bert-base-cased --tasks sst2,rte \
        --draws 16 --pack 32 --cuda-graphs --fresh --peer-draws 1 --repeat 1

Equal work: the same rows in a step, steps, evaluations, test rows, trained parameters, precision;
dropout where fine-tuning. Each side is timed as a whole command, start-up included, in turn and
`--repeat` times; medians are printed. Packs want many jobs, for which the peer would take hours:
with `--peer-draws` it does a part of the draws, and its seconds are scaled to all. Then one job of
each method is taken apart: what share of its time goes where, how much of a batch is padding, and
how near the arithmetic comes to the rate of a plain product of matrices, measured in the same run.
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


def main() -> int:
    """Time both sides and print what came of it."""
    parser = arguments()
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--pack", type=int, default=0, help="time bench in packs of so many as well"
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="and packs whose steps are compiled, the compiling included",
    )
    parser.add_argument(
        "--cuda-graphs", action="store_true", help="and packs whose steps are captured, on a GPU"
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="time one process a job, padded to the greatest length, as well",
    )
    parser.add_argument(
        "--peer-draws",
        default="",
        help="the peer does only these draws; its seconds are scaled to all",
    )
    parser.add_argument("--skip-peer", action="store_true", help="only bench")
    parser.add_argument(
        "--only-apart", action="store_true", help="no timing of the whole, only where the time goes"
    )
    options = parser.parse_args()
    flags = [
        word
        for name in GRID
        for word in (f"--{name}", str(getattr(options, name.replace("-", "_"))))
    ]
    flags += ["--devices", options.devices]
    if options.only_apart:
        take_apart(flags, options.pack, options.cuda_graphs)
        return 0
    jobs, _ = ours(
        flags
    )  # once before: what a first run brings into the caches is no part of the comparison
    theirs = partial(peer, draws=options.peer_draws, of=jobs)
    sides: dict[str, Any] = {"trainer + peft": theirs, "bench": ours}
    if options.fresh:
        sides["a process a job"] = partial(theirs, fresh=True)
    if options.skip_peer:
        del sides["trainer + peft"]
    if options.pack:
        sides[f"bench --pack {options.pack}"] = partial(ours, pack=options.pack)
    if options.pack and options.compile:
        sides[f"bench --pack {options.pack} --compile"] = partial(
            ours, pack=options.pack, more=("--compile",)
        )
    if options.pack and options.cuda_graphs:
        sides[f"bench --pack {options.pack} --cuda-graphs"] = partial(
            ours, pack=options.pack, more=("--cuda-graphs",)
        )
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.repeat):
        for name, run in sides.items():
            done, took = run(flags)
            seconds[name].append(took)
            print(
                f"{name}: {jobs} jobs in {took:.1f} s{f', by {done} of them' * (done < jobs)}",
                flush=True,
            )
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        ratio = (
            f", {medians['trainer + peft'] / median:.2f} times the peer"
            if "trainer + peft" in medians
            else ""
        )
        print(f"{name:15} {3600 * jobs / median:8.0f} jobs/h (median of {options.repeat}){ratio}")
    take_apart(flags, options.pack, options.cuda_graphs)
    return 0


def peer(flags: list[str], *, draws: str, of: int, fresh: bool = False) -> tuple[int, float]:
    """Jobs that the peer did, and its seconds for `of` jobs; one process starts once, however many jobs it has."""
    words = [
        *flags,
        *(["--draws", draws] if draws else []),
        *(["--fresh"] if fresh else []),
    ]  # the last --draws counts
    began = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.trainer_peer", *words],
        check=True,
        capture_output=True,
        text=True,
    )
    took, end = time.perf_counter() - began, json.loads(run.stdout.splitlines()[-1])
    start = 0.0 if fresh else took - end["working"]
    return end["jobs"], start + (took - start) * of / end["jobs"]


def ours(flags: list[str], pack: int = 1, more: tuple[str, ...] = ()) -> tuple[int, float]:
    """Jobs and seconds of `bench run` into a new database."""
    folder = Path(tempfile.mkdtemp())
    try:
        began = time.perf_counter()
        words = [
            sys.executable,
            "-m",
            "harness",
            "run",
            *flags,
            "--db",
            str(folder / "grid.db"),
            "--keep",
            "none",
            "--yes",
        ]
        words += ["--pack", str(pack), *more]
        subprocess.run(words, check=True, capture_output=True, text=True)
        took = time.perf_counter() - began
        from harness.ledger import Ledger

        with Ledger(str(folder / "grid.db")) as ledger:
            return len(ledger.entries()), took
    finally:
        shutil.rmtree(folder)


def take_apart(flags: list[str], pack: int, captured: bool) -> None:
    """Where the time of one job of each method goes, and of one pack, in a process of one thread as a worker is."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    ways = (
        [["--pack", "1"]]
        + [["--pack", str(pack)]] * (pack > 1)
        + [["--pack", str(pack), "--cuda-graphs"]] * captured
    )
    for way in ways:
        words = [sys.executable, "-m", "tests.benchmarks.anatomy_of_a_job", *flags, *way]
        print(
            subprocess.run(words, check=True, capture_output=True, text=True, env=env).stdout,
            end="",
            flush=True,
        )


def shares(spent: dict[str, float], total: float) -> dict[str, Any]:
    """Each part's share of the whole, and the rest."""
    found = {name: seconds / total for name, seconds in spent.items()}
    return found | {"everything else": 1 - sum(found.values())}


if __name__ == "__main__":
    sys.exit(main())
