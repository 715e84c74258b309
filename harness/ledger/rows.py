"""What a job and what came of it look like as rows."""

import math
from typing import Any

from harness.jobs import Job
from harness.outcome import Outcome


def all_metrics(outcome: Outcome) -> dict[str, float]:
    """Its metrics, and among them the score that it counts with."""
    assert outcome.score is not None
    return {"score": outcome.score, **outcome.metrics}


def metric_rows(job: int, outcome: Outcome) -> list[dict[str, Any]]:
    """The metrics of a job; what is not finite is named."""
    return [_metric_row(job, name, value) for name, value in all_metrics(outcome).items()]


def _metric_row(job: int, name: str, value: float) -> dict[str, Any]:
    finite = math.isfinite(value)
    return {
        "job": job,
        "name": name,
        "value": value if finite else None,
        "special": None if finite else str(float(value)),
    }


def job_row(job: Job, setting: int, state: str, note: str) -> dict[str, Any]:
    """A job that is asked for and not begun, or a cell that cannot be filled."""
    rows = job.rows
    remarks = [f"{rows.redrawn} draws that missed a class were drawn again"] if rows.redrawn else []
    remarks += (
        [f"{rows.shared} training or dev rows also stand in the test rows"] if rows.shared else []
    )
    return {
        "digest": job.digest,
        "setting": setting,
        "task": rows.task,
        "label": job.label,
        "size": rows.size,
        "draw": rows.draw,
        "seed": job.seed,
        "fingerprint": rows.fingerprint,
        "n_train": rows.n_train,
        "n_dev": rows.n_dev,
        "n_test": rows.n_test,
        "note": note or "; ".join(remarks),
        "state": state,
        "epoch": 0,
    }
