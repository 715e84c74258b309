"""`bench db verify`: check a database's integrity, and train some of its jobs again.

The check covers the database file itself (as its engine sees it), each job's digest, each result's
hash and each tensor file's hash. With `--rerun`, randomly chosen jobs are trained again in their
recorded geometry, and the new metrics, predictions, probabilities and curves are compared with the
recorded ones.
"""

import random
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rich.console import Console

from harness import provenance
from harness.artefacts import tensor_files
from harness.errors import CorruptData, Unavailable, UsageError
from harness.jobs import BackboneSpec, DrawSpec, Job, Recipe, kind_of
from harness.ledger import Ledger, LedgerEntry
from harness.ledger.database import damage_errors, display_name
from harness.outcome import Outcome, unpack_predictions
from harness.results.integrity import ledger_problems
from harness.tasks import REGISTRY, Task, metrics, task_file
from harness.training.ticket import Ticket
from harness.wording import plural

SHOWN = 20  # problems that are printed; further ones are only counted


@dataclass(frozen=True)
class RerunResult:
    """How a second training of a job compares with the recorded one."""

    problem: str = ""  # why the two could not be compared
    differences: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # recorded, new
    flipped: int = 0  # test rows with another prediction
    values: tuple[str, ...] = ()  # kinds of stored values that differ: the curve, the probabilities
    same_environment: bool = True  # versions and device are the recorded ones

    @property
    def equal(self) -> bool:
        """Whether every metric, prediction, probability and value of the curve is equal to the last digit."""
        return not (self.problem or self.differences or self.flipped or self.values)

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        if self.equal:
            return "equal to the last digit"
        values = [
            f"{name} {new:.6g}, recorded {recorded:.6g}"
            for name, (recorded, new) in self.differences.items()
        ]
        flipped = [f"other predictions: {plural(self.flipped, 'test row')}"] * bool(self.flipped)
        return "; ".join([*values[:3], *flipped, *(f"other {kind}" for kind in self.values)])


def verify(db: str, rerun: str | None, task_files: Sequence[Path], device: str) -> int:
    """Check a database and, with `rerun`, train some of its jobs again.

    Args:
        db: the database of results.
        rerun: how many jobs to train again: a number or a percentage; None: none.
        task_files: descriptions of the user's own tasks.
        device: where to train.

    Returns:
        The exit code: 1 if a rerun in the recorded environment gave other numbers.

    Raises:
        CorruptData: the database or a tensor file is damaged or was changed.
        UsageError: `rerun` is not a number of results that the database has.
    """
    out = Console(soft_wrap=True, highlight=False)
    with damage_errors(db), Ledger(db) as ledger:
        entries = ledger.entries()
        chosen = sample_results(entries, rerun) if rerun is not None else []
        problems = [*ledger_problems(ledger), *_tensor_problems(ledger, tensor_files.folder(db))]
        if problems:
            more = len(problems) - SHOWN
            lines = [
                f"{display_name(db)} is damaged or was changed: {plural(len(problems), 'problem')}"
            ]
            lines += problems[:SHOWN] + ([f"and {more} more"] if more > 0 else [])
            raise CorruptData("\n".join(lines))
        results = [entry.result for entry in entries if entry.result]
        text = ", ".join(
            [
                plural(len(entries), "job"),
                plural(len(results), "result"),
                plural(sum(result["artefact"] is not None for result in results), "tensor file"),
            ]
        )
        out.print(f"{display_name(db)} is intact: {text}; every hash matches", markup=False)
        return _rerun(out, ledger, chosen, task_files, device) if chosen else 0


def _tensor_problems(ledger: Ledger, folder: Path) -> Iterator[str]:
    """Yield a sentence for every tensor file that is missing or was changed."""
    for entry in ledger.entries():
        if entry.result and (sha := entry.result["artefact"]):
            try:
                tensor_files.check(folder, entry.digest, sha)
            except (Unavailable, CorruptData) as error:
                yield f"{entry.digest[:12]} ({entry.label} on {entry.task}): {error}"


def sample_results(entries: Sequence[LedgerEntry], share: str) -> list[LedgerEntry]:
    """Return randomly chosen jobs that have a result, at least one.

    Args:
        entries: all jobs.
        share: a percentage such as `1%`, or a number.

    Raises:
        UsageError: the share is neither, or exceeds the number of results.
    """
    done = [entry for entry in entries if entry.state == "done"]
    text = share.strip()
    try:
        count = float(text.removesuffix("%")) / 100 * len(done) if text.endswith("%") else int(text)
    except ValueError:
        raise UsageError(
            f"--rerun must be a percentage such as 1% or a number of results, got {share!r}"
        ) from None
    if not 0 < count <= len(done):
        raise UsageError(f"--rerun must be from 1 to {len(done)} (or up to 100%), got {share!r}")
    return random.sample(done, max(1, round(count)))


