"""Faults injected for real into whole runs, and the one oracle that looks at what they left."""
