"""What `report`, `status` and `show` do: they open the ledger for reading only."""

from __future__ import annotations

import json
import math
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

from harness import request, scores, stored
from harness.display import duration
from harness.errors import CannotWrite, CorruptData, UsageError
from harness.geometry import rows_of
from harness.jobs import BackboneSpec, recipe_from
from harness.ledger import Entry, Known, Ledger
from harness.ledger.database import shown
from harness.options import GridOptions
from harness.tasks import GROUPS
from harness.verifying import doubtful, doubts

if TYPE_CHECKING:
    from reports.comparison import Comparison

WATCHED = 2.0  # seconds between two looks of `status --watch`

# Of a dev curve; the scores of copies are there where sampled models saw them.
POINT = ("step", "train_loss", "dev_score", "dev_loss", "copies")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which results to read."""

    db: str
    methods: str | None
    tasks: str | None
    sizes: str | None
    model: str | None
    recipe: int | None


@contextmanager
def opened(db: str) -> Iterator[Ledger]:
    """A ledger to read from. What cannot be read as the ledger wrote it is damage, whatever error it ends in."""
    try:
        with Ledger(db) as ledger:
            yield ledger
    except (ValueError, TypeError, LookupError, ArithmeticError, zlib.error, struct.error) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise CorruptData(f"{shown(db)} holds what bench did not write ({reason}); it was left as it is") from error


# -- report ------------------------------------------------------------------------------------------------------------


def write_report(chosen: Selection, form: str, baseline: str | None, output: Path | None) -> None:
    """`bench report`.

    Raises:
        UsageError: the selection is empty, or mixes backbones or recipes.
    """
    import shutil

    from reports import render

    comparison = comparison_of(chosen, baseline)
    color = form == "terminal" and output is None and sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 40)).columns
    command = " ".join(["bench", *sys.argv[1:]])
    text = render(comparison, format=form, command=command, width=width, color=color)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise CannotWrite(f"{output} cannot be written: {error.strerror}") from error


def comparison_of(chosen: Selection, baseline: str | None) -> Comparison:
    """What the chosen results say; results on earlier data are left out with a word about it.

    Raises:
        UsageError: the selection is empty, or mixes backbones or recipes.
    """
    from reports import compare
    from reports.frame import Mixed, Nothing

    reading = request.Reading(GridOptions())
    sizes = [reading.number("sizes", entry, least=1) for entry in request.split(chosen.sizes)] if chosen.sizes else None
    if reading.problems:
        raise UsageError(*reading.problems)
    tasks = _expanded(chosen.tasks)
    with opened(chosen.db) as ledger:
        known, outdated = _current(ledger.settings())
        known = _one_recipe(_one_backbone(known, chosen.model), chosen.recipe)
        wanted = [one.id for one in known if not tasks or one.setting["task"]["task"] in tasks]
        wanted = wanted or [one.id for one in known]
        entries = ledger.entries(settings=wanted)
        blobs = ledger.all_blobs(wanted)
        if wrong := list(doubtful(entries, blobs)):
            raise CorruptData("\n".join([f"{chosen.db} is not what bench wrote (`bench db verify` tells more):", *wrong[:3]]))
        runs = scores.runs(entries, blobs)
    for task, count in outdated.items():
        print(f"bench: {task}: {count} results on earlier data of that name are left out", file=sys.stderr)  # noqa: T201
    methods = request.split(chosen.methods) if chosen.methods else None
    try:
        return compare(runs, baseline=baseline, methods=methods, tasks=tasks, sizes=sizes)
    except (Mixed, Nothing) as error:
        raise UsageError(str(error)) from error


def _current(known: Sequence[Known]) -> tuple[list[Known], Counter[str]]:
    """The settings on the data that each task was last run on; and how many jobs the others have, by task."""
    outdated = outdated_settings(known)
    old: Counter[str] = Counter()
    for one in outdated:
        old[one.setting["task"]["task"]] += one.jobs
    ids = {one.id for one in outdated}
    return [one for one in known if one.id not in ids], old


def outdated_settings(known: Sequence[Known]) -> list[Known]:
    """Those of results on other data than each task was last run on."""
    last = {one.setting["task"]["task"]: one.setting["task"] for one in known}
    return [one for one in known if one.setting["task"] != last[one.setting["task"]["task"]]]


def _expanded(tasks: str | None) -> list[str] | None:
    if not tasks:
        return None
    names = [member for name in request.split(tasks) for member in GROUPS.get(name, (name,))]
    return list(dict.fromkeys(names))


def _one_backbone(known: list[Known], model: str | None) -> list[Known]:
    if model is None:
        return known
    lines = {one.id: BackboneSpec(**one.setting["backbone"]).line() for one in known}
    chosen = [one for one in known if model.lower() in lines[one.id].lower()]
    if not chosen and known:
        raise UsageError(f"no results of a backbone called {model!r}; there are: {'; '.join(sorted(set(lines.values())))}")
    return chosen


def _one_recipe(known: list[Known], number: int | None) -> list[Known]:
    if number is None:
        return known
    lines = {one.id: recipe_from(one.setting["recipe"]).line() for one in known}
    recipes = sorted(set(lines.values()))
    if not 1 <= number <= len(recipes):
        raise UsageError(f"--recipe: there is no recipe {number}; there are 1 to {len(recipes)}")
    return [one for one in known if lines[one.id] == recipes[number - 1]]


# -- status ------------------------------------------------------------------------------------------------------------


def show_status(db: str, *, as_json: bool) -> None:
    """`bench status`."""
    from rich.console import Console

    out = Console()
    counts, errors, spent = _status(db)
    if as_json:
        typed = [{"model": model, "method": label, **each} for (model, label), each in counts.items()]
        bad = [{"digest": digest, "error": error} for digest, error in errors.items()]
        out.print_json(json.dumps({"schema": 1, "methods": typed, "errors": bad}))
        return
    out.print(_status_table(counts))
    done, total = sum(each["done"] for each in counts.values()), sum(each.total() for each in counts.values())
    out.print(f"{done} of {total} cells done, {duration(spent)} of work", highlight=False)
    for digest, error in list(errors.items())[-10:]:
        out.print(f"{digest[:12]}  {error.splitlines()[0] if error else ''}", markup=False, highlight=False, soft_wrap=True)


def watch_status(db: str) -> None:
    """`bench status --watch`: the same again every two seconds, in place on a terminal, until Ctrl-C."""
    from contextlib import suppress
    from time import sleep

    from rich.console import Console
    from rich.live import Live

    out = Console()
    with suppress(KeyboardInterrupt):
        if not out.is_terminal:
            while True:
                show_status(db, as_json=False)
                sleep(WATCHED)
        with Live(console=out, auto_refresh=False) as live:
            while True:
                live.update(_status_table(_status(db)[0]), refresh=True)
                sleep(WATCHED)


def _status(db: str) -> tuple[dict[tuple[str, str], Counter[str]], dict[str, str], float]:
    """Counts of states by backbone and method, the last error of each job that ended badly, and seconds of work."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    with opened(db) as ledger:
        errors, spent = dict(ledger.errors()), ledger.seconds()
        models = ledger.backbones()
        for setting, label, state, count in ledger.counts():
            counts.setdefault((models[setting], label), Counter())[state] += count
    return counts, errors, spent


