"""Figures can always be drawn, are reproducible, and show the numbers of the comparison."""

from dataclasses import replace

import matplotlib as mpl
import pytest

from reports import compare
from reports.figures import FIGURES, FILE_FORMATS, Options, inline, save
from tests.support.drawing import SVG, drawn, hostile, xml


def holes(grid):
    """Return the grid with a missing task, failed runs and diverged runs."""
    runs = [run for run in grid() if (run.method, run.task) != ("prefix", "rte")]
    failed = [
        replace(run, status="failed", score=None, dev_score=None) if run.draw == 1 else run
        for run in runs
    ]
    return [
        replace(run, status="diverged") if (run.method, run.draw) == ("simplex", 2) else run
        for run in failed
    ]


PLANS = {
    "whole": lambda grid: grid(),
    "one method": lambda grid: grid({"fine-tuning": 0.0}),
    "one task": lambda grid: grid(tasks=("rte",)),
    "one size": lambda grid: grid(sizes=(50,)),
    "one draw": lambda grid: grid(draws=1),
    "one run": lambda grid: grid({"lora(rank=4)": 0.0}, tasks=("rte",), sizes=(50,), draws=1),
    "no differences": lambda grid: [replace(run, score=0.5, dev_score=0.5) for run in grid()],
    "holes": holes,
    "nothing finished": lambda grid: [
        replace(run, status="missing", score=None, dev_score=None) for run in grid()
    ],
    "hostile names": hostile,
    "many": lambda grid: grid(
        {f"m(rank={i})": i / 100 for i in range(15)},
        tasks=[f"t{i}" for i in range(14)],
        sizes=(16, 32, 64),
        draws=2,
    ),
}


COMPARISONS = {}  # by plan; they take longer to compute than figures


def slow_except(names, quick):
    """Return the names as parameters, all but the quick ones marked as slow."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in names]


@pytest.mark.parametrize(
    "plan", slow_except(PLANS, ("one run", "holes", "nothing finished", "hostile names"))
)
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_drawn(name, plan, grid):
    """Whatever the runs and their names, the figure is small, self-contained XML with a tooltip for each point."""
    if plan not in COMPARISONS:
        COMPARISONS[plan] = compare(PLANS[plan](grid))
    canvas = FIGURES[name].draw(COMPARISONS[plan], Options())
    piece = inline(canvas)
    root = xml(piece)
    assert len(piece) < 60_000 + 3_000 * len(canvas.axes)
    assert root.get("role") == "img"
    assert (root.find(f"{SVG}title").text, root.find(f"{SVG}desc").text) == (
        canvas.title,
        canvas.caption,
    )
    assert canvas.caption
    assert not [
        one
        for one in root.iter()
        if one.tag.removeprefix(SVG) in ("script", "image", "a", "foreignObject", "metadata")
    ]
    assert all(
        value.startswith(f"#{name}-")
        for one in root.iter()
        for key, value in one.attrib.items()
        if "href" in key
    )
    assert piece.count("http") == 1  # the namespace
    tooltips = sum(len(one.findall(f"{SVG}title")) for one in root.iter(f"{SVG}use"))
    assert tooltips == sum(map(len, canvas.tooltips.values()))
    assert xml(save(canvas, "svg")).tag == f"{SVG}svg"


@pytest.mark.parametrize("name", slow_except(FIGURES, ("seeds", "pareto")))
def test_the_same_runs_give_the_same_bytes(name, grid):
    """Neither the order of runs nor the user's matplotlib settings matter, and these settings are kept."""
    first = {form: save(drawn(name, grid(tasks=("cola", "rte"))), form) for form in FILE_FORMATS}
    with mpl.rc_context(
        {"font.size": 20, "text.parse_math": True, "axes.facecolor": "red", "svg.fonttype": "path"}
    ):
        before = dict(mpl.rcParams)
        again = {
            form: save(drawn(name, grid(tasks=("cola", "rte"))[::-1]), form)
            for form in FILE_FORMATS
        }
        assert dict(mpl.rcParams) == before
    assert again == first
    assert (first["pdf"][:5], first["png"][:4]) == (b"%PDF-", b"\x89PNG")
    assert inline(drawn(name, grid(tasks=("cola", "rte")))) == inline(
        drawn(name, grid(tasks=("cola", "rte")))
    )


def test_an_unknown_file_format_is_refused(grid):
    """The error names the known file formats."""
    with pytest.raises(ValueError, match="svg, pdf, png"):
        save(drawn("curve", grid()), "gif")


def test_names_are_shown_literally(grid):
    """Dollar signs and angle brackets are shown as text, and terminal sequences are removed."""
    canvas = drawn("pareto", hostile(grid))
    words = [text.text for text in xml(inline(canvas)).iter(f"{SVG}text")]
    assert "$x$" in words
    assert any("<script>" in word for word in words)
    assert "a" in words
    assert any(word.endswith("_under & over") for word in words)
    assert any("…" in word for word in words)


@pytest.mark.slow
def test_thousands_of_runs_are_thinned_out(grid):
    """Figures of many runs stay small, and the caption says that runs are left out."""
    runs = grid(draws=40, seeds=3)
    for name in ("seeds", "optimism"):
        canvas = drawn(name, runs)
        assert len(inline(canvas)) < 60_000
        assert "thinned out" in canvas.caption or "is drawn as a dot" in canvas.caption
