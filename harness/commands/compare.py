"""`bench compare`: name the cells that changed between two databases of the same jobs."""

import json
import math
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

from harness.commands.report import command_line, print_or_write
from harness.errors import UsageError
from harness.ledger.database import display_name
from harness.results.query import ResultQuery
from harness.results.runs import runs_of
from reports.analysis.ledger_diff import LedgerDiff, as_document, diff_ledgers, headline
from reports.analysis.run import Run
from reports.formats.latex import as_latex
from reports.formats.markdown import as_markdown
from reports.formats.terminal import as_terminal


def compare_ledgers(
    before: str, after: str, query: ResultQuery, form: str, output: Path | None
) -> int:
    """Compare two databases, cell by cell, and print or write the result.

    Args:
        before: a database of results.
        after: another one.
        query: which results of both; its `db` is ignored.
        form: `terminal`, `markdown`, `latex` or `json`.
        output: a file; None: standard output.

    Returns:
        The exit code: 1 if a cell moved beyond noise.

    Raises:
        UsageError: the two have no cell in common.
        CorruptData, Unavailable: a database cannot be read.
        CannotWrite: the file cannot be written.
    """
    result = diff_ledgers(_runs(query, before), _runs(query, after))
    if not result.cells:
        raise UsageError(headline(result))
    if form == "json":
        text = json.dumps(_as_json(result), sort_keys=True, indent=2, allow_nan=False) + "\n"
    else:
        page = as_document(
            result, before=display_name(before), after=display_name(after), command=command_line()
        )
        if form == "terminal":
            text = as_terminal(
                page,
                width=shutil.get_terminal_size((100, 40)).columns,
                color=output is None and sys.stdout.isatty(),
            )
        else:
            text = as_markdown(page) if form == "markdown" else as_latex(page)
    print_or_write(text, output)
    return int(any(move.moved for move in result.cells))


def _runs(query: ResultQuery, db: str) -> list[Run]:
    methods, tasks, sizes = query.method_names(), query.task_names(), query.size_numbers()
    return [
        run
        for run in runs_of(replace(query, db=db))[0]
        if (not methods or run.method in methods or run.method.partition("(")[0] in methods)
        and (not tasks or run.task in tasks)
        and (not sizes or run.size in sizes)
    ]


def _as_json(result: LedgerDiff) -> dict[str, object]:
    return {
        "schema": 1,
        "verdict": headline(result),
        "cells": [
            {name: finite_or_null(value) for name, value in asdict(move).items()}
            | {"moved": move.moved, "found": move.word}
            for move in result.cells
        ],
        "only_before": result.only_before,
        "only_after": result.only_after,
        "other_rows": result.other_rows,
    }


def finite_or_null(value: object) -> object:
    """Replace NaN and infinities by null, which JSON lacks."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, tuple | list):
        return [finite_or_null(item) for item in value]
    return value