def _status_table(counts: Mapping[tuple[str, str], Counter[str]]) -> Any:
    from rich.table import Table

    order = ("done", "planned", "claimed", "failed", "diverged", "infeasible")
    states = [state for state in order if any(each[state] for each in counts.values())]
    table = Table("backbone", "method", box=None, pad_edge=False)
    for state in states:
        table.add_column({"planned": "to do", "claimed": "running"}.get(state, state), justify="right")
    for (model, label), each in counts.items():
        table.add_row(model, _plain(label), *(str(each[state] or "·") for state in states))
    return table


# -- show --------------------------------------------------------------------------------------------------------------


def show_jobs(db: str, *, as_json: bool) -> None:
    """`bench show` without a digest: one line a job."""
    from rich.console import Console
    from rich.table import Table

    out = Console()
    with opened(db) as ledger:
        entries = ledger.entries()
    if as_json:
        names = ("digest", "label", "task", "size", "draw", "seed", "state")
        typed = [{n: getattr(e, n) for n in names} | {"score": _writable(e.metrics.get("score"))} for e in entries]
        out.print_json(json.dumps({"schema": 1, "jobs": typed}))
        return
    table = Table("digest", "method", "task", "size", "draw", "seed", "state", "score", box=None, pad_edge=False)
    for entry in entries:
        score = f"{100 * entry.metrics['score']:.1f}" if "score" in entry.metrics else ""
        where = (str(entry.size), str(entry.draw), str(entry.seed))
        table.add_row(entry.digest[:12], _plain(entry.label), entry.task, *where, entry.state, score)
    out.print(table)


