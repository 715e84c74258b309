"""The options of figures."""

from dataclasses import dataclass, field
from typing import Final, Literal

Cost = Literal["trained", "seconds", "stored", "evaluation"]
COSTS: Final[dict[Cost, tuple[str, str]]] = {  # the key in `Cell.costs`, and the axis label
    "trained": ("trained", "trained parameters"),
    "seconds": ("seconds_training", "seconds of training per run"),
    "stored": ("stored", "bytes to store a result"),
    "evaluation": ("seconds_evaluation", "seconds of testing per run"),
}
# Inches. A narrower figure has no room for names; a wider one leaves the paper and most screens.
NARROWEST: Final = 3.0
WIDEST: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The layout of a figure on its page; every figure follows it.

    Raises:
        ValueError: the width is not between `NARROWEST` and `WIDEST`.
    """

    width: float | None = None  # inches; None: the width that the figure chooses
    caption: bool = True  # whether the caption is drawn

    def __post_init__(self) -> None:
        if self.width is not None and not NARROWEST <= self.width <= WIDEST:
            raise ValueError(
                f"a figure is {NARROWEST:g} to {WIDEST:g} inches wide, got {self.width:g}"
            )


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of all figures; each figure reads its own."""

    layout: Layout = field(default_factory=Layout)
    cost: Cost = "trained"  # for `pareto`
    temperature: bool = (
        False  # for `reliability`: scale the probabilities by the stored temperature
    )
    option: str | None = None  # for `option`: NAME, or NAME=VALUE with the option's default


DEFAULT: Final = Options()
