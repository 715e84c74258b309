"""The canvas of every figure: title, caption, legend, tooltips, and the small parts that several figures share."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.style import INK, PAGE, SMALL, MethodStyle, folded, legible

TITLE_SIZE: Final = 8.5  # points
DPI: Final = (
    300  # resolution of the layout; lower ones fit letters to pixels and measure them too short
)
MAX_TOOLTIPS: Final = 300  # per figure; more make a page that loads slowly


class Canvas(Figure):
    """A figure with a name, a title, a caption and `tooltips`: for the gid of a line, one text per point of it."""

    def __init__(self, name: str, title: str, *, width: float = PAGE, height: float = 3.0) -> None:
        super().__init__(figsize=(width, height), layout="constrained", dpi=DPI)
        self.name = name
        self.title = title
        self.caption = ""
        self.tooltips: dict[str, tuple[str, ...]] = {}
        self._legend_entries: list[tuple[Line2D, str]] = []

    def add_tooltips(self, line: Line2D, texts: Sequence[str]) -> None:
        """Give each point of a line a tooltip, unless the figure would exceed `MAX_TOOLTIPS`."""
        if sum(map(len, self.tooltips.values())) + len(texts) > MAX_TOOLTIPS:
            return
        gid = f"{self.name}-{len(self.tooltips)}"
        line.set_gid(gid)
        self.tooltips[gid] = tuple(legible(text) for text in texts)

    def add_legend(self, handles: Sequence[Line2D], labels: Sequence[str]) -> None:
        """Add entries to the one legend, which stands above all panels."""
        self._legend_entries += zip(handles, labels, strict=True)

    def add_method_legend(
        self, methods: Sequence[str], styles: Mapping[str, MethodStyle], *, line: bool = True
    ) -> None:
        """Add an entry for each method."""
        self.add_legend([handle(styles[method], line=line) for method in methods], methods)

    def finish(self, caption: str) -> "Canvas":
        """Draw title, legend and caption, and freeze the layout. Nothing may be drawn afterwards."""
        self.caption = legible(caption)
        width = int(self.get_figwidth() * 72 / (SMALL * 0.53))
        title = folded(self.title, width=int(width * 0.7))
        if self._legend_entries:
            self._draw_legend(title)
        else:
            self.suptitle(title, x=0.01, ha="left", fontsize=TITLE_SIZE, fontweight="bold")
        text = folded(self.caption, width=width, lines=12)
        self.supxlabel(text, x=0.01, ha="left", fontsize=SMALL, alpha=0.75)
        self.set_figheight(self.get_figheight() + (0.13 * (text.count("\n") + 1)))
        for _ in range(2):  # the second pass knows the sizes of the texts
            self.draw_without_rendering()
        self.set_layout_engine("none")  # otherwise each save would move the axes slightly
        return self

    def _draw_legend(self, title: str) -> None:
        """Draw title and legend as one box, because two boxes would overlap; use as many columns as fit."""
        names = [folded(label) for _, label in self._legend_entries]
        letters = max(len(part) for name in names for part in name.split("\n"))
        columns = min(
            max(1, int(self.get_figwidth() * 72 / (letters * SMALL * 0.6 + 34))), len(names)
        )
        lines = max(name.count("\n") + 1 for name in names) * -(-len(names) // columns)
        self.set_figheight(self.get_figheight() + 0.13 * lines)
        self.legend(
            [line for line, _ in self._legend_entries],
            # matplotlib drops labels that begin with an underscore
            [f"\u200a{name}" if name.startswith("_") else name for name in names],
            title=title,
            title_fontproperties={"size": TITLE_SIZE, "weight": "bold"},
            loc="outside upper left",
            ncols=columns,
            alignment="left",
            borderaxespad=0.2,
            borderpad=0,
            columnspacing=1.4,
        )


def empty_figure(name: str, title: str, reason: str) -> Canvas:
    """Return a figure without panels whose caption is the reason why nothing is drawn."""
    return Canvas(name, title, width=3.5, height=0.7).finish(reason)


def handle(style: MethodStyle, *, line: bool = True) -> Line2D:
    """Return the legend handle of one method: its marker, by default on a piece of its line."""
    return Line2D(
        [], [], color=style.color, marker=style.marker, linestyle=style.dash if line else ""
    )


def grid_lines(axes: Axes, axis: Any = "y") -> None:
    """Draw thin grid lines."""
    axes.grid(visible=True, axis=axis, color=INK, alpha=0.12, linewidth=0.5)


def zero_line(axes: Axes, *, vertical: bool = False) -> None:
    """Draw the line of no difference."""
    draw = axes.axvline if vertical else axes.axhline
    draw(0, color=INK, linewidth=0.8, zorder=1)


def label_empty_panel(axes: Axes, reason: str = "no finished runs") -> None:
    """Write into an empty panel why it is empty."""
    axes.text(
        0.5,
        0.5,
        reason,
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=SMALL,
        alpha=0.75,
    )
