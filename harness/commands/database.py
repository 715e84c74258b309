"""`bench db upgrade`, `backup`, `merge`, `prune` and `vacuum`."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness.artefacts import tensor_files
from harness.errors import Busy, UsageError
from harness.ledger import Ledger, merging
from harness.ledger.database import damage_errors, display_name, is_url, schema_of
from harness.scheduling.summary import print_line
from harness.study import data_findings
from harness.wording import plural

SHOWN = 20  # unequal jobs that `merge` prints per database


def upgrade(db: str) -> None:
    """Bring a database to this version's schema; a copy of an SQLite file stays beside it."""
    from harness.ledger.migrations import CURRENT

    before = schema_of(db)
    with Ledger(db, write=True):
        pass
    old = f"; the old file is {db}.schema-{before}" if before > 0 and not is_url(db) else ""
    text = f"upgraded {display_name(db)} from schema {before} to {CURRENT}{old}"
    if before == CURRENT:
        text = f"{display_name(db)} is up to date (schema {CURRENT})"
    print_line(Console(), text)


def backup(db: str, copy: Path) -> None:
    """Write a consistent copy of a database and of its tensor files, also during a run.

    Raises:
        CannotWrite, DiskTrouble: the copy exists or cannot be written.
    """
    with Ledger(db) as ledger:
        ledger.copy_to(copy)
        # Only the tensor files that the copy refers to: a run may be writing further ones.
        entries = [entry for entry in ledger.entries() if entry.result and entry.result["artefact"]]
    source, target = tensor_files.folder(db), tensor_files.folder(copy)
    missing = 0
    for entry in entries:
        try:
            tensor_files.copy(source / f"{entry.digest}.safetensors", target)
        except FileNotFoundError:
            missing += 1
    copied = plural(len(entries) - missing, "tensor file")
    lost = f"; missing: {plural(missing, 'tensor file')} (`bench db verify` names them)"
    print_line(
        Console(),
        f"copied {display_name(db)} to {copy} with {copied}{lost if missing else ''}",
    )


def merge(target: str, sources: Sequence[str]) -> int:
    """Copy jobs, results and tensor files of other databases into one.

    Returns:
        The exit code: 1 if two databases have different results of one job.

    Raises:
        UsageError: a database is to be merged into itself, or has data of another file under a task's name.
        DiskTrouble: the disk is full. What was merged stays; the same command continues.
    """
    for source in sources:
        if Path(source).absolute() == Path(target).absolute():
            raise UsageError(f"{display_name(source)} cannot be merged into itself")
    unequal = 0
    with Ledger(target, write=True) as ours:
        values, runs = {target: ours.meta_values()}, []
        for source in sources:
            with Ledger(source) as theirs:
                values[source] = theirs.meta_values()
                runs.append(merging.runs_of(theirs))
        data_findings.check_merge(values)
        merging.record_looks(ours, runs)
        for note in data_findings.merged(values):
            print_line(Console(stderr=True), f"note: {note}")
        for source in sources:
            with Ledger(source) as theirs:
                merged = merging.merge(ours, theirs)
                files = _copy_tensors(theirs, target)
            _print_merged(source, target, merged, files)
            unequal += len(merged.unequal)
    return 1 if unequal else 0


def _print_merged(source: str, target: str, merged: merging.MergeCounts, files: int) -> None:
    counts = [
        plural(merged.jobs, "new job"),
        plural(merged.results, "new result"),
        plural(files, "new tensor file"),
    ]
    counts += [plural(merged.same, "known result")] if merged.same else []
    print_line(Console(), f"{display_name(source)}: {', '.join(counts)}")
    for digest in merged.unequal[:SHOWN]:
        print_line(
            Console(),
            f"{digest[:12]} has other results in {display_name(source)}: "
            f"the result in {display_name(target)} is kept",
        )


def _copy_tensors(source: Ledger, target: str) -> int:
    """Copy the tensor files that the target lacks, and return how many there were."""
    from_folder, to_folder = tensor_files.folder(source.name), tensor_files.folder(target)
    copied = 0
    for entry in source.entries():
        file = from_folder / f"{entry.digest}.safetensors"
        kept = entry.result and entry.result["artefact"] and file.exists()
        if kept and not (to_folder / file.name).exists():
            tensor_files.copy(file, to_folder)
            copied += 1
    return copied


def prune(db: str, *, unfinished: bool, outdated: bool, yes: bool) -> None:
    """Delete jobs without a result, outdated results and tensor files without a result.

    Args:
        db: the database of results.
        unfinished: delete jobs that are planned, failed or infeasible.
        outdated: delete results on earlier data of a task.
        yes: delete; otherwise only print what would be deleted.

    Raises:
        Busy: a run is using the database.
    """
    from harness.results.query import outdated_settings

    schema_of(db)
    with damage_errors(db), Ledger(db, write=yes) as ledger:
        if yes and ledger.has_other_runs():
            raise Busy(
                f"a run is using {display_name(db)}, and its tensor files are not recorded yet: "
                "try again when it has ended"
            )
        marks = data_findings.newest(ledger.meta_values())
        known = outdated_settings(ledger.settings(), marks) if outdated else []
        old = [setting.id for setting in known if setting.ended]
        entries = ledger.entries()
        deleted = {entry.digest for entry in ledger.entries(settings=old)} if old else set()
        if unfinished:
            deleted |= {
                entry.digest
                for entry in entries
                if entry.state in ("planned", "failed", "infeasible")
            }
        kept = {entry.digest for entry in entries if entry.result and entry.result["artefact"]}
        files = [
            path
            for path in sorted(tensor_files.folder(db).glob("*"))
            if path.is_file()
            and not (path.suffix == ".safetensors" and path.stem in kept - deleted)
        ]
        size = sum(path.stat().st_size for path in files)
        if yes:
            ledger.delete_jobs(sorted(deleted))
            for path in files:
                path.unlink(missing_ok=True)
            ledger.vacuum()
    text = f"{plural(len(deleted), 'job')} and {plural(len(files), 'tensor file')} without a result"
    text += f" ({size / 2**20:.1f} MiB)"
    print_line(Console(), f"deleted {text}" if yes else f"would delete {text}; pass --yes to do so")


def vacuum(db: str) -> None:
    """Return the space of deleted rows to the disk."""
    before = Path(db).stat().st_size if not is_url(db) and Path(db).exists() else 0
    schema_of(db)
    with Ledger(db, write=True) as ledger:
        ledger.vacuum()
    after = Path(db).stat().st_size if before else 0
    size = f": {before / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB now" if before else ""
    print_line(Console(), f"vacuumed {display_name(db)}{size}")
