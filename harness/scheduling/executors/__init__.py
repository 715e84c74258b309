"""Executors: each gives packs of jobs to its workers, which call `run_pack`."""
