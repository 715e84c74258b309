"""Work that trains nothing: an outcome depends only on the digest of its job, so that tests can check every number."""

import json
import os
import time
import zlib
from collections.abc import Sequence

from harness.jobs import BackboneSpec, DrawSpec, Job, Recipe
from harness.outcome import Outcome, ProgressCallback, pack_predictions
from harness.training.ticket import Ticket


def job(number: int) -> Job:
    """Return the job with a number."""
    rows = DrawSpec(
        task="toy-sentiment", version=1, revision="fake", size=20 + number % 5, number=number,
        fingerprint=f"rows {number}", n_train=20, n_dev=6, n_test=40, metrics=("accuracy/1",),
        labels=("bad", "good"),
    )  # fmt: skip
    return Job(
        backbone=BackboneSpec(name="fake", revision="0"), draw=rows, seed=0, method="lora", method_version=1,
        options={"lr": 0.001}, label="fake", recipe=Recipe(steps=4),
    )  # fmt: skip


def outcome(digest: str) -> Outcome:
    """Return the outcome of the job with a digest."""
    seed = int(digest[:12], 16)
    predictions = [(seed >> bit) & 1 for bit in range(40)]
    score = sum(predictions) / 40
    loss = float("nan") if seed % 7 == 0 else seed / 2**48
    curve = json.dumps([[2, 0.7, score / 2, 0.69], [4, 0.6, score, 0.66]]).encode()
    return Outcome(
        digest=digest, status="done", metrics={"accuracy": score, "loss": loss}, score=score, dev_score=score,
        best_step=4, curve=zlib.compress(curve, 9), predictions=pack_predictions(predictions, regression=False),
        labels={"": pack_predictions([1] * 40, regression=False)}, device="fake",
    )  # fmt: skip


def metrics_of(digest: str) -> dict[str, float]:
    """Return the metrics that an undisturbed run records for the job with a digest."""
    expected = outcome(digest)
    return {**expected.metrics, "score": expected.score or 0.0}


def work(tickets: Sequence[Ticket], _device: str, progress: ProgressCallback) -> list[Outcome]:
    """Do what `run_pack` would do, in BENCH_FAKE_SECONDS for each job."""
    outcomes = []
    for ticket in tickets:
        progress(ticket.job.digest, 1, 2, "training")
        time.sleep(float(os.environ.get("BENCH_FAKE_SECONDS", "0.02")))
        outcomes.append(outcome(ticket.job.digest))
    return outcomes
