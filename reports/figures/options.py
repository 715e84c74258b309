"""The options of figures."""

from dataclasses import dataclass
from typing import Final, Literal

Cost = Literal["trained", "seconds", "stored", "evaluation"]
COSTS: Final[dict[Cost, tuple[str, str]]] = {  # the key in `Cell.costs`, and the axis label
    "trained": ("trained", "trained parameters"),
    "seconds": ("seconds_training", "seconds of training per run"),
    "stored": ("stored", "bytes to store a result"),
    "evaluation": ("seconds_evaluation", "seconds of testing per run"),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of all figures; each figure reads its own."""

    cost: Cost = "trained"  # for `pareto`
    temperature: bool = (
        False  # for `reliability`: scale the probabilities by the stored temperature
    )
    option: str | None = None  # for `option`: NAME, or NAME=VALUE with the option's default


DEFAULT: Final = Options()
