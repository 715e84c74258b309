"""The database: which jobs exist, who claims them, what came out. The only folder that knows SQL."""

from harness.ledger.ledger import Claim, Entry, Infeasible, Ledger

__all__ = ["Claim", "Entry", "Infeasible", "Ledger"]
