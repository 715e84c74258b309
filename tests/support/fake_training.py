"""A method that trains nothing: what comes of a job hangs on its digest alone, so any run can be checked to the last digit."""

import json
import os
import time
import zlib
from collections.abc import Sequence

from harness.jobs import BackboneSpec, Job, Recipe, Rows
from harness.outcome import Outcome, Progress, pack_predictions
from harness.training.ticket import Ticket


def job(number: int) -> Job:
    """The job of a number."""
    rows = Rows(
        task="toy-sentiment", version=1, revision="fake", size=20 + number % 5, draw=number, fingerprint=f"rows {number}",
        n_train=20, n_dev=6, n_test=40, metrics=("accuracy/1",), labels=("bad", "good"),
    )  # fmt: skip
    return Job(
        backbone=BackboneSpec(name="fake", revision="0"), rows=rows, seed=0, method="lora", method_version=1,
        options={"lr": 0.001}, label="fake", recipe=Recipe(steps=4),
    )  # fmt: skip


def outcome(digest: str) -> Outcome:
    """What comes of the job with that digest."""
    seed = int(digest[:12], 16)
    right = [(seed >> bit) & 1 for bit in range(40)]
    score = sum(right) / 40
    curve = zlib.compress(
        json.dumps([[2, 0.7, score / 2, 0.69], [4, 0.6, score, 0.66]]).encode(), 9
    )
    return Outcome(
        digest=digest, status="done", metrics={"accuracy": score, "loss": float("nan") if seed % 7 == 0 else seed / 2**48},
        score=score, dev_score=score, best_step=4, curve=curve, predictions=pack_predictions(right, regression=False),
        labels={"": pack_predictions([1] * 40, regression=False)}, device="fake",
    )  # fmt: skip


def work(tickets: Sequence[Ticket], _device: str, progress: Progress) -> list[Outcome]:
    """What `run_pack` would do; takes as long as BENCH_FAKE_SECONDS says."""
    outcomes = []
    for ticket in tickets:
        progress(ticket.job.digest, 1, 2, "training")
        time.sleep(float(os.environ.get("BENCH_FAKE_SECONDS", "0.02")))
        outcomes.append(outcome(ticket.job.digest))
    return outcomes
