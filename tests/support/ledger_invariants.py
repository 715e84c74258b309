"""What must be true of a ledger after any fault."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path

from sqlalchemy import text

from harness.ledger import Ledger
from harness.results.integrity import ledger_problems

RESULTS = "SELECT job FROM result GROUP BY job HAVING count(*) > 1"
ATTEMPTS = """
    SELECT digest, job.epoch, attempt.epoch, outcome FROM job JOIN attempt ON attempt.job = job.id ORDER BY attempt.id
"""


@dataclass(frozen=True)
class Counts:
    """Counts of a ledger in which all invariants hold."""

    results: int
    attempts: int


def check_ledger(
    db: object,
    acks: Path | None = None,
    expected: Callable[[str], Mapping[str, float]] | None = None,
    *,
    ended: bool = True,
) -> Counts:
    """Assert that all invariants hold.

    - I1: a job is done if and only if it has a result.
    - I2: a job has at most one result.
    - I3: all metrics of a result are there.
    - I4: every acknowledged result is there, and was acknowledged once.
    - I5: no metric has changed. The hash of a result covers the number of metrics and their values.
    - I6: no job is claimed after all runs have ended.
    - I7: a result has exactly one attempt that is done, and the claim numbers of attempts rise.
    - I8: the database file is intact.
    - I9: every metric equals that of an undisturbed run.

    Args:
        db: the ledger.
        acks: a file with the digests of acknowledged results.
        expected: returns the metrics that an undisturbed run records for a digest.
        ended: whether all runs have ended.
    """
    with Ledger(str(db)) as ledger:
        assert list(ledger_problems(ledger)) == []  # I1, I3, I5, I8
        entries = {entry.digest: entry for entry in ledger.entries()}
        with ledger.transaction() as connection:
            assert connection.execute(text(RESULTS)).all() == []  # I2
            rows = connection.execute(text(ATTEMPTS)).all()
    done = {digest for digest, entry in entries.items() if entry.state == "done"}
    if acks is not None and acks.exists():  # I4
        acknowledged = acks.read_text().split()
        assert len(acknowledged) == len(set(acknowledged)), "a result was acknowledged twice"
        assert set(acknowledged) <= done, f"lost results: {sorted(set(acknowledged) - done)[:3]}"
    if ended:
        assert not [digest for digest, entry in entries.items() if entry.state == "claimed"]  # I6
    attempts: dict[str, list[tuple[int, str]]] = {digest: [] for digest in done}
    for digest, latest_claim, claim, outcome in rows:
        assert claim <= latest_claim, f"{digest}: an attempt after the last claim"
        attempts.setdefault(digest, []).append((claim, outcome))
    for digest in done:  # I7
        claim_numbers = [claim for claim, _ in attempts[digest]]
        assert claim_numbers == sorted(set(claim_numbers)), f"{digest}: claims {claim_numbers}"
        outcomes = [outcome for _, outcome in attempts[digest]]
        assert outcomes.count("done") == 1, f"{digest}: outcomes {outcomes}"
    if expected is not None:
        for digest in done:  # I9
            _assert_equal(digest, entries[digest].metrics, expected(digest))
    return Counts(len(done), len(rows))


def _assert_equal(digest: str, actual: Mapping[str, float], expected: Mapping[str, float]) -> None:
    assert actual.keys() == expected.keys(), digest
    for name, value in expected.items():
        both_nan = isnan(value) and isnan(actual[name])
        assert actual[name] == value or both_nan, f"{digest}: {name} {actual[name]} for {value}"
