"""The comparison that a study was declared to test."""

from typing import Final, NamedTuple

ROPE: Final = 1.0  # points: a smaller difference does not matter, unless the study declares another


class Hypothesis(NamedTuple):
    """One method against one baseline, and the region of practical equivalence."""

    method: str
    baseline: str
    rope: float = ROPE  # half-width of the region around 0, in points
    late: bool = False  # whether there were results already when it was declared
    max_draws: int = 0  # the declared maximum; 0: none was declared
    narrowed: bool = False  # whether a request leaves out results of either method; not stored
