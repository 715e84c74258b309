"""How a job goes through the model: alone or in a pack, and in forward calls of which size."""

from dataclasses import dataclass, replace

# Lengths in tokens to which the rows of a pack are padded. No row of 16 tokens or more grows by more than a half.
LENGTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
# An evaluation call of a pack has this many micro-batches of each job: nothing is kept for a backward pass.
EVAL_MICRO_BATCHES = 4
HEAD_WIDTH = (
    8  # heads are widened to multiples of this, so that tasks with other classes share a pack
)


@dataclass(frozen=True)
class Geometry:
    """The shape of a job's forward calls, which the ledger stores with each result.

    The geometry follows from the plan and never from the other jobs of a pack: with equal geometry
    a job's numbers are equal to the bit. Another geometry changes them by rounding and, if there is
    dropout, because other masks are drawn.

    Attributes:
        pack_size: jobs in one forward pass; 1: the job trains alone.
        micro_batch: rows of each job in one backward pass; 0 for a job alone: the whole batch.
        length: tokens to which the rows of a pack are padded; 0 for a job alone.
        compiled: whether training steps are compiled, which changes rounding.
        captured: whether training steps are captured as a CUDA graph.
        shared_features: whether the job was fitted on features of which other jobs may have
            computed some, so that its seconds and bytes are shared.
        test_tokens: greatest number of tokens in one testing call, where memory ran out; 0: the
            usual number.
    """

    pack_size: int = 1
    micro_batch: int = 0
    length: int = 0
    compiled: bool = False
    captured: bool = False
    shared_features: bool = False
    test_tokens: int = 0

    def __str__(self) -> str:
        """Return the stored form: `1`, `1/8`, `1+`, `4x16x32`, `4x16x32cg`, each perhaps with `@2048` for testing."""
        if self.in_pack:
            text = f"{self.pack_size}x{self.micro_batch}x{self.length}"
            text += "c" * self.compiled + "g" * self.captured
        elif self.micro_batch:
            text = f"1/{self.micro_batch}"
        else:
            text = "1" + "+" * self.shared_features
        return f"{text}@{self.test_tokens}" if self.test_tokens else text

    @classmethod
    def parse(cls, text: str) -> "Geometry":
        """Return the geometry whose stored form is `text`."""
        training, _, tokens = text.partition("@")
        if "x" in training:
            size, micro_batch, length = map(int, training.rstrip("cg").split("x"))
            geometry = cls(size, micro_batch, length, "c" in training, "g" in training)
        else:
            micro_batch = int(training.partition("/")[2] or 0)
            geometry = cls(micro_batch=micro_batch, shared_features=training.endswith("+"))
        return replace(geometry, test_tokens=int(tokens or 0))

    @property
    def in_pack(self) -> bool:
        """Whether the job trains in one forward pass with others."""
        return self.pack_size > 1

    @property
    def shared_costs(self) -> bool:
        """Whether the job shares its seconds and bytes with others: in a pack, or through shared features."""
        return self.in_pack or self.shared_features

    @property
    def step_mode(self) -> str:
        """How training steps are taken: `compiled`, `captured`, both, or an empty string."""
        return " and ".join(["compiled"] * self.compiled + ["captured"] * self.captured)

    def planned(self) -> "Geometry":
        """Return the part that is known before the job runs."""
        return replace(self, shared_features=False, test_tokens=0)


ALONE = Geometry()


def padded_length(longest: int, limit: int) -> int:
    """Return the number of tokens to which rows are padded whose longest has `longest` tokens; at most `limit`."""
    return next((length for length in LENGTHS if longest <= length <= limit), limit)


def padded_outputs(outputs: int) -> int:
    """Return the width of the head in a pack for a task with this many outputs."""
    return -(-outputs // HEAD_WIDTH) * HEAD_WIDTH
