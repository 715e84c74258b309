"""What a reader may choose about figures, beside the runs themselves."""

from dataclasses import dataclass
from typing import Final, Literal

Cost = Literal["trained", "seconds", "stored", "evaluation"]
COSTS: Final[dict[Cost, tuple[str, str]]] = {  # the name in `Cell.costs`, and the words on the axis
    "trained": ("trained", "trained parameters"),
    "seconds": ("seconds_training", "seconds of training per run"),
    "stored": ("stored", "bytes to store a result"),
    "evaluation": ("seconds_evaluation", "seconds of testing per run"),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The choices of all figures; each looks at its own."""

    cost: Cost = "trained"  # of `pareto`
    option: str | None = (
        None  # of `option`: the option's name, or name=default where the default is known
    )


DEFAULT: Final = Options()
