"""The database: which jobs exist, which run has claimed them, and their results. Only this folder knows SQL."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.ledger.claims import Claim
    from harness.ledger.ledger import InfeasibleCell, Ledger
    from harness.ledger.reader import LedgerEntry, StoredSetting

__all__ = ["Claim", "InfeasibleCell", "Ledger", "LedgerEntry", "StoredSetting"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `bench status` uses none, and the imports take half a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from harness.ledger import ledger, reader

    return getattr(reader if name in ("LedgerEntry", "StoredSetting") else ledger, name)
