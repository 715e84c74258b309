"""What forward calls, training steps and evaluations cost in time and memory. The numbers are measured elsewhere."""

from typing import Final, NamedTuple

# Bytes of a trained number in float32: itself, its gradient and two moments of the optimiser.
TRAINED_BYTES: Final = 16
# A backward pass needs memory besides what is kept for it, and what it frees stays in pieces; as measured.
BACKWARD: Final = 1.5


class Shape(NamedTuple):
    """The forward calls of some rows."""

    calls: float
    tokens: float  # padding included
    rows: float


class CallCosts(NamedTuple):
    """Seconds of forward calls; in training, with their backward passes."""

    call: float = 0.0
    token: float = 0.0
    row: float = 0.0

    def seconds(self, shape: Shape) -> float:
        """Return the seconds of calls of this shape."""
        return self.call * shape.calls + self.token * shape.tokens + self.row * shape.rows


class Costs(NamedTuple):
    """What a method costs on a backbone, on one thread of a processor."""

    step: float  # seconds of a training step beside its calls: decoding and optimiser
    train: CallCosts
    dev: CallCosts  # at points of the simplex, if dev rows are scored there
    test: CallCosts
    stochastic: bool  # whether dev rows are scored at points of the simplex
    trained: int  # numbers
    process_bytes: int  # of a process that has loaded the backbone
    token_bytes: float  # kept for the backward pass, for each token of a step
    # A call writes one token of each of its rows; the tokens are those of the sources.
    write: CallCosts = CallCosts()

    def bytes_of(self, step: Shape) -> float:
        """Return the memory that a training with steps of this shape needs."""
        kept = self.token_bytes * step.tokens
        return self.process_bytes + TRAINED_BYTES * self.trained + BACKWARD * kept