def _rerun(
    out: Console,
    ledger: Ledger,
    entries: Sequence[LedgerEntry],
    task_files: Sequence[Path],
    device: str,
) -> int:
    import torch

    torch.set_num_threads(1)  # as in a worker: the number of threads decides the order of sums
    tasks = {**REGISTRY, **{task.name: task for task in map(task_file.read, task_files)}}
    results = []
    for number, entry in enumerate(entries, start=1):
        result = rerun_job(ledger, entry, tasks, device)
        results.append(result)
        name = f"{entry.label} on {entry.task}, size {entry.size}, draw {entry.draw}"
        out.print(f"[{number}/{len(entries)}] {entry.digest[:12]} {name}: {result}", markup=False)
    equal = sum(result.equal for result in results)
    elsewhere = sum(not result.equal and not result.same_environment for result in results)
    out.print(f"{equal} of {len(results)} equal to the last digit")
    if elsewhere:
        out.print(
            f"{plural(elsewhere, 'result')} of other versions or another device: last digits may differ"
        )
    sys.stdout.flush()
    return 0 if equal + elsewhere == len(results) else 1


def job_of(entry: LedgerEntry) -> Job:
    """Rebuild the job of a ledger entry.

    Raises:
        Unavailable: this version of bench would compute another job.
    """
    setting = entry.setting
    if unknown := set(setting["recipe"]) - {known.name for known in fields(Recipe)}:
        raise Unavailable(
            f"its recipe has {', '.join(sorted(unknown))}, which this version of bench does not have"
        )
    task = setting["task"]
    rows = DrawSpec(
        task=task["task"], version=task["version"], revision=task["revision"], metrics=tuple(task["metrics"]),
        labels=tuple(task["labels"]), holdout=task["holdout"],
        kind=kind_of(task), size=entry.size, number=entry.draw,
        fingerprint=entry.fingerprint, n_train=entry.n_train, n_dev=entry.n_dev, n_test=entry.n_test,
    )  # fmt: skip
    method = setting["method"]
    job = Job(
        backbone=BackboneSpec(**setting["backbone"]), draw=rows, seed=entry.seed, method=method["name"],
        method_version=method["version"], options=method["options"], label=entry.label,
        recipe=Recipe(**setting["recipe"]), distribution=method.get("distribution", ""),
    )  # fmt: skip
    if job.digest != entry.digest:
        raise Unavailable("this version of bench would compute another job than the stored one")
    return job


def rerun_job(
    ledger: Ledger, entry: LedgerEntry, tasks: Mapping[str, Task], device: str
) -> RerunResult:
    """Train one job again in its recorded geometry and compare.

    Args:
        ledger: an open ledger.
        entry: a job of it that has a result.
        tasks: tasks by name.
        device: where to train.
    """
    from harness.training.jobs.worker import run_pack

    task = tasks.get(entry.task)
    if task is None:
        return RerunResult(
            "its task has your own data: describe it in a file, and pass that with --task-file"
        )
    result: Mapping[str, Any] = entry.result or {}
    try:
        job = job_of(entry)
        if (revision := task.reader.revision()) != job.draw.revision:
            return RerunResult(f"the data of {task.name} changed (now revision {revision[:12]})")
        if (names := metrics.versioned(task.metrics)) != job.draw.metrics:
            return RerunResult(
                f"{task.name} is scored by other metrics here ({', '.join(names)}), "
                f"which choose other checkpoints; the results have {', '.join(job.draw.metrics)}"
            )
        ticket = Ticket(
            job=job, task=task, keep="none", artefacts=Path(), geometry=entry.geometry.planned(),
            features_shared_by=int(entry.geometry.shared_costs), anew=True,
            rules=any(name.startswith("rule ") for name in entry.metrics),
            zeroed=any(name.startswith("zeroed ") for name in entry.metrics),
        )  # fmt: skip
        (outcome,) = run_pack([ticket], device, lambda *_: None)
    except (Unavailable, CorruptData) as error:
        return RerunResult(str(error))
    versions = {**provenance.environment(), **outcome.versions}
    same = provenance.device_name(device) == result["device"] and versions == result["versions"]
    return _compare(entry, outcome, ledger.blobs(entry.digest), same_environment=same)


def _compare(
    entry: LedgerEntry, outcome: Outcome, blobs: Mapping[str, bytes], *, same_environment: bool
) -> RerunResult:
    recorded = entry.geometry
    if outcome.status != "done":
        problem = f"the rerun {outcome.status}: {outcome.error}"
        return RerunResult(problem, same_environment=same_environment)
    if outcome.geometry != recorded:
        problem = f"trained in geometry {outcome.geometry}, recorded {recorded} ({outcome.note})"
        return RerunResult(problem, same_environment=same_environment)
    scores = {**outcome.metrics, "score": outcome.score or 0.0}
    pairs = {name: (entry.metrics.get(name, float("nan")), new) for name, new in scores.items()}
    differences = {
        name: (old, new) for name, (old, new) in pairs.items() if repr(old + 0.0) != repr(new + 0.0)
    }
    old, new = (unpack_predictions(data) for data in (blobs["predictions"], outcome.predictions))
    flipped = sum(before != after for before, after in zip(old, new, strict=True))
    # Predictions and metrics can stay equal while the training differs.
    values = tuple(
        kind.partition("/")[0]
        for kind, data in outcome.blobs.items()
        if kind.startswith(("curve", "probabilities", "temperature")) and kind in blobs
        if zlib.decompress(data) != zlib.decompress(blobs[kind])
    )
    return RerunResult("", differences, flipped, tuple(dict.fromkeys(values)), same_environment)
