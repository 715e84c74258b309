"""The shape of a pack: how many jobs go through the model at once, and how many rows of how many tokens each brings."""

from __future__ import annotations

from dataclasses import dataclass

BUCKETS = (
    16,
    24,
    32,
    48,
    64,
    96,
    128,
    192,
    256,
    384,
    512,
)  # lengths; rows are padded by a half at most
# rows of one look of a place, in batches of its training: nothing is kept there for a backward pass
LOOKED_AT = 4
OUTPUTS = 8  # heads are widened to multiples of this, so that tasks with other classes share a pack


@dataclass(frozen=True)
class Geometry:
    """Hangs on the plan and never on who is left of a pack: with one geometry a job's numbers are the same to the bit."""

    places: int
    rows: int
    length: int
    compiled: bool = False  # its training steps, which rounds otherwise
    captured: bool = False  # its training steps, as a CUDA graph

    def __str__(self) -> str:
        return (
            f"{self.places}x{self.rows}x{self.length}" + "c" * self.compiled + "g" * self.captured
        )

    @property
    def steps(self) -> str:
        """How training steps were taken, in a word or three; empty: as they are written."""
        return " and ".join(["compiled"] * self.compiled + ["captured"] * self.captured)

    @classmethod
    def read(cls, text: str) -> Geometry | None:
        """The inverse of `str`; None for a job that was trained alone."""
        trained = text.partition("@")[0]
        if "x" not in trained:
            return None
        places, rows, length = map(int, trained.rstrip("cg").split("x"))
        return cls(places, rows, length, compiled="c" in trained, captured="g" in trained)


def alone(rows: int = 0, *, shared: bool = False) -> str:
    """The geometry of a job that was trained alone: `1`, or `1/8` where its steps went through the model 8 rows at a time.

    `1+`: it was fitted on features, of which other jobs may have computed some: its seconds and
    bytes are shared.
    """
    return f"1/{rows}" if rows else "1+" if shared else "1"


def shared(text: str) -> bool:
    """Whether a job shared its seconds and bytes with others: in a pack, or through features that were computed once."""
    trained = text.partition("@")[0]
    return "x" in trained or trained.endswith("+")


def rows_of(text: str) -> int:
    """The inverse of `alone`: rows at a time; 0: a whole step, or a pack."""
    return int(text.partition("@")[0].partition("/")[2] or 0)


def within(trained: str, tokens: int) -> str:
    """How a job was trained, and the tokens that a call had in testing: `1@2048`; 0: as many as usual."""
    return f"{trained}@{tokens}" if tokens else trained


def bucket(longest: int, most: int) -> int:
    """The length to which rows are padded of which the longest has so many tokens."""
    return next((length for length in BUCKETS if length >= longest and length <= most), most)


def outputs(own: int) -> int:
    """The width of the head in a pack, of a job whose own has so many outputs."""
    return -(-own // OUTPUTS) * OUTPUTS
