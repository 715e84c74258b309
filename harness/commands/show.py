"""What `show` does: it opens the ledger for reading only."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean, pstdev
from typing import Any

from harness.artefacts import restore
from harness.commands.verify import doubts
from harness.geometry import Geometry, rows_of, shared
from harness.ledger import Entry, Ledger
from harness.ledger.database import telling_damage
from harness.scheduling.display import duration

# Of a dev curve; the scores of copies are there where sampled models saw them.
POINT = ("step", "train_loss", "dev_score", "dev_loss", "copies")


@contextmanager
def opened(db: str) -> Iterator[Ledger]:
    """A ledger to read from. What cannot be read as the ledger wrote it is damage, whatever error it ends in."""
    with telling_damage(db), Ledger(db) as ledger:
        yield ledger


def show_jobs(db: str, *, as_json: bool) -> None:
    """`bench show` without a digest: one line a job."""
    from rich.console import Console
    from rich.table import Table

    out = Console()
    with opened(db) as ledger:
        entries = ledger.entries()
    if as_json:
        names = ("digest", "label", "task", "size", "draw", "seed", "state")
        typed = [
            {n: getattr(e, n) for n in names} | {"score": _writable(e.metrics.get("score"))}
            for e in entries
        ]
        out.print_json(json.dumps({"schema": 1, "jobs": typed}))
        return
    table = Table(
        "digest",
        "method",
        "task",
        "size",
        "draw",
        "seed",
        "state",
        "score",
        box=None,
        pad_edge=False,
    )
    for entry in entries:
        score = f"{100 * entry.metrics['score']:.1f}" if "score" in entry.metrics else ""
        where = (str(entry.size), str(entry.draw), str(entry.seed))
        table.add_row(
            entry.digest[:12], _plain(entry.label), entry.task, *where, entry.state, score
        )
    out.print(table)


def show_job(db: str, digest: str, *, as_json: bool) -> None:
    """`bench show`.

    Raises:
        UsageError: no job or several begin so.
    """
    from rich.console import Console

    out = Console()
    with opened(db) as ledger:
        entry = restore.find(ledger, digest)
        blobs, attempts = ledger.blobs(entry.digest), ledger.attempts(entry.digest)
        curve = json.loads(zlib.decompress(blobs["curve"])) if "curve" in blobs else []
        if as_json:
            out.print_json(json.dumps(_job_json(entry, curve, blobs, attempts), allow_nan=False))
            return
        _print_job(out, entry, curve, attempts)
        for problem in doubts(entry, blobs):
            out.print(f"! {problem}", style="red", highlight=False)


def _job_json(
    entry: Entry, curve: Any, blobs: dict[str, bytes], attempts: list[dict[str, Any]]
) -> dict[str, Any]:
    from harness.outcome import unpack_predictions

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
        "metrics": {name: _writable(value) for name, value in entry.metrics.items()},
        "result": entry.result,
        "curve": [_named(point) for point in curve],
        "predictions": predictions and [_writable(value) for value in predictions],
        "attempts": attempts,
    }


def _writable(value: float | None) -> float | str | None:
    """A number as JSON can hold it; what is not finite by its name."""
    return value if value is None or math.isfinite(value) else str(value)


def _named(point: Sequence[Any]) -> dict[str, Any]:
    """One point of a dev curve."""
    numbers = dict(zip(POINT, map(_writable, point[:4]), strict=False))
    return numbers | ({"copies": [_writable(copy) for copy in point[4]]} if len(point) > 4 else {})


def _print_job(
    out: Any, entry: Entry, curve: Sequence[Sequence[Any]], attempts: list[dict[str, Any]]
) -> None:
    from rich.table import Table

    setting = entry.setting
    out.print(
        f"{entry.label} on {entry.task}, size {entry.size}, draw {entry.draw}, seed {entry.seed}",
        style="bold",
        highlight=False,
    )
    table = Table.grid(padding=(0, 2))
    rows: list[tuple[str, str]] = [
        ("digest", entry.digest),
        ("state", f"{entry.state} {entry.note}".strip()),
    ]
    rows.append(
        ("backbone", ", ".join(f"{name} {value}" for name, value in setting["backbone"].items()))
    )
    rows.append(
        (
            "options",
            ", ".join(f"{name}={value}" for name, value in setting["method"]["options"].items()),
        )
    )
    rows.append(
        ("recipe", ", ".join(f"{name}={value}" for name, value in setting["recipe"].items()))
    )
    rows.append(
        (
            "rows",
            f"{entry.n_train} training, {entry.n_dev} dev, {entry.n_test} test; {entry.fingerprint}",
        )
    )
    rows += [(name, f"{100 * value:.2f}") for name, value in sorted(entry.metrics.items())]
    if entry.result:
        rows += _result_rows(entry.result, entry.n_test)
    if curve:
        rows.append(
            (
                "dev curve",
                f"{_sparkline([point[2] for point in curve])}  steps {curve[0][0]} to {curve[-1][0]}",
            )
        )
    chosen = [point for point in curve if entry.result and point[0] == entry.result["best_step"]]
    if (
        chosen and len(chosen[0]) > 4
    ):  # the dev metric of every copy, each seen by sampled models of its own
        copies = [100 * copy for copy in chosen[0][4]]
        spread = f"{min(copies):.1f} to {max(copies):.1f}, mean {fmean(copies):.1f}, spread {pstdev(copies):.1f}"
        rows.append(("sampled models", f"{len(copies)} dev scores at the step chosen: {spread}"))
    rows += [
        ("attempt", f"{one['ended']} {one['outcome']} {one['error']}".strip()) for one in attempts
    ]
    for name, value in rows:
        table.add_row(f"[dim]{name}[/dim]", _plain(value))
    out.print(table)


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text)


def _result_rows(result: Any, tested: int) -> list[tuple[str, str]]:
    each = 1000 * result["seconds_evaluation"] / max(1, tested)
    times = f"{duration(result['seconds_training'])} training, {duration(result['seconds_evaluation'])} testing"
    times = f"{times} ({each:.1f} ms a row)"
    score = "not a number" if result["dev_score"] is None else f"{100 * result['dev_score']:.2f}"
    kept = f"artefact {result['artefact']}" if result["artefact"] else "artefact not kept"
    return [
        ("chosen", f"step {result['best_step']}, dev score {score}"),
        (
            "trained",
            f"{result['trained']:,} parameters; {result['stored']:,} bytes to store; {kept}",
        ),
        ("cost", f"{times}, peak {result['peak_bytes'] / 2**20:,.0f} MiB"),
        ("place", f"{result['device']}, {_place(result['geometry'])}"),
        ("versions", ", ".join(f"{name} {value}" for name, value in result["versions"].items())),
    ]


def _place(geometry: str) -> str:
    """How a job was trained and tested: alone, or in a pack whose seconds are shared."""
    geometry, _, within = geometry.partition("@")
    if within:
        return f"{_place(geometry)}; tested in calls of {within} tokens at most"
    if at_a_time := rows_of(geometry):
        return f"trained alone, {at_a_time} rows of a step at a time"
    pack = Geometry.read(geometry)
    if pack is None and shared(geometry):
        return "fitted on features that are computed once for all jobs; its seconds are a share"
    if pack is None:
        return "trained alone"
    steps = f", steps {pack.steps}" if pack.steps else ""
    return f"trained in a pack of {pack.places} places, {pack.rows} rows, {pack.length} tokens{steps}; its seconds are a share"


def _sparkline(values: Sequence[float]) -> str:
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    marks = "▁▂▃▄▅▆▇█"
    step = 7 / (high - low) if high > low else 0.0
    return "".join(
        marks[round((value - low) * step)] if math.isfinite(value) else "?" for value in values
    )
