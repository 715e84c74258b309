"""The database: which jobs exist, who claims them, what came out. The only folder that knows SQL."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.ledger.ledger import Claim, Infeasible, Ledger
    from harness.ledger.reader import Entry, Known

__all__ = ["Claim", "Entry", "Infeasible", "Known", "Ledger"]


def __getattr__(name: str) -> Any:
    """A name from the module that has it, read when it is asked for: `status` needs none, and they take half a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from harness.ledger import ledger, reader

    return getattr(reader if name in ("Entry", "Known") else ledger, name)
