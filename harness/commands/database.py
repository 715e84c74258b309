"""What the commands `bench db ...` do, between the command line and the ledger."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness.artefacts import tensor_files
from harness.artefacts.tensor_files import folder as artefact_folder
from harness.commands import verify as verification
from harness.commands.show import opened
from harness.errors import Busy, CorruptData, UsageError
from harness.ledger import Entry, Ledger
from harness.ledger.database import is_url, schema_of, shown, telling_damage
from harness.scheduling.display import job_line
from harness.tasks import own

SHOWN = 20  # problems that are printed before it says how many more there are


def verify(db: str, rerun: str | None, task_files: Sequence[Path], device: str) -> int:
    """`bench db verify`; gives the exit code.

    Raises:
        CorruptData: something does not fit together.
    """
    out = Console()
    with opened(db) as ledger:
        entries = ledger.entries()
        done = [entry for entry in entries if entry.result]
        found = list(verification.problems(ledger))
        found += verification.lost_tensors(ledger, artefact_folder(db))
        if found:
            more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
            raise CorruptData(
                "\n".join([f"{shown(db)}: {len(found)} things are wrong", *found[:SHOWN], *more])
            )
        kept = sum(entry.result["artefact"] is not None for entry in done if entry.result)
        text = f"{len(entries)} jobs, {len(done)} results, each with its own hash; {kept} files of trained tensors"
        out.print(f"{shown(db)} is whole: {text}", markup=False, highlight=False, soft_wrap=True)
        return (
            _rerun(out, ledger, verification.chosen(entries, rerun), task_files, device)
            if rerun
            else 0
        )


def _rerun(
    out: Console, ledger: Ledger, some: Sequence[Entry], task_files: Sequence[Path], device: str
) -> int:
    import torch

    torch.set_num_threads(1)  # as in a worker, where sums are added in the same order
    tasks = {task.name: task for task in map(own.from_toml, task_files)}
    results = []
    for number, entry in enumerate(some, start=1):
        result = verification.again(ledger, entry, tasks, device, lambda *_: None)
        results.append(result)
        line = f"[{number}/{len(some)}] {entry.digest[:12]} {job_line(verification.job_of(entry))}: {_said(result)}"
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


def _said(result: verification.Again) -> str:
    if result.problem:
        return result.problem
    if result.equal:
        return "equal to the last digit"
    values = [
        f"{name} {now:.6g}, recorded {before:.6g}"
        for name, (before, now) in (result.differences or {}).items()
    ]
    return "; ".join([*values[:3], f"{result.flipped} test rows are answered otherwise"])


def upgrade(db: str) -> None:
    """`bench db upgrade`: bring a database to this version's schema; a copy as it was stays beside it."""
    from harness.ledger.migrations import CURRENT

    before = schema_of(db)
    with Ledger(db, write=True):
        pass
    kept = f"; as it was: {db}.schema-{before}" if 0 < before < CURRENT and not is_url(db) else ""
    name = shown(db)
    text = (
        f"{name} is up to date (schema {CURRENT})"
        if before == CURRENT
        else f"{name}: schema {before} is now {CURRENT}{kept}"
    )
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def backup(db: str, copy: Path) -> None:
    """`bench db backup`: a consistent copy, also while a run goes on; with the files of trained tensors.

    Raises:
        CannotWrite, DiskTrouble: the copy exists or cannot be made.
    """
    with Ledger(db) as ledger:
        ledger.copy_to(copy)
        entries = [entry for entry in ledger.entries() if entry.result and entry.result["artefact"]]
    where, there = artefact_folder(db), artefact_folder(copy)
    missing = 0
    for entry in entries:  # those that the copy knows; a run may be writing more
        try:
            tensor_files.copy(where / f"{entry.digest}.safetensors", there)
        except FileNotFoundError:
            missing += 1
    text = f"{copy}: a copy of {db}, with {len(entries) - missing} files of trained tensors"
    text += f"; {missing} files are missing (`bench db verify` names them)" if missing else ""
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def merge(target: str, sources: Sequence[str]) -> int:
    """`bench db merge`; gives the exit code: 1 if a job has two results that differ.

    Raises:
        UsageError: a database is merged into itself.
        DiskTrouble: there is no room for its tensors; what was merged stays, and the same command
            goes on.
    """
    from harness.ledger.merging import merge as merge_ledgers

    out, unequal = Console(), 0
    for source in sources:
        if Path(source).absolute() == Path(target).absolute():
            raise UsageError(f"{shown(source)} cannot be merged into itself")
        with Ledger(source) as theirs, Ledger(target, write=True) as ours:
            merged = merge_ledgers(ours, theirs)
            files = _take_tensors(theirs, source, target)
        unequal += len(merged.unequal)
        new = f"{merged.jobs} jobs that {shown(target)} did not know"
        parts = [f"{merged.results} results", new, f"{files} files of tensors"]
        parts += [f"{merged.same} results were there already"] if merged.same else []
        out.print(
            f"{shown(source)}: {', '.join(parts)}", markup=False, highlight=False, soft_wrap=True
        )
        for digest in merged.unequal[:SHOWN]:
            text = f"{digest[:12]} has other numbers in {shown(source)}; those of {shown(target)} stand"
            out.print(text, markup=False, highlight=False, soft_wrap=True)
    return 1 if unequal else 0


