"""What in a ledger is damaged or was changed: digests and hashes that no longer match."""

from collections.abc import Iterator, Mapping, Sequence

from harness.errors import CorruptData
from harness.jobs import canonical
from harness.ledger import Ledger, LedgerEntry
from harness.ledger.seals import payload_hash, rebuilt_digest, seal
from harness.study import preregistration


def ledger_problems(ledger: Ledger) -> Iterator[str]:
    """Yield a sentence for everything in a ledger that is damaged or was changed."""
    yield from ledger.integrity_problems()
    try:
        preregistration.declared_hypothesis(ledger)
    except CorruptData as error:
        yield str(error)
    for known in ledger.settings():  # one at a time, to bound the memory
        yield from job_problems(ledger.entries(settings=[known.id]), ledger.all_blobs([known.id]))


def job_problems(
    entries: Sequence[LedgerEntry], blobs: Mapping[str, Mapping[str, bytes]]
) -> Iterator[str]:
    """Yield a sentence, with the job's name, for everything in some jobs that was changed.

    Args:
        entries: the jobs.
        blobs: the blobs of each job, by digest and kind.
    """
    texts: dict[int, str] = {}  # canonical form of each setting: many jobs share one
    for entry in entries:
        if id(entry.setting) not in texts:
            texts[id(entry.setting)] = canonical(entry.setting)
        for problem in entry_problems(entry, blobs.get(entry.digest, {}), texts[id(entry.setting)]):
            yield f"{entry.digest[:12]} ({entry.label} on {entry.task}): {problem}"


def entry_problems(
    entry: LedgerEntry, blobs: Mapping[str, bytes], setting: str | None = None
) -> Iterator[str]:
    """Yield a sentence for everything in one stored job that was changed.

    Args:
        entry: the job.
        blobs: its blobs, by kind.
        setting: the canonical form of its setting, if the caller has it.
    """
    result = entry.result
    if entry.fingerprint and rebuilt_digest(entry, setting) != entry.digest:
        yield "the digest does not match the stored job: the database was edited"
    if entry.state == "done" and not result:
        yield "the job is done but has no result"
    if entry.state != "done" and result:
        yield f"the job is {entry.state} but has a result"
    if entry.task != entry.setting["task"]["task"]:
        yield "the task does not match the stored job: the database was edited"
    if not result:
        return
    if result["seal"] and result["seal"] != seal(vars(entry), result, result["versions"]):
        yield "costs or versions are not the recorded ones: the database was edited or is damaged"
    payload = payload_hash(entry.metrics, {"curve": b"", "predictions": b"", **blobs})
    if payload != result["payload"]:
        yield (
            "metrics or predictions are not the recorded ones: "
            "the database was edited or is damaged"
        )
