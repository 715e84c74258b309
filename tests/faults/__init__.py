"""Faults injected for real into whole runs; `tests.support.ledger_invariants` checks what they leave."""
