"""A ledger of a million results, made up: how long do looking, reporting and verifying take, and how large is it?

    python -m tests.benchmarks.million [--results 1000000] [--keep FILE]

Two hundred studies of 5,000 results each, every one on a backbone of its own, with metrics, curves
and predictions as a real run leaves them; written in bulk. Then whole commands are timed, start-up
included, medians of three.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import insert, select, update

from harness import provenance
from harness.jobs import BackboneSpec, Job, canonical
from harness.ledger import Ledger
from harness.ledger.results import metric_rows, result_row
from harness.ledger.statements import table_of, text_ids
from harness.ledger.tables import Attempt, Blob, Environment, JobRow, MetricRow, Result
from harness.outcome import Outcome, pack_predictions
from harness.study import planning, request
from harness.study.grid_options import GridOptions
from tests.benchmarks.overhead import seconds

STUDY = 5000


def study(number: int, jobs: Sequence[Job]) -> list[Job]:
    """The jobs of one study."""
    backbone = BackboneSpec(name=f"made/model-{number:03}", revision=f"{number:040x}")
    return [replace(job, backbone=backbone) for job in jobs]


def pool(tested: int, chance: random.Random) -> list[tuple[float, bytes, bytes, bytes]]:
    """Scores with the curve, the predictions and the labels of each, to choose from: to make a million would take an hour."""
    made = []
    right = [chance.randrange(2) for _ in range(tested)]
    labels = pack_predictions(right, regression=False)
    for _ in range(500):
        score = chance.random()
        curve = json.dumps(
            [[step, chance.random(), score, 0.4] for step in range(50, 501, 50)]
        ).encode()
        given = [label if chance.random() < score else 1 - label for label in right]
        made.append(
            (score, zlib.compress(curve, 9), pack_predictions(given, regression=False), labels)
        )
    return made


def made(job: Job, score: float, curve: bytes, predictions: bytes, labels: bytes) -> Outcome:
    """What might have come of a job."""
    return Outcome(
        digest=job.digest, status="done", metrics={name.rpartition("/")[0]: score for name in job.rows.metrics}, score=score,
        dev_score=score, best_step=500, trained=1000, stored=4000, curve=curve, predictions=predictions, device="cpu",
        seconds_training=1.0, seconds_evaluation=0.5, labels={"": labels},
    )  # fmt: skip


def fill(
    ledger: Ledger,
    jobs: Sequence[Job],
    blobs: list[tuple[float, bytes, bytes, bytes]],
    chance: random.Random,
) -> None:
    """Enter a study and its results in one transaction."""
    ledger.add_jobs(jobs)
    table = table_of(JobRow)
    with ledger._engine.begin() as connection:
        rows: dict[str, dict[str, object]] = {}
        for start in range(0, len(jobs), 500):
            wanted = [job.digest for job in jobs[start : start + 500]]
            found = connection.execute(select(table).where(table.c.digest.in_(wanted))).mappings()
            rows |= {row["digest"]: dict(row) for row in found}
        versions = provenance.environment()
        text = canonical(versions)
        environment = text_ids(connection, Environment, [text])[text]
        outcomes = [made(job, *chance.choice(blobs)) for job in jobs]
        numbers = [rows[outcome.digest]["id"] for outcome in outcomes]
        results = [
            result_row(rows[outcome.digest], outcome, versions, environment) for outcome in outcomes
        ]
        connection.execute(insert(table_of(Result)), results)
        pairs = list(zip(numbers, outcomes, strict=True))
        metrics = [row for number, one in pairs for row in metric_rows(number, one)]
        connection.execute(insert(table_of(MetricRow)), metrics)
        connection.execute(insert(table_of(Blob)), list(_blobs(pairs)))
        same = {
            "run": ledger._run,
            "epoch": 1,
            "ended": "2026-01-01T00:00:00+00:00",
            "outcome": "done",
            "error": "",
            "trace": "",
        }
        connection.execute(
            insert(table_of(Attempt)), [{"job": number, **same} for number in numbers]
        )
        mine = table.c.id.between(min(numbers), max(numbers))
        connection.execute(update(table).where(mine).values(state="done", epoch=1))


def _blobs(pairs: Sequence[tuple[int, Outcome]]) -> Iterator[dict[str, object]]:
    for number, one in pairs:
        yield from ({"job": number, "kind": kind, "data": data} for kind, data in one.blobs.items())


def main() -> None:
    """Fill, time, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=int, default=1_000_000)
    parser.add_argument("--keep", help="where the database stays; else it is deleted")
    options = parser.parse_args()
    grid = GridOptions(
        model="tiny", methods="fine-tuning,prefix,lora,adapter,simplex", tasks="toy-sentiment,toy-entailment",
        sizes="50,100,200,500", draws="125",
    )  # fmt: skip
    jobs = planning.plan(request.read(grid)[0]).jobs[:STUDY]
    chance = random.Random(0)  # noqa: S311
    blobs = pool(jobs[0].rows.n_test, chance)
    with tempfile.TemporaryDirectory() as folder:
        db = options.keep or str(Path(folder) / "million.db")
        began = time.perf_counter()
        with Ledger(db, write=True) as ledger:
            ledger.begin("million")
            for number in range(options.results // STUDY):
                fill(ledger, study(number, jobs), blobs, chance)
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
