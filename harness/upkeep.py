"""What the commands `bench db ...` do, between the command line and the ledger."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness import verifying
from harness.artefacts import folder as artefact_folder
from harness.display import job_line
from harness.errors import CorruptData
from harness.ledger import Entry, Ledger
from harness.ledger.database import is_url
from harness.tasks import own

SHOWN = 20  # problems that are printed before it says how many more there are


def verify(db: str, rerun: str | None, task_files: Sequence[Path], device: str) -> int:
    """`bench db verify`; gives the exit code.

    Raises:
        CorruptData: something does not fit together.
    """
    out = Console()
    with Ledger(db) as ledger:
        entries = ledger.entries()
        done = [entry for entry in entries if entry.result]
        found = list(verifying.problems(ledger))
        if not is_url(db):
            found += verifying.lost_tensors(ledger, artefact_folder(Path(db)))
        if found:
            more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
            raise CorruptData("\n".join([f"{db}: {len(found)} things are wrong", *found[:SHOWN], *more]))
        kept = sum(entry.result["artefact"] is not None for entry in done if entry.result)
        out.print(
            f"{db} is whole: {len(entries)} jobs, {len(done)} results, each with its own hash; {kept} files of trained tensors",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
        return _rerun(out, ledger, verifying.chosen(entries, rerun), task_files, device) if rerun else 0


def _rerun(out: Console, ledger: Ledger, some: Sequence[Entry], task_files: Sequence[Path], device: str) -> int:
    import torch

    torch.set_num_threads(1)  # as in a worker, where sums are added in the same order
    tasks = {task.name: task for task in map(own.from_toml, task_files)}
    results = []
    for number, entry in enumerate(some, start=1):
        result = verifying.again(ledger, entry, tasks, device, lambda *_: None)
        results.append(result)
        line = f"[{number}/{len(some)}] {entry.digest[:12]} {job_line(verifying.job_of(entry))}: {_said(result)}"
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    equal = sum(result.equal for result in results)
    out.print(f"{equal} of {len(results)} came out equal to the last digit", highlight=False)
    elsewhere = [result for result in results if not result.equal and not result.same_place]
    if elsewhere:
        out.print(
            f"{len(elsewhere)} were recorded with other versions or on another device, where last digits differ",
            highlight=False,
        )
    sys.stdout.flush()
    return 0 if equal + len(elsewhere) == len(results) else 1


def _said(result: verifying.Again) -> str:
    if result.problem:
        return result.problem
    if result.equal:
        return "equal to the last digit"
    values = [f"{name} {now:.6g}, recorded {before:.6g}" for name, (before, now) in (result.differences or {}).items()]
    return "; ".join([*values[:3], f"{result.flipped} test rows are answered otherwise"])
