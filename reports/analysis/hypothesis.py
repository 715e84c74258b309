"""The one comparison that a study was made for."""

from typing import Final, NamedTuple

ROPE: Final = 1.0  # points: a smaller difference does not matter, unless the study said otherwise


class Hypothesis(NamedTuple):
    """One method against one baseline, and the region in which they count as equal."""

    method: str
    baseline: str
    rope: float = ROPE  # points to either side of 0
    late: bool = False  # there were results already when it was said
