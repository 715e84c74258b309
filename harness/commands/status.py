"""`bench status`. It imports little, because most of its time is the start of Python."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from harness.ledger.database import damage_errors
from harness.ledger.overview import Overview
from harness.wording import plural

WATCH_SECONDS = 2.0  # between two updates of `status --watch`
SHOWN = 10  # errors that are printed
STATES = {
    "done": "done",
    "planned": "to do",
    "claimed": "running",
    "failed": "failed",
    "diverged": "diverged",
    "infeasible": "infeasible",
}


def show_status(db: str, *, as_json: bool) -> None:
    """Print how many jobs are in each state, by backbone and method, and the latest errors."""
    from rich.console import Console

    from harness.wording import duration

    out = Console()
    counts, errors, seconds, findings = _read(db)
    if as_json:
        methods = [
            {"model": model, "method": label, **states} for (model, label), states in counts.items()
        ]
        failures = [{"digest": digest, "error": error} for digest, error in errors.items()]
        found = {"methods": methods, "errors": failures, "data": findings}
        out.print_json(data={"schema": 1, **found})
        return
    out.print(_table(counts))
    done = sum(states["done"] for states in counts.values())
    total = sum(states.total() for states in counts.values())
    out.print(
        f"{done} of {plural(total, 'job')} done, {duration(seconds)} of computing", highlight=False
    )
    for digest, error in list(errors.items())[-SHOWN:]:
        out.print(
            f"{digest[:12]}  {error.splitlines()[0] if error else ''}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    for said in findings.values():
        for text in said:
            out.print(f"data: {text}", markup=False, highlight=False, soft_wrap=True)


def watch_status(db: str) -> None:
    """Print the status every two seconds, in place on a terminal, until Ctrl-C."""
    from contextlib import suppress
    from time import sleep

    from rich.console import Console
    from rich.live import Live

    out = Console()
    with suppress(KeyboardInterrupt):
        if not out.is_terminal:
            while True:
                show_status(db, as_json=False)
                sleep(WATCH_SECONDS)
        with Live(console=out, auto_refresh=False) as live:
            while True:
                live.update(_table(_read(db)[0]), refresh=True)
                sleep(WATCH_SECONDS)


def _read(
    db: str,
) -> tuple[dict[tuple[str, str], Counter[str]], dict[str, str], float, dict[str, list[str]]]:
    """Return the number of jobs per state by backbone and method, the last error by digest, seconds, and findings."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    with damage_errors(db), Overview(db) as ledger:
        errors, seconds, findings = dict(ledger.errors()), ledger.seconds(), ledger.findings()
        models = ledger.backbones()
        for setting, label, state, count in ledger.counts():
            counts.setdefault((models[setting], label), Counter())[state] += count
    return counts, errors, seconds, findings


def _table(counts: Mapping[tuple[str, str], Counter[str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    present = [state for state in STATES if any(states[state] for states in counts.values())]
    table = Table("backbone", "method", box=None, pad_edge=False)
    for state in present:
        table.add_column(STATES[state], justify="right")
    for (model, label), states in counts.items():
        table.add_row(model, Text(label), *(str(states[state] or "·") for state in present))
    return table
