"""The canvas of every figure: title, caption, legend, tooltips, and the small parts that several figures share."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from reports.figures.coincidence import Lanes, Mark, keep_apart
from reports.figures.fitting import fit_texts
from reports.figures.options import Layout
from reports.figures.style import INK, PAGE, SMALL, MethodStyle, amount, folded, legible, short

TITLE_SIZE: Final = 8.5  # points
DPI: Final = (
    300  # resolution of the layout; lower ones fit letters to pixels and measure them too short
)
MAX_CAPTION_LINES: Final = 16
MAX_TOOLTIPS: Final = 300  # per figure; more make a page that loads slowly
SHORTENED: Final = 10_000  # scores from here on are written as 10k
LEAST_SPAN: Final = 1.0  # points of score that an axis shows at least
DOTS: Final = Lanes(near=2.5, step=4.0, room=24.0)  # dots that would hide each other
LINES: Final = Lanes(near=1.5, step=3.0, room=12.0)  # the dots of lines over the same positions
WHISKERS: Final = Lanes(near=6.0, step=7.0, room=60.0)  # large dots with whiskers


class Canvas(Figure):
    """A figure with a name, a title, a caption and `tooltips`: for the gid of a line, one text per point of it.

    Args:
        name: the name of the figure.
        title: its title.
        layout: what the user chose; it decides the width if it names one.
        width: the width in inches that the figure chooses.
        height: the height in inches, without title, legend and caption.
    """

    def __init__(
        self,
        name: str,
        title: str,
        layout: Layout,
        *,
        width: float = PAGE,
        height: float = 3.0,
    ) -> None:
        size = (layout.width or width, height)
        super().__init__(figsize=size, layout="constrained", dpi=DPI)
        self.name = name
        self.title = title
        self.caption = ""
        self.tooltips: dict[str, tuple[str, ...]] = {}
        self.bounds: list[tuple[Axis, tuple[float, float]]] = []  # the axes of scores
        self._with_caption = layout.caption
        self._legend_entries: list[tuple[Line2D, str]] = []
        self._titles: dict[Text, str] = {}
        self._marks: dict[tuple[Axes, Lanes], list[Mark]] = {}

    def columns(self, panels: int, *, each: float, beside: float = 0.0) -> int:
        """Return how many of these panels fit beside each other, at least one.

        Args:
            panels: how many there are.
            each: the least width of a panel in inches.
            beside: inches that something else takes.
        """
        return max(1, min(panels, int((self.get_figwidth() - beside) / each + 1e-9)))

    def add_title(self, axes: Axes, text: str) -> None:
        """Write a title above a panel, shortened to its width."""
        # Its final form is found when the width of the panel is known.
        self._titles[axes.set_title(short(text, 12))] = legible(text)

    def limit(self, axis: Axis, bounds: tuple[float, float]) -> None:
        """Let an axis end at the lowest and the highest possible value, however far its margins would reach."""
        self.bounds.append((axis, bounds))

    def keep_apart(
        self,
        axes: Axes,
        artists: Sequence[Artist],
        extents: Sequence[tuple[float, float, float]],
        lanes: Lanes = DOTS,
    ) -> None:
        """Move these artists together where they would lie on others of the axes.

        Args:
            axes: the panel.
            artists: what moves.
            extents: the `extent` of each part.
            lanes: how far apart.
        """
        if extents:
            mark = Mark(axes, tuple(artists), np.array(extents, dtype=np.float64))
            self._marks.setdefault((axes, lanes), []).append(mark)

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

    def finish(self, caption: str, *, needed: bool = False) -> "Canvas":
        """Draw title, legend and caption, and freeze the layout. Nothing may be drawn afterwards.

        Args:
            caption: the caption.
            needed: whether the caption is drawn even if the user asks for none.
        """
        self.caption = legible(caption)
        for axis, bounds in self.bounds:
            _limit(axis, bounds)
        width = int(self.get_figwidth() * 72 / (SMALL * 0.53))
        title = folded(self.title, width=int(width * 0.7))
        if self._legend_entries:
            self._draw_legend(title)
        else:
            self.suptitle(title, x=0.01, ha="left", fontsize=TITLE_SIZE, fontweight="bold")
        if self._with_caption or needed:
            self._draw_caption(width)
        self._lay_out()
        fit_texts(self, self._titles)
        self._lay_out()  # the texts have their sizes now
        for (_, lanes), marks in self._marks.items():
            keep_apart(marks, lanes)
        self.set_layout_engine(None)  # otherwise each save would move the axes slightly
        return self

    def _lay_out(self) -> None:
        """Place panels and texts without drawing them."""
        engine = self.get_layout_engine()
        if self.axes and engine is not None:
            engine.execute(self)

    def _draw_caption(self, width: int) -> None:
        """Draw the caption on lines of at most this many letters, fewer if the letters are wide."""
        text = self.supxlabel("", x=0.01, ha="left", fontsize=SMALL, alpha=0.75)
        while True:
            text.set_text(folded(self.caption, width=width, lines=MAX_CAPTION_LINES))
            if text.get_window_extent().x1 <= self.bbox.x1 or width < 20:
                break
            width -= 2
        self.set_figheight(self.get_figheight() + 0.13 * (text.get_text().count("\n") + 1))

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


def empty_figure(name: str, title: str, reason: str, layout: Layout) -> Canvas:
    """Return a figure without panels whose caption, which is always drawn, says why nothing else is."""
    return Canvas(name, title, layout, width=3.5, height=0.7).finish(reason, needed=True)


def _limit(axis: Axis, bounds: tuple[float, float]) -> None:
    """End an axis within the bounds but not within the data, and draw the marks at its ends whole."""
    low, high = axis.get_view_interval()
    data = axis.get_data_interval()
    lack = max(LEAST_SPAN - (high - low), 0.0) / 2
    low = max(low - lack, min(bounds[0], *data))
    high = min(high + lack, max(bounds[1], *data))
    (axis.axes.set_xlim if axis is axis.axes.xaxis else axis.axes.set_ylim)(low, high)
    if max(abs(low), abs(high)) >= SHORTENED:
        axis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    for line in axis.axes.lines:
        if line.get_marker() not in ("", "None", None) and np.isfinite(line.get_xydata()).any():
            line.set_clip_on(False)


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
