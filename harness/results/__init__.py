"""Results of a ledger, read for commands and reports."""