def _take_tensors(theirs: Ledger, source: str, target: str) -> int:
    """Files of tensors that the target's folder lacks."""
    where, there = artefact_folder(source), artefact_folder(target)
    taken = 0
    for entry in theirs.entries():
        file = where / f"{entry.digest}.safetensors"
        if (
            entry.result
            and entry.result["artefact"]
            and file.exists()
            and not (there / file.name).exists()
        ):
            tensor_files.copy(file, there)
            taken += 1
    return taken


def prune(db: str, *, unfinished: bool, outdated: bool, yes: bool) -> None:
    """`bench db prune`: take away what nobody will ask for; without `yes`, only say what that is."""
    from harness.commands.report import outdated_settings

    out = Console()
    schema_of(db)
    with telling_damage(db), Ledger(db, write=yes) as ledger:
        if yes and ledger.others():
            raise Busy(
                f"a run is going on in {shown(db)}, and what it has written is not recorded yet: wait for its end"
            )
        old = [one.id for one in outdated_settings(ledger.settings())] if outdated else []
        entries = ledger.entries()
        doomed = {entry.digest for entry in ledger.entries(settings=old)} if old else set()
        doomed |= {
            entry.digest
            for entry in entries
            if unfinished and entry.state in ("planned", "failed", "infeasible")
        }
        kept = {
            entry.digest for entry in entries if entry.result and entry.result["artefact"]
        } - doomed
        folder = artefact_folder(db)
        there = [path for path in sorted(folder.glob("*")) if path.is_file()]
        files = [path for path in there if path.suffix != ".safetensors" or path.stem not in kept]
        size = sum(path.stat().st_size for path in files)
        if yes:
            ledger.forget(sorted(doomed))
            for path in files:
                path.unlink(missing_ok=True)
            ledger.vacuum()
    said = "taken away" if yes else "would be taken away (--yes does it)"
    text = f"{len(doomed)} cells and {len(files)} files of tensors that belong to no result ({size / 2**20:.1f} MiB): {said}"
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def vacuum(db: str) -> None:
    """`bench db vacuum`: give the space of deleted rows back to the disk."""
    before = Path(db).stat().st_size if not is_url(db) and Path(db).exists() else 0
    schema_of(db)
    with Ledger(db, write=True) as ledger:
        ledger.vacuum()
    after = Path(db).stat().st_size if before else 0
    Console().print(
        f"{shown(db)}: {before / 2**20:.1f} MiB are now {after / 2**20:.1f} MiB",
        markup=False,
        highlight=False,
    )