def show_job(db: str, digest: str, *, as_json: bool) -> None:
    """`bench show`.

    Raises:
        UsageError: no job or several begin so.
    """
    from rich.console import Console

    out = Console()
    with opened(db) as ledger:
        entry = stored.find(ledger, digest)
        blobs, attempts = ledger.blobs(entry.digest), ledger.attempts(entry.digest)
        curve = json.loads(zlib.decompress(blobs["curve"])) if "curve" in blobs else []
        if as_json:
            out.print_json(json.dumps(_job_json(entry, curve, blobs, attempts), allow_nan=False))
            return
        _print_job(out, entry, curve, attempts)
        for problem in doubts(entry, blobs):
            out.print(f"! {problem}", style="red", highlight=False)


def _job_json(entry: Entry, curve: Any, blobs: dict[str, bytes], attempts: list[dict[str, Any]]) -> dict[str, Any]:
    from harness.outcome import unpack_predictions

    predictions = unpack_predictions(blobs["predictions"]) if "predictions" in blobs else None
    return {
        "schema": 1,
        "digest": entry.digest,
        "state": entry.state,
        "note": entry.note,
        "setting": entry.setting,
        "at": {"size": entry.size, "draw": entry.draw, "seed": entry.seed, "rows": entry.fingerprint},
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


def _print_job(out: Any, entry: Entry, curve: Sequence[Sequence[Any]], attempts: list[dict[str, Any]]) -> None:
    from rich.table import Table

    setting = entry.setting
    out.print(
        f"{entry.label} on {entry.task}, size {entry.size}, draw {entry.draw}, seed {entry.seed}", style="bold", highlight=False
    )
    table = Table.grid(padding=(0, 2))
    rows: list[tuple[str, str]] = [("digest", entry.digest), ("state", f"{entry.state} {entry.note}".strip())]
    rows.append(("backbone", ", ".join(f"{name} {value}" for name, value in setting["backbone"].items())))
    rows.append(("options", ", ".join(f"{name}={value}" for name, value in setting["method"]["options"].items())))
    rows.append(("recipe", ", ".join(f"{name}={value}" for name, value in setting["recipe"].items())))
    rows.append(("rows", f"{entry.n_train} training, {entry.n_dev} dev, {entry.n_test} test; {entry.fingerprint}"))
    rows += [(name, f"{100 * value:.2f}") for name, value in sorted(entry.metrics.items())]
    if entry.result:
        rows += _result_rows(entry.result, entry.n_test)
    if curve:
        rows.append(("dev curve", f"{_sparkline([point[2] for point in curve])}  steps {curve[0][0]} to {curve[-1][0]}"))
    chosen = [point for point in curve if entry.result and point[0] == entry.result["best_step"]]
    if chosen and len(chosen[0]) > 4:  # the dev metric of every copy, each seen by sampled models of its own
        copies = [100 * copy for copy in chosen[0][4]]
        spread = f"{min(copies):.1f} to {max(copies):.1f}, mean {fmean(copies):.1f}, spread {pstdev(copies):.1f}"
        rows.append(("sampled models", f"{len(copies)} dev scores at the step chosen: {spread}"))
    rows += [("attempt", f"{one['ended']} {one['outcome']} {one['error']}".strip()) for one in attempts]
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
        ("trained", f"{result['trained']:,} parameters; {result['stored']:,} bytes to store; {kept}"),
        ("cost", f"{times}, peak {result['peak_bytes'] / 2**20:,.0f} MiB"),
        ("place", f"{result['device']}, {_place(result['geometry'])}"),
        ("versions", ", ".join(f"{name} {value}" for name, value in result["versions"].items())),
    ]


def _place(geometry: str) -> str:
    """How a job was trained: alone, or in a pack whose seconds are shared."""
    if at_a_time := rows_of(geometry):
        return f"trained alone, {at_a_time} rows of a step at a time"
    if geometry == "1":
        return "trained alone"
    places, rows, tokens = geometry.split("x")
    return f"trained in a pack of {places} places, {rows} rows, {tokens} tokens; its seconds are a share of the pack's"


def _sparkline(values: Sequence[float]) -> str:
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    marks = "▁▂▃▄▅▆▇█"
    step = 7 / (high - low) if high > low else 0.0
    return "".join(marks[round((value - low) * step)] if math.isfinite(value) else "?" for value in values)
