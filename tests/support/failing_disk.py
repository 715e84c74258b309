"""A ledger whose every call to the disk fails once: `LD_PRELOAD=shim.so python -m tests.support.failing_disk FOLDER ERROR`.

SQLite's own way of testing: the first call fails, then the second, until none is left that could.
After each fault the ledger is opened again with a whole disk and must hold what was acknowledged.
"""

import ctypes
import errno
import json
import os
import sys
from collections import Counter
from pathlib import Path

from harness.artefacts import tensor_files
from harness.errors import BenchError
from harness.ledger import Ledger
from tests.support import fake_training
from tests.support.ledger_invariants import check_ledger
from tests.support.storm import metrics_of

JOBS = [fake_training.job(number) for number in range(2)]
SHIM = ctypes.CDLL(None)


def work(db: Path, acks: Path) -> None:
    """Record what is not done; each result is acknowledged once it is committed."""
    with Ledger(str(db), write=True) as ledger:
        ledger.add_jobs(JOBS)
        ledger.begin("fake")
        ledger.release_dead_claims()
        for claim in ledger.claim([job.digest for job in JOBS], len(JOBS)):
            assert ledger.record(fake_training.outcome(claim.digest), claim.epoch)
            with acks.open("a") as file:
                file.write(f"{claim.digest}\n")


def keep(where: Path) -> str:
    """Keep a job's tensors over those of an earlier try."""
    import torch

    return tensor_files.write(where, "job", {"a": torch.ones(300)}, {"about": "now"})


def failed_at(number: int, error: int, folder: Path) -> str | None:
    """How a whole life of a ledger goes in which that call fails; None if there are not so many."""
    db, acks, where = (
        folder / f"{number}.db",
        folder / f"{number}.acks",
        folder / f"{number}.artefacts",
    )
    acks.touch()
    before = keep(where)
    said = "nothing"
    SHIM.shim_arm(ctypes.c_long(number), error)
    try:
        try:
            work(db, acks)
            keep(where)
        except BenchError as problem:
            said = type(problem).__name__
        except OSError as problem:  # of the lock beside the ledger: the command tells it
            said = errno.errorcode[problem.errno or 0]
    finally:
        fired = SHIM.shim_fired()
        SHIM.shim_arm(ctypes.c_long(-1), 0)
    tensor_files.check(where, "job", before)  # the same tensors: whole, whether old or new
    if not fired:
        return None
    work(db, acks)
    assert check_ledger(str(db), acks, metrics_of).results == len(JOBS)
    return said


def main(folder: Path, error: int) -> None:
    """Fail every call in turn, and count how it was told."""
    found: Counter[str] = Counter()
    while (said := failed_at(sum(found.values()), error, folder)) is not None:
        found[said] += 1
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), getattr(errno, sys.argv[2]))
    os._exit(0)
