"""What `status` does. It imports little, because most of its time is the start of Python."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from harness.ledger.database import telling_damage
from harness.ledger.overview import Overview

WATCHED = 2.0  # seconds between two looks of `status --watch`


def show_status(db: str, *, as_json: bool) -> None:
    """`bench status`."""
    from rich.console import Console

    from harness.scheduling.display import duration

    out = Console()
    counts, errors, spent = _status(db)
    if as_json:
        typed = [
            {"model": model, "method": label, **each} for (model, label), each in counts.items()
        ]
        bad = [{"digest": digest, "error": error} for digest, error in errors.items()]
        out.print_json(json.dumps({"schema": 1, "methods": typed, "errors": bad}))
        return
    out.print(_status_table(counts))
    done, total = (
        sum(each["done"] for each in counts.values()),
        sum(each.total() for each in counts.values()),
    )
    out.print(f"{done} of {total} cells done, {duration(spent)} of work", highlight=False)
    for digest, error in list(errors.items())[-10:]:
        out.print(
            f"{digest[:12]}  {error.splitlines()[0] if error else ''}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


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
    with telling_damage(db), Overview(db) as ledger:
        errors, spent = dict(ledger.errors()), ledger.seconds()
        models = ledger.backbones()
        for setting, label, state, count in ledger.counts():
            counts.setdefault((models[setting], label), Counter())[state] += count
    return counts, errors, spent


def _status_table(counts: Mapping[tuple[str, str], Counter[str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    order = ("done", "planned", "claimed", "failed", "diverged", "infeasible")
    states = [state for state in order if any(each[state] for each in counts.values())]
    table = Table("backbone", "method", box=None, pad_edge=False)
    for state in states:
        table.add_column(
            {"planned": "to do", "claimed": "running"}.get(state, state), justify="right"
        )
    for (model, label), each in counts.items():
        table.add_row(model, Text(label), *(str(each[state] or "·") for state in states))
    return table
