"""`bench show`: list the jobs of a database, or print everything about one of them."""

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.artefacts import restore
from harness.geometry import Geometry
from harness.jobs import Label
from harness.ledger import Ledger, LedgerEntry
from harness.ledger.database import damage_errors
from harness.outcome import unpack_predictions
from harness.results.integrity import entry_problems
from harness.wording import duration
from reports.document import metric_title

# Names of the first values of a dev curve's entry. A fifth one, `copies`, is present where sampled
# models were evaluated on copies of the dev rows.
CURVE = ("step", "train_loss", "dev_score", "dev_loss")


def show_jobs(db: str, *, as_json: bool) -> None:
    """Print one line for each job."""
    out = Console()
    with damage_errors(db), Ledger(db) as ledger:
        entries = ledger.entries()
    if as_json:
        names = ("digest", "label", "task", "size", "draw", "seed", "state")
        jobs = [
            {name: getattr(entry, name) for name in names}
            | {"score": _json_number(entry.metrics.get("score"))}
            for entry in entries
        ]
        out.print_json(data={"schema": 1, "jobs": jobs})
        return
    columns = ("digest", "method", "task", "size", "draw", "seed", "state", "score")
    table = Table(*columns, box=None, pad_edge=False)
    for entry in entries:
        score = f"{100 * entry.metrics['score']:.1f}" if "score" in entry.metrics else ""
        table.add_row(
            entry.digest[:12],
            Text(entry.label),
            entry.task,
            *map(str, (entry.size, entry.draw, entry.seed)),
            entry.state,
            score,
        )
    out.print(table)


def show_job(db: str, digest: str, *, as_json: bool) -> None:
    """Print a job's options, rows, metrics, dev curve, cost and provenance.

    Raises:
        UsageError: no job's digest, or more than one, begins with `digest`.
    """
    out = Console()
    with damage_errors(db), Ledger(db) as ledger:
        entry = restore.find_entry(ledger, digest)
        blobs, attempts = ledger.blobs(entry.digest), ledger.attempts(entry.digest)
        curve = json.loads(zlib.decompress(blobs["curve"])) if "curve" in blobs else []
        if as_json:
            out.print_json(json.dumps(_as_json(entry, curve, blobs, attempts), allow_nan=False))
            return
        _print_job(out, entry, curve, attempts)
        for problem in entry_problems(entry, blobs):
            out.print(f"! {problem}", style="red", highlight=False)


def _as_json(
    entry: LedgerEntry,
    curve: Sequence[Sequence[Any]],
    blobs: Mapping[str, bytes],
    attempts: list[dict[str, Any]],
) -> dict[str, Any]:
    predictions = unpack_predictions(blobs["predictions"]) if "predictions" in blobs else None
    return {
        "schema": 1,
        "digest": entry.digest,
        "state": entry.state,
        "note": entry.note,
        "setting": entry.setting,
        "at": {
            "size": entry.size,
            "draw": entry.draw,
            "seed": entry.seed,
            "rows": entry.fingerprint,
        },
        "rows": {"train": entry.n_train, "dev": entry.n_dev, "test": entry.n_test},
        "metrics": {name: _json_number(value) for name, value in entry.metrics.items()},
        "result": entry.result,
        "curve": [_curve_entry(values) for values in curve],
        "predictions": predictions and [_json_value(value) for value in predictions],
        "attempts": attempts,
    }


def _json_value(value: Label) -> Any:
    """Return a prediction as JSON holds it: texts as they are, sets of classes as lists."""
    if isinstance(value, str):
        return value
    return list(value) if isinstance(value, tuple) else _json_number(value)


def _json_number(value: float | None) -> float | str | None:
    """Return a finite number unchanged, and any other one as text, since JSON cannot hold it."""
    return value if value is None or math.isfinite(value) else str(value)


def _curve_entry(values: Sequence[Any]) -> dict[str, Any]:
    copies = {"copies": [_json_number(score) for score in values[4]]} if len(values) > 4 else {}
    return dict(zip(CURVE, map(_json_number, values[:4]), strict=False)) | copies


