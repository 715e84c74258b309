"""Executors: they place packs of jobs on devices. All of them call `run_pack`."""
