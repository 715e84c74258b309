"""The database: which jobs exist, which run has claimed them, and their results. Only this folder knows SQL."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.ledger.claims import Claim
    from harness.ledger.ledger import Infeasible, Ledger
    from harness.ledger.reader import LedgerEntry, StoredSetting

__all__ = ["Claim", "Infeasible", "Ledger", "LedgerEntry", "StoredSetting"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: `bench status` needs none of them, and they take half a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from harness.ledger import ledger, reader

    return getattr(reader if name in ("LedgerEntry", "StoredSetting") else ledger, name)
