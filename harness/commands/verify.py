"""`bench db verify`: is a database whole, and do its numbers come out again?

Whole: what the database engine says of its file, each job's identity from its content, each
result's hash, each artefact's.
Again: results chosen at random are trained once more in the geometry in which they were recorded,
and compared.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import provenance
from harness.artefacts import tensor_files
from harness.errors import CorruptData, Unavailable, UsageError
from harness.geometry import Geometry, rows_of, shared
from harness.jobs import BackboneSpec, Job, Recipe, Rows, canonical
from harness.ledger import Entry, Ledger
from harness.ledger.seals import payload_hash, rebuilt_digest, seal
from harness.outcome import unpack_predictions
from harness.study import preregistration
from harness.tasks import REGISTRY, Task
from harness.training.ticket import Ticket

if TYPE_CHECKING:
    from harness.outcome import Outcome


@dataclass(frozen=True)
class Again:
    """What a second training gave beside the first."""

    entry: Entry
    problem: str = ""  # why there was none
    differences: Mapping[str, tuple[float, float]] | None = None  # metric: recorded, now
    flipped: int = 0  # test rows that are answered otherwise
    same_place: bool = True  # versions and device are those of the first

    @property
    def equal(self) -> bool:
        """To the last digit."""
        return not self.problem and not self.differences and not self.flipped


def doubts(entry: Entry, blobs: Mapping[str, bytes], setting: str | None = None) -> list[str]:
    """What does not fit together in a stored job; `setting` is that of the entry in canonical form, if known."""
    found = []
    if entry.fingerprint and rebuilt_digest(entry, setting) != entry.digest:
        found.append(
            "the digest is not that of the job stored here: the database was changed by hand"
        )
    if (entry.state == "done") != (entry.result is not None):
        found.append(
            f"the job is {entry.state}, and there is {'a' if entry.result else 'no'} result"
        )
    if entry.task != entry.setting["task"]["task"]:
        found.append("its task is not that of the job: the database was changed by hand")
    if (
        entry.result
        and entry.result["seal"]
        and entry.result["seal"] != seal(vars(entry), entry.result, entry.result["versions"])
    ):
        found.append(
            "its costs or versions are not those that were recorded: the database was changed or is damaged"
        )
    if (
        entry.result
        and payload_hash(entry.metrics, {"curve": b"", "predictions": b"", **blobs})
        != entry.result["payload"]
    ):
        found.append(
            "metrics or predictions are not those that were recorded: the database was changed or is damaged"
        )
    return found


def problems(ledger: Ledger) -> Iterator[str]:
    """Everything that is wrong with a ledger, in words."""
    yield from ledger.damage()
    try:
        preregistration.kept(ledger)
    except CorruptData as error:
        yield str(error)
    for known in (
        ledger.settings()
    ):  # one after the other, so that a large ledger need not fit into the memory
        yield from doubtful(ledger.entries(settings=[known.id]), ledger.all_blobs([known.id]))


def doubtful(entries: Sequence[Entry], blobs: Mapping[str, Mapping[str, bytes]]) -> Iterator[str]:
    """What does not fit together in some jobs, in words."""
    texts: dict[int, str] = {}  # of the settings, each of which many jobs share
    for entry in entries:
        if id(entry.setting) not in texts:
            texts[id(entry.setting)] = canonical(entry.setting)
        for doubt in doubts(entry, blobs.get(entry.digest, {}), texts[id(entry.setting)]):
            yield f"{entry.digest[:12]} ({entry.label} on {entry.task}): {doubt}"


def lost_tensors(ledger: Ledger, where: Path) -> Iterator[str]:
    """Artefacts that are missing or not what was written."""
    for entry in ledger.entries():
        if entry.result and (sha := entry.result["artefact"]):
            try:
                tensor_files.check(where, entry.digest, sha)
            except (Unavailable, CorruptData) as error:
                yield f"{entry.digest[:12]} ({entry.label} on {entry.task}): {error}"


def chosen(entries: Sequence[Entry], share: str) -> list[Entry]:
    """Some of the results, at random: `1%` of them, or a number; at least one.

    Raises:
        UsageError: the share is neither.
    """
    done = [entry for entry in entries if entry.state == "done"]
    text = share.strip()
    try:
        count = float(text.removesuffix("%")) / 100 * len(done) if text.endswith("%") else int(text)
    except ValueError:
        raise UsageError(
            f"--rerun wants a share such as 1% or a number of results, got {share!r}"
        ) from None
    if not 0 < count <= len(done):
        raise UsageError(f"--rerun {share}: there are {len(done)} results")
    return random.sample(done, max(1, round(count)))


def job_of(entry: Entry) -> Job:
    """The job that a row of the ledger stands for.

    Raises:
        Unavailable: this version of the program would compute another job.
    """
    setting = entry.setting
    known = {one.name for one in fields(Recipe)}
    if set(setting["recipe"]) - known:
        raise Unavailable(
            f"the recipe has {sorted(set(setting['recipe']) - known)}, which this version does not know"
        )
    task = setting["task"]
    rows = Rows(
        task=task["task"], version=task["version"], revision=task["revision"], metrics=tuple(task["metrics"]),
        labels=tuple(task["labels"]), holdout=task["holdout"], size=entry.size, draw=entry.draw,
        fingerprint=entry.fingerprint, n_train=entry.n_train, n_dev=entry.n_dev, n_test=entry.n_test,
    )  # fmt: skip
    method = setting["method"]
    job = Job(
        backbone=BackboneSpec(**setting["backbone"]), rows=rows, seed=entry.seed, method=method["name"],
        method_version=method["version"], options=method["options"], label=entry.label, recipe=Recipe(**setting["recipe"]),
        distribution=method.get("distribution", ""),
    )  # fmt: skip
    if job.digest != entry.digest:
        raise Unavailable(
            "this version of bench would compute another job than the one stored here"
        )
    return job


def again(
    ledger: Ledger,
    entry: Entry,
    tasks: Mapping[str, Task],
    device: str,
    note: Callable[[str, int, int, str], None],
) -> Again:
    """Train one job once more and compare."""
    from harness.training.worker import run_pack

    task = {**REGISTRY, **tasks}.get(entry.task)
    if task is None:
        return Again(entry, "its task is a file of yours: name it with --task-file")
    result: Mapping[str, Any] = entry.result or {}
    try:
        job = job_of(entry)
        if task.reader.revision() != job.rows.revision:
            return Again(
                entry,
                f"the data of {task.name} is another by now (revision {task.reader.revision()[:12]})",
            )
        rules = any(name.startswith("rule ") for name in entry.metrics)
        zeroed = any(name.startswith("zeroed ") for name in entry.metrics)
        shape = Geometry.read(result["geometry"])
        ticket = Ticket(
            job=job, task=task, keep="none", artefacts=Path(), geometry=shape, rows=rows_of(result["geometry"]),
            together=int(shared(result["geometry"])), rules=rules, zeroed=zeroed, anew=True,
        )  # fmt: skip
        (outcome,) = run_pack([ticket], device, note)
    except (Unavailable, CorruptData) as error:
        return Again(entry, str(error))
    here = {**provenance.environment(), **outcome.versions}
    same = provenance.device_name(device) == result["device"] and here == result["versions"]
    return _compared(entry, outcome, ledger.blobs(entry.digest), same_place=same)


def _compared(
    entry: Entry, outcome: Outcome, blobs: Mapping[str, bytes], *, same_place: bool
) -> Again:
    if outcome.status != "done":
        return Again(entry, f"it {outcome.status}: {outcome.error}", same_place=same_place)
    if outcome.geometry != (entry.result or {})["geometry"]:
        return Again(
            entry,
            f"it was trained as {outcome.geometry} here ({outcome.note})",
            same_place=same_place,
        )
    found = {**outcome.metrics, "score": outcome.score or 0.0}
    pairs = {name: (entry.metrics.get(name, float("nan")), value) for name, value in found.items()}
    differences = {
        name: pair for name, pair in pairs.items() if repr(pair[0] + 0.0) != repr(pair[1] + 0.0)
    }
    before, now = (unpack_predictions(data) for data in (blobs["predictions"], outcome.predictions))
    flipped = sum(one != other for one, other in zip(before, now, strict=True))
    return Again(entry, differences=differences, flipped=flipped, same_place=same_place)
