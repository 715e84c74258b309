"""The one oracle: what must be true of a ledger after any fault."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path

from sqlalchemy import text

from harness.commands.verify import ledger_problems
from harness.ledger import Ledger

ATTEMPTS = """
    SELECT digest, job.epoch, attempt.epoch, outcome FROM job JOIN attempt ON attempt.job = job.id ORDER BY attempt.id
"""


@dataclass(frozen=True)
class Found:
    """Counts of a ledger that holds what it must."""

    results: int
    attempts: int


def check_ledger(
    db: str,
    acks: Path | None = None,
    expected: Callable[[str], Mapping[str, float]] | None = None,
    *,
    ended: bool = True,
) -> Found:
    """See that all invariants hold.

    I1 a job is done exactly if it has a result; I2 it has one; I3 all its metrics are there and I5
    unchanged (the hash covers number and value); I4 every acknowledged result is there; I6 after an
    end nothing is claimed; I7 a result has an attempt, and epochs rise; I8 the file is whole; I9
    every number is that of an undisturbed run.

    Args:
        db: the ledger.
        acks: a file with the digests of acknowledged results.
        expected: the metrics that an undisturbed run gives a digest.
        ended: whether no run is alive.
    """
    with Ledger(db) as ledger:
        assert list(ledger_problems(ledger)) == []  # I1, I3, I5, I8
        entries = {entry.digest: entry for entry in ledger.entries()}
        done = {digest for digest, entry in entries.items() if entry.state == "done"}
        with ledger.transaction() as connection:
            twice = connection.execute(
                text("SELECT job FROM result GROUP BY job HAVING count(*) > 1")
            ).all()
            rows = connection.execute(text(ATTEMPTS)).all()
        attempts: dict[str, list[tuple[int, str]]] = {}
        for digest, last, epoch, outcome in rows:
            assert epoch <= last, f"{digest}: an attempt after the last claim"
            attempts.setdefault(digest, []).append((epoch, outcome))
    assert twice == []  # I2
    if acks is not None:
        _acknowledged(acks.read_text().split() if acks.exists() else [], done)
    if ended:
        assert not [digest for digest, entry in entries.items() if entry.state == "claimed"]  # I6
    for digest in done:  # I7
        epochs = [epoch for epoch, _ in attempts.get(digest, [])]
        assert epochs, f"{digest}: a result without an attempt"
        assert epochs == sorted(set(epochs)), f"{digest}: epochs {epochs}"
        assert [outcome for _, outcome in attempts[digest]].count("done") == 1, (
            f"{digest}: done twice"
        )
    if expected is not None:
        for digest in done:  # I9
            _equal(digest, entries[digest].metrics, expected(digest))
    return Found(len(done), len(rows))


def _acknowledged(said: Iterable[str], done: set[str]) -> None:
    """I4, and nothing acknowledged twice."""
    said = list(said)
    assert len(said) == len(set(said)), "a result was acknowledged twice"
    missing = set(said) - done
    assert not missing, f"{len(missing)} acknowledged results are gone: {sorted(missing)[:3]}"


def _equal(digest: str, found: Mapping[str, float], expected: Mapping[str, float]) -> None:
    assert found.keys() == expected.keys(), digest
    for name, value in expected.items():
        assert found[name] == value or (isnan(value) and isnan(found[name])), (
            f"{digest}: {name} {found[name]} for {value}"
        )
