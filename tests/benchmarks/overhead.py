"""What planning, ledger and report cost by themselves, at many results that nobody trained.

    python -m tests.benchmarks.overhead [--results 10000]

Fills a ledger with made-up results of a real plan on the toy tasks, then times whole commands,
start-up included: the plan, `bench run` where everything is done, `bench status`, and `bench
report` as Markdown and as a page. Medians of `--repeat`.
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
from pathlib import Path

from harness.jobs import Job
from harness.ledger import Ledger
from harness.outcome import Outcome, pack_predictions
from harness.study import planning, request
from harness.study.grid_options import GridOptions

METHODS, TASKS, SIZES = "fine-tuning,prefix,lora,adapter,simplex", 6, "50,100,200,500"
BATCH = 500  # jobs claimed at once


def main() -> int:
    """Fill, time, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    draws = max(1, options.results // (5 * TASKS * 4))
    flags = [
        "--model",
        "tiny",
        "--methods",
        METHODS,
        "--tasks",
        "toy",
        "--sizes",
        SIZES,
        "--draws",
        str(draws),
    ]
    with tempfile.TemporaryDirectory() as folder:
        db = str(Path(folder) / "many.db")
        began = time.perf_counter()
        typed = {
            name.removeprefix("--"): value
            for name, value in zip(flags[::2], flags[1::2], strict=True)
        }
        jobs = planning.plan(request.read(GridOptions(**typed))[0]).jobs
        print(
            f"first plan of {len(jobs):,} jobs, in this process: {time.perf_counter() - began:.1f} s"
        )
        began = time.perf_counter()
        fill(db, jobs)
        each = 1000 * (time.perf_counter() - began) / len(jobs)
        print(f"ledger: {each:.2f} ms a result, {Path(db).stat().st_size / 2**20:.1f} MiB in all")
        for words in (
            ["plan", *flags],
            ["run", *flags],
            ["status"],
            ["report", "--format", "markdown", "--baseline", "prefix"],
            ["report", "--format", "html", "--baseline", "prefix"],
        ):
            taken = [seconds([*words, "--db", db]) for _ in range(options.repeat)]
            name = " ".join([words[0], *words[2:3]]) if words[0] == "report" else words[0]
            print(
                f"bench {name:16}{statistics.median(taken):6.2f} s (median of {options.repeat})",
                flush=True,
            )
    return 0


def fill(db: str, jobs: tuple[Job, ...]) -> None:
    """Record a made-up result for every job, one transaction each as in a real run."""
    curve = zlib.compress(
        json.dumps([[step, 0.5, 0.8, 0.4] for step in range(50, 501, 50)]).encode()
    )
    with Ledger(db, write=True) as ledger:
        ledger.add_jobs(jobs)
        ledger.begin("overhead")
        for start in range(0, len(jobs), BATCH):
            part = jobs[start : start + BATCH]
            for job, claim in zip(
                part, ledger.claim([job.digest for job in part], len(part)), strict=True
            ):
                score = 0.5 + int(job.digest[:6], 16) / 2**25  # made up, different for each
                predictions = pack_predictions([1] * job.draw.n_test, regression=False)
                metrics = {name.rpartition("/")[0]: score for name in job.draw.metrics}
                outcome = Outcome(
                    digest=job.digest, status="done", metrics=metrics, score=score, dev_score=score, best_step=500,
                    trained=1000, stored=4000, curve=curve, predictions=predictions, device="cpu",
                )  # fmt: skip
                ledger.record(outcome, claim.epoch)


def seconds(words: list[str]) -> float:
    """How long a command takes as a whole."""
    began = time.perf_counter()
    env = os.environ | {"COLUMNS": "200"}
    subprocess.run(
        [sys.executable, "-m", "harness", *words], check=True, capture_output=True, env=env
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
