"""The database: which jobs exist, who claims them, what came out. The only folder that knows SQL."""

from harness.ledger.ledger import Claim, Infeasible, Ledger
from harness.ledger.reader import Entry, Known

__all__ = ["Claim", "Entry", "Infeasible", "Known", "Ledger"]
