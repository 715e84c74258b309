"""What `compare` does: two ledgers of the same jobs, before and after something changed."""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.report import Selection, expanded, put, runs_of, sizes_of, typed
from harness.errors import UsageError
from harness.ledger.database import shown
from harness.study import request

if TYPE_CHECKING:
    from reports.analysis.paired_runs import Run


def compare_ledgers(
    before: str, after: str, chosen: Selection, form: str, output: Path | None
) -> int:
    """`bench compare`; gives the exit code, 1 if a cell moved beyond noise.

    Raises:
        UsageError: the two have nothing in common.
        CorruptData, Unavailable, CannotWrite: a ledger cannot be read, or the file not written.
    """
    from reports.analysis.ledger_diff import Moves, as_document, headline, moves
    from reports.formats.latex import as_latex
    from reports.formats.markdown import as_markdown
    from reports.formats.terminal import as_terminal

    old, new = (runs_of(replace(chosen, db=db))[0] for db in (before, after))
    methods = request.split(chosen.methods) if chosen.methods else None
    tasks, sizes = expanded(chosen.tasks), sizes_of(chosen)

    def kept(runs: list[Run]) -> list[Run]:
        return [
            run
            for run in runs
            if (not methods or run.method in methods or run.method.partition("(")[0] in methods)
            and (not tasks or run.task in tasks)
            and (not sizes or run.size in sizes)
        ]

    found: Moves = moves(kept(old), kept(new))
    if not found.cells:
        raise UsageError(headline(found))
    if form == "json":
        cells = [
            {name: _writable(value) for name, value in asdict(move).items()}
            | {"moved": move.moved, "found": move.word}
            for move in found.cells
        ]
        content = {
            "schema": 1,
            "verdict": headline(found),
            "cells": cells,
            "only_before": found.only_before,
        }
        content |= {"only_after": found.only_after, "other_rows": found.other_rows}
        put(json.dumps(content, sort_keys=True, indent=2, allow_nan=False) + "\n", output)
    else:
        page = as_document(found, before=shown(before), after=shown(after), command=typed())
        color = output is None and sys.stdout.isatty()
        width = shutil.get_terminal_size((100, 40)).columns
        if form == "terminal":
            text = as_terminal(page, width=width, color=color)
        else:
            text = as_markdown(page) if form == "markdown" else as_latex(page)
        put(text, output)
    return int(any(move.moved for move in found.cells))


def _writable(value: object) -> object:
    """A value as JSON can hold it; what is no number is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, tuple | list):
        return [_writable(inner) for inner in value]
    return value