def _print_job(
    out: Console, entry: LedgerEntry, curve: Sequence[Sequence[Any]], attempts: list[dict[str, Any]]
) -> None:
    name = f"{entry.label} on {entry.task}, size {entry.size}, draw {entry.draw}, seed {entry.seed}"
    out.print(name, style="bold", markup=False, highlight=False)
    setting = entry.setting
    counts = f"{entry.n_train} training, {entry.n_dev} dev, {entry.n_test} test"
    lines = [
        ("digest", entry.digest),
        ("state", f"{entry.state} {entry.note}".strip()),
        ("backbone", ", ".join(f"{key} {value}" for key, value in setting["backbone"].items())),
        ("options", _assignments(setting["method"]["options"])),
        ("recipe", _assignments(setting["recipe"])),
        ("rows", f"{counts}; fingerprint {entry.fingerprint}"),
        *(
            (metric_title(metric, setting["task"]["labels"]), f"{100 * value:.2f}")
            for metric, value in sorted(entry.metrics.items())
        ),
        *(_result_lines(entry.result, entry.geometry, entry.n_test) if entry.result else ()),
        *(_curve_lines(curve, (entry.result or {}).get("best_step")) if curve else ()),
        *(
            ("attempt", f"{attempt['ended']} {attempt['outcome']} {attempt['error']}".strip())
            for attempt in attempts
        ),
    ]
    table = Table.grid(padding=(0, 2))
    for key, value in lines:
        table.add_row(Text(key, "dim"), Text(value))
    out.print(table)


def _assignments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _curve_lines(curve: Sequence[Sequence[Any]], best_step: int | None) -> list[tuple[str, str]]:
    steps = f"steps {curve[0][0]} to {curve[-1][0]}"
    lines = [("dev curve", f"{_sparkline([values[2] for values in curve])}  {steps}")]
    chosen = next((values for values in curve if values[0] == best_step), ())
    if len(chosen) > 4:  # the dev score of each copy of the dev rows
        scores = [100 * score for score in chosen[4]]
        text = (
            f"{len(scores)} dev scores at the selected step: {min(scores):.1f} to {max(scores):.1f}"
            f", mean {fmean(scores):.1f}, standard deviation {pstdev(scores):.1f}"
        )
        lines.append(("sampled models", text))
    return lines


def _result_lines(
    result: Mapping[str, Any], geometry: Geometry, n_test: int
) -> list[tuple[str, str]]:
    per_row = 1000 * result["seconds_evaluation"] / max(1, n_test)
    seconds = (
        f"training {duration(result['seconds_training'])}, "
        f"testing {duration(result['seconds_evaluation'])} ({per_row:.1f} ms per row)"
    )
    score = "NaN" if result["dev_score"] is None else f"{100 * result['dev_score']:.2f}"
    kept = f"tensors {result['artefact']}" if result["artefact"] else "tensors not kept"
    size = f"{result['trained']:,} parameters; {result['stored']:,} bytes to store; {kept}"
    return [
        ("selected", f"step {result['best_step']}, dev score {score}"),
        ("trained", size),
        ("cost", f"{seconds}, peak memory {result['peak_bytes'] / 2**20:,.0f} MiB"),
        ("device", f"{result['device']}, {_describe(geometry)}"),
        ("versions", ", ".join(f"{name} {value}" for name, value in result["versions"].items())),
    ]


def _describe(geometry: Geometry) -> str:
    """Describe in words how a job was trained and tested."""
    if geometry.in_pack:
        steps = f", steps {geometry.step_mode}" if geometry.step_mode else ""
        text = (
            f"trained in a pack of {geometry.pack_size} jobs, {geometry.micro_batch} rows of "
            f"{geometry.length} tokens each{steps}; its seconds are its share"
        )
    elif geometry.micro_batch:
        text = f"trained alone, {geometry.micro_batch} rows of a step at a time"
    elif geometry.shared_features:
        text = "fitted on features computed once for all jobs; its seconds are its share"
    else:
        text = "trained alone"
    limit = f"; tested in calls of at most {geometry.test_tokens} tokens"
    return text + (limit if geometry.test_tokens else "")


def _sparkline(values: Sequence[float]) -> str:
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    bars = "▁▂▃▄▅▆▇█"
    scale = 7 / (high - low) if high > low else 0.0
    return "".join(
        bars[round((value - low) * scale)] if math.isfinite(value) else "?" for value in values
    )
