"""The paper that a figure is drawn on: a name, a title, a caption, and the values that its points stand for."""

from collections.abc import Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.style import INK, PAGE, SMALL, Look, folded, legible, looks

TITLE: Final = 8.5  # points
DOTS: Final = 300  # to the inch, at which a figure is laid out
TEXTS: Final = 300  # of a figure; more make a page that loads slowly


class Sheet(Figure):
    """A figure that knows what it shows; `values` holds a text for each point of the lines named by their gid."""

    def __init__(self, name: str, title: str, *, width: float = PAGE, height: float = 3.0) -> None:
        # at fewer dots letters are fitted to pixels, and are measured shorter than they are printed
        super().__init__(figsize=(width, height), layout="constrained", dpi=DOTS)
        self.name = name
        self.title = title
        self.caption = ""
        self.values: dict[str, tuple[str, ...]] = {}
        self._keys: list[tuple[Line2D, str]] = []

    def hover(self, line: Line2D, texts: Sequence[str]) -> None:
        """Say what each point of a line stands for, while there is room for it."""
        if sum(map(len, self.values.values())) + len(texts) > TEXTS:
            return
        gid = f"{self.name}-{len(self.values)}"
        line.set_gid(gid)
        self.values[gid] = tuple(legible(text) for text in texts)

    def legend_of(self, handles: Sequence[Line2D], labels: Sequence[str]) -> None:
        """Keys for a legend above all data."""
        self._keys += zip(handles, labels, strict=True)

    def close_with(self, caption: str) -> "Sheet":
        """The title above and the caption below; the last thing that is drawn."""
        self.caption = legible(caption)
        width = int(self.get_figwidth() * 72 / (SMALL * 0.53))
        title = folded(self.title, width=int(width * 0.7))
        if self._keys:
            self._legend(title)
        else:
            self.suptitle(title, x=0.01, ha="left", fontsize=TITLE, fontweight="bold")
        text = folded(self.caption, width=width, lines=12)
        self.supxlabel(text, x=0.01, ha="left", fontsize=SMALL, alpha=0.75)
        self.set_figheight(self.get_figheight() + (0.13 * (text.count("\n") + 1)))
        for _ in range(2):  # the second round knows how large letters are
            self.draw_without_rendering()
        self.set_layout_engine("none")  # each drawing would move things by a hair
        return self

    def _legend(self, title: str) -> None:
        """The keys in as many columns as fit, below the title: two boxes of their own would overlap."""
        names = [folded(label) for _, label in self._keys]
        letters = max(len(part) for name in names for part in name.split("\n"))
        columns = min(
            max(1, int(self.get_figwidth() * 72 / (letters * SMALL * 0.6 + 34))), len(names)
        )
        lines = max(name.count("\n") + 1 for name in names) * -(-len(names) // columns)
        self.set_figheight(self.get_figheight() + 0.13 * lines)
        self.legend(
            [line for line, _ in self._keys],
            # a name that begins with an underscore would be left out
            [f"\u200a{name}" if name.startswith("_") else name for name in names],
            title=title,
            title_fontproperties={"size": TITLE, "weight": "bold"},
            loc="outside upper left",
            ncols=columns,
            alignment="left",
            borderaxespad=0.2,
            borderpad=0,
            columnspacing=1.4,
        )


def blank(name: str, title: str, words: str) -> Sheet:
    """A figure that says why there is nothing to see."""
    sheet = Sheet(name, title, width=3.5, height=0.7)
    return sheet.close_with(words)


def handles(methods: Sequence[str], baseline: str, *, line: bool = True) -> list[Line2D]:
    """What stands before each method's name in a legend."""
    found = looks(methods, baseline)
    return [handle(found[name], line=line) for name in methods]


def handle(look: Look, *, line: bool = True) -> Line2D:
    """A short piece of a method's line."""
    return Line2D([], [], color=look.color, marker=look.marker, linestyle=look.dash if line else "")


def grid(axes: Axes, axis: Any = "y") -> None:
    """Thin lines to read values by."""
    axes.grid(visible=True, axis=axis, color=INK, alpha=0.12, linewidth=0.5)


def zero(axes: Axes, *, vertical: bool = False) -> None:
    """The line of no difference."""
    draw = axes.axvline if vertical else axes.axhline
    draw(0, color=INK, linewidth=0.8, zorder=1)


def nothing_here(axes: Axes, words: str = "no finished runs") -> None:
    """Say in an empty panel why it is empty."""
    axes.text(
        0.5,
        0.5,
        words,
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=SMALL,
        alpha=0.75,
    )
