"""Fails the calls to the disk in the life of a ledger, one in each repetition.

    LD_PRELOAD=shim.so python -m tests.support.failing_disk FOLDER ERROR STEP

SQLite is tested in the same way: the first call fails, then the second, until there are no more
calls. STEP tests only every STEPth call. After each fault the ledger is opened again with a working
disk and must hold what was acknowledged. Prints how often each error was reported, as JSON.
"""

import ctypes
import errno
import json
import os
import sys
from collections import Counter
from itertools import count
from pathlib import Path

from harness.artefacts import tensor_files
from harness.errors import BenchError
from harness.ledger import Ledger
from tests.support import fake_training
from tests.support.ledger_invariants import check_ledger

JOBS = [fake_training.job(number) for number in range(2)]
SHIM = ctypes.CDLL(None)


def record_jobs(db: Path, acks: Path) -> None:
    """Record the jobs that are not done; acknowledge each result once it is committed."""
    with Ledger(str(db), write=True) as ledger:
        ledger.add_jobs(JOBS)
        ledger.begin("fake")
        ledger.release_dead_claims()
        for claim in ledger.claim([job.digest for job in JOBS], len(JOBS)):
            assert ledger.record(fake_training.outcome(claim.digest), claim.number)
            with acks.open("a") as file:
                file.write(f"{claim.digest}\n")


def write_tensors(folder: Path) -> str:
    """Write the tensors of a job over those of an earlier attempt and return their hash."""
    import torch

    return tensor_files.write(folder, "job", {"a": torch.ones(300)}, {"about": "now"})


def report_of_failed_call(number: int, error: int, folder: Path) -> str | None:
    """Return how the failure of one call is reported; None if there are not that many calls."""
    db, acks = folder / f"{number}.db", folder / f"{number}.acks"
    artefacts = folder / f"{number}.artefacts"
    acks.touch()
    tensors = write_tensors(artefacts)
    report = "nothing"
    SHIM.shim_arm(ctypes.c_long(number), error)
    try:
        record_jobs(db, acks)
        write_tensors(artefacts)
    except BenchError as problem:
        report = type(problem).__name__
    except OSError as problem:  # of the lock file beside the ledger; the command reports it
        report = errno.errorcode[problem.errno or 0]
    finally:
        fired = SHIM.shim_fired()
        SHIM.shim_arm(ctypes.c_long(-1), 0)
    tensor_files.check(artefacts, "job", tensors)  # complete, whether they are old or new
    if not fired:
        return None
    record_jobs(db, acks)
    assert check_ledger(db, acks, fake_training.metrics_of).results == len(JOBS)
    return report


def main(folder: Path, error: int, step: int) -> None:
    """Fail every `step`th call in turn, and print how often each report occurred."""
    reports: Counter[str] = Counter()
    for number in count(0, step):
        report = report_of_failed_call(number, error, folder)
        if report is None:
            break
        reports[report] += 1
    print(json.dumps(reports), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), getattr(errno, sys.argv[2]), int(sys.argv[3]))
    os._exit(0)
