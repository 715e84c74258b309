"""How long `status`, `report` and `verify` take on a ledger of a million results, and how large it is.

    python -m tests.benchmarks.million [--results 1000000] [--keep FILE]

The ledger holds two hundred studies of 5,000 results each. Every study has its own backbone, and its
results have metrics, curves and predictions like those of a real run; they are written in bulk.
Whole commands are timed, including the start of Python; the medians of three are printed.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import insert, select, update
from sqlmodel import SQLModel

from harness import provenance
from harness.jobs import BackboneSpec, Job, canonical
from harness.ledger import Ledger
from harness.ledger.results import metric_rows, result_row
from harness.ledger.statements import CHUNK, chunks, now, table_of, text_ids
from harness.ledger.tables import Attempt, Blob, Environment, JobRow, MetricRow, Result
from harness.outcome import Outcome, pack_predictions
from harness.study import planning, request
from harness.study.grid_options import GridOptions
from tests.benchmarks.overhead import seconds

JOBS_PER_STUDY = 5000


class Values(NamedTuple):
    """The stored values of a made-up result."""

    score: float
    curve: bytes
    predictions: bytes
    labels: bytes


def study(number: int, jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs of the study with a number."""
    backbone = BackboneSpec(name=f"made/model-{number:03}", revision=f"{number:040x}")
    return [replace(job, backbone=backbone) for job in jobs]


def value_pool(n_test: int, rng: random.Random) -> list[Values]:
    """Make values to choose from: compressing different ones for every result would take an hour."""
    pool = []
    labels = [rng.randrange(2) for _ in range(n_test)]
    packed_labels = pack_predictions(labels, regression=False)
    for _ in range(500):
        score = rng.random()
        curve = json.dumps([[step, rng.random(), score, 0.4] for step in range(50, 501, 50)])
        predictions = [label if rng.random() < score else 1 - label for label in labels]
        packed = pack_predictions(predictions, regression=False)
        pool.append(Values(score, zlib.compress(curve.encode(), 9), packed, packed_labels))
    return pool


def make_outcome(job: Job, values: Values) -> Outcome:
    """Return an outcome of a job with some values."""
    metrics = {name.rpartition("/")[0]: values.score for name in job.draw.metrics}
    return Outcome(
        digest=job.digest, status="done", metrics=metrics, score=values.score, dev_score=values.score, best_step=500,
        trained=1000, stored=4000, curve=values.curve, predictions=values.predictions, device="cpu",
        seconds_training=1.0, seconds_evaluation=0.5, labels={"": values.labels},
    )  # fmt: skip


def fill(ledger: Ledger, jobs: Sequence[Job], pool: list[Values], rng: random.Random) -> None:
    """Add a study, and its results in one transaction."""
    ledger.add_jobs(jobs)
    table, versions = table_of(JobRow), provenance.environment()
    with ledger.transaction() as connection:
        rows: dict[str, dict[str, Any]] = {}
        for digests in chunks([job.digest for job in jobs], CHUNK):
            query = select(table).where(table.c.digest.in_(digests))
            rows |= {row["digest"]: dict(row) for row in connection.execute(query).mappings()}
        [environment] = text_ids(connection, Environment, [canonical(versions)]).values()
        outcomes = {rows[job.digest]["id"]: make_outcome(job, rng.choice(pool)) for job in jobs}
        stored: dict[type[SQLModel], list[dict[str, Any]]] = {
            Result: [
                result_row(rows[outcome.digest], outcome, versions, environment)
                for outcome in outcomes.values()
            ],
            MetricRow: [
                row for number, outcome in outcomes.items() for row in metric_rows(number, outcome)
            ],
            Blob: [
                {"job": number, "kind": kind, "data": data}
                for number, outcome in outcomes.items()
                for kind, data in outcome.blobs.items()
            ],
            Attempt: [
                {"job": number, "run": ledger._run, "epoch": 1, "ended": now(), "outcome": "done", "error": "",
                 "trace": ""} for number in outcomes
            ],
        }  # fmt: skip
        for model, values in stored.items():
            connection.execute(insert(table_of(model)), values)
        added = table.c.id.between(min(outcomes), max(outcomes))
        connection.execute(update(table).where(added).values(state="done", epoch=1))


def main() -> None:
    """Fill a ledger, time commands and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=int, default=1_000_000, help="how many to make up")
    parser.add_argument("--keep", help="where to keep the database; by default it is deleted")
    options = parser.parse_args()
    grid = GridOptions(
        model="tiny", methods="fine-tuning,prefix,lora,adapter,simplex", tasks="toy-sentiment,toy-entailment",
        sizes="50,100,200,500", draws="125",
    )  # fmt: skip
    jobs = planning.plan(request.read(grid)[0]).jobs[:JOBS_PER_STUDY]
    rng = random.Random(0)  # noqa: S311
    pool = value_pool(jobs[0].draw.n_test, rng)
    with tempfile.TemporaryDirectory() as folder:
        db = options.keep or str(Path(folder) / "million.db")
        began = time.perf_counter()
        with Ledger(db, write=True) as ledger:
            ledger.begin("million")
            for number in range(options.results // JOBS_PER_STUDY):
                fill(ledger, study(number, jobs), pool, rng)
        size = Path(db).stat().st_size
        print(f"{options.results:,} results in {size / 2**30:.2f} GiB, {size / options.results:,.0f} bytes each; "
              f"written in {time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip
        for words in (["status"], ["report", "--model", "model-000", "--format", "markdown"]):
            taken = [seconds([*words, "--db", db]) for _ in range(3)]
            print(f"bench {' '.join(words)}: {statistics.median(taken):.2f} s", flush=True)
        print(f"bench db verify: {seconds(['db', 'verify', '--db', db]):.0f} s", flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
