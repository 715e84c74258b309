"""Every figure can be read: at any width, with extreme numbers, with equal scores and with long names."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from reports import compare
from reports.figures import FIGURES, Layout, Options, save
from tests.support.drawing import line_of, outside, overlapping, texts

LONG = {
    "fine-tuning(layers=none, lr=0.0005)": 0.0,
    "lora(rank=8, alpha=16, on=qkv)": 0.01,
    "lora(rank=256, alpha=16, on=qkv)": 0.01,
    "a-method-of-a-plug-in-with-a-very-long-name(option=1)": -0.1,
    "simplex(vertices=6, granularity=batch-layer)": 0.02,
}
RANKS = {"fine-tuning": 0.0, "lora(rank=4)": 0.0, "lora(rank=64)": 0.0}
WIDTHS = (None, 3.0, 3.54, 12.5)


def scored(runs, metrics, *, scale=1.0, shift=0.0, **changes):
    """Return the runs with scores moved to another range, as those of other metrics; answers are not kept."""
    better = {name: "lower" if "mse" in name else "higher" for name in metrics}
    return [
        replace(
            run,
            score=scale * run.score + shift,
            dev_score=scale * run.dev_score + shift,
            metrics=dict.fromkeys(metrics, scale * run.score + shift),
            scored_by=metrics,
            better=better,
            predictions=np.empty(0),
            labels={},
            **changes,
        )
        for run in runs
    ]


def spread(runs, low, high):
    """Return the runs with scores from one end of a range to the other, most of them at the ends."""
    values = np.clip(
        np.tile(np.linspace(low - (high - low), high + (high - low), 7), len(runs)), low, high
    )
    return [
        replace(run, score=value, dev_score=values[-1 - i])
        for i, (run, value) in enumerate(zip(runs, values, strict=False))
    ]


def mixed(grid):
    """Return runs on tasks with different metrics, and methods with long names."""
    metrics = {"cola": ("matthews",), "stsb": ("pearson", "spearman"), "mrpc": ("accuracy", "f1")}
    runs = grid(
        LONG, tasks=("cola", "mrpc", "rte", "a-task-with-a-rather-long-name", "stsb"), draws=3
    )
    return [scored([run], metrics.get(run.task, ("accuracy",)))[0] for run in runs]


PLANS = {
    "long names": mixed,
    "ends of accuracy": lambda grid: spread(scored(grid(RANKS, draws=4), ("accuracy",)), 0.0, 1.0),
    "ends of matthews": lambda grid: spread(scored(grid(RANKS, draws=4), ("matthews",)), -1.0, 1.0),
    "perfect": lambda grid: spread(scored(grid(draws=3), ("accuracy",)), 1.0, 1.0),
    "worst": lambda grid: spread(scored(grid(draws=3), ("accuracy",)), 0.0, 0.0),
    "huge errors": lambda grid: scored(grid(draws=3), ("mse",), scale=-123_456.789, trained=10**12),
    "tiny differences": lambda grid: scored(
        grid(draws=3), ("accuracy",), scale=1e-6, shift=0.98765
    ),
    "equal": lambda grid: [
        replace(run, score=0.5, dev_score=0.5)
        for run in scored(grid(LONG, tasks=("cola", "rte"), draws=3), ("accuracy",))
    ],
    "costs": lambda grid: [
        replace(run, trained={"fine-tuning": 1, "prefix": 987_654_321_012}.get(run.method, 999_999))
        for run in grid(draws=3)
    ],
}
COMPARISONS = {}


def drawn(name, plan, grid, width=None, *, caption=True):
    if plan not in COMPARISONS:
        COMPARISONS[plan] = compare(PLANS[plan](grid))
    layout = Layout(width=width, caption=caption)
    return FIGURES[name].draw(COMPARISONS[plan], Options(layout=layout))


QUICK = [(plan, width) for plan in ("long names", "costs") for width in (None, 3.0)]


def cases():
    """Return every plan at every width, all but the quick ones marked as slow."""
    return [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
        for case in itertools.product(PLANS, WIDTHS)
    ]


@pytest.mark.parametrize(("plan", "width"), cases())
@pytest.mark.parametrize("name", FIGURES)
def test_texts_are_whole_and_apart(name, plan, width, grid):
    """Every text, the first and last tick labels among them, lies within the figure and on no other text."""
    canvas = drawn(name, plan, grid, width)
    assert outside(canvas) == []
    assert overlapping(canvas) == []


# the figures of scores; reliability shows probabilities, which these runs do not store
OF_SCORES = [name for name in FIGURES if name != "reliability"]
RANGES = {"accuracy": {(0, 100), (-100, 100)}, "matthews": {(-100, 100), (-200, 200)}}


@pytest.mark.parametrize("metric", RANGES)
@pytest.mark.parametrize("name", [name for name in OF_SCORES if name != "diagram"])
def test_axes_of_scores_end_at_the_range_of_the_metric(name, metric, grid):
    """No mark, interval or tick is beyond the range of the score or of a difference, and none inside it is cut."""
    canvas = drawn(name, f"ends of {metric}", grid)
    assert {bounds for _, bounds in canvas.bounds} <= RANGES[metric]
    assert canvas.bounds
    for axis, (lowest, highest) in canvas.bounds:
        shown, data = axis.get_view_interval(), axis.get_data_interval()
        assert lowest <= shown[0] <= data[0] <= data[1] <= shown[1] <= highest
        for line in axis.axes.lines:
            assert line.get_marker() in ("", "None", None) or not line.get_clip_on()


@pytest.mark.parametrize(("plan", "score"), [("perfect", 100), ("worst", 0)])
def test_scores_that_are_all_at_one_end_have_an_axis(plan, score, grid):
    """If every run is perfect, or none is right at all, the axis still shows a range beside the score."""
    (axis, _), *_ = drawn("pareto", plan, grid).bounds
    assert sorted(axis.get_view_interval(), key=lambda end: abs(end - score))[0] == score
    assert np.ptp(axis.get_view_interval()) >= 0.5


@pytest.mark.parametrize("name", OF_SCORES)
def test_equal_methods_do_not_hide_each_other(name, grid):
    """Marks of methods with equal scores, ranks and costs are at least a point apart, within the panel."""
    canvas = drawn(name, "equal", grid)
    found = {}
    for gid, tooltips in canvas.tooltips.items():
        line = line_of(canvas, gid)
        places = line.get_transform().transform(line.get_xydata()) * 72 / canvas.dpi
        method = next(method for method in LONG if tooltips[0].startswith(method))
        found.setdefault(line.axes, []).extend((method, place) for place in places)
    assert found
    for marks in found.values():
        assert [
            (a[0], b[0])
            for a, b in itertools.combinations(marks, 2)
            if a[0] != b[0] and math.dist(a[1], b[1]) < 1
        ] == []


@pytest.mark.parametrize("name", OF_SCORES)
def test_axes_name_the_metric(name, grid):
    """An axis names the metric that all tasks share, or says that it differs; then the caption lists the metrics."""

    def labels(canvas):
        return " ".join(
            axis.label.get_text().replace("\n", " ")
            for axes in canvas.axes
            for axis in (axes.xaxis, axes.yaxis)
        )

    alike = drawn(name, "huge errors" if name != "option" else "equal", grid)
    assert ("accuracy" if name == "option" else "negative mse") in labels(alike)
    assert "Metrics:" not in alike.caption
    different = drawn(name, "long names", grid)
    if name != "seeds":  # each of its panels has one task
        assert "metric differs by task" in labels(different)
    assert "mean of pearson and spearman (stsb)" in different.caption
    if name in ("seeds", "curve"):
        assert {"matthews, points", "mean of accuracy and F1 of yes, points"} <= {
            axes.get_ylabel().replace("\n", " ") for axes in different.axes
        }


@pytest.mark.parametrize("name", OF_SCORES)
def test_a_figure_follows_the_width_and_keeps_its_letters(name, grid):
    """Every figure is as wide as asked for, with the same sizes of letters; the caption is left out on request."""
    usual = drawn(name, "equal", grid)
    sizes = {text.get_fontsize() for text in texts(usual)}
    for width in (3.0, 9.25):
        canvas = drawn(name, "equal", grid, width)
        assert canvas.get_figwidth() == width
        assert f'width="{72 * width:g}pt"' in save(canvas, "svg").decode()
        assert {text.get_fontsize() for text in texts(canvas)} == sizes
    assert usual.caption[:20] in " ".join(text.get_text() for text in texts(usual))
    bare = drawn(name, "equal", grid, caption=False)
    assert usual.caption[:20] not in " ".join(text.get_text() for text in texts(bare))
    assert bare.get_figheight() < usual.get_figheight()
    assert bare.caption == usual.caption  # what screen readers say


def test_a_figure_without_panels_keeps_its_reason(grid):
    """Without a caption, a figure that cannot be drawn still says why."""
    runs = [replace(run, status="missing", score=None, dev_score=None) for run in grid()]
    canvas = FIGURES["seeds"].draw(compare(runs), Options(layout=Layout(caption=False)))
    assert "No run is finished." in [text.get_text() for text in texts(canvas)]


@pytest.mark.parametrize("width", [2.9, 20.1, -1, 0, math.nan, math.inf])
def test_a_width_that_no_figure_can_have_is_refused(width):
    """The error names the least and the greatest width."""
    with pytest.raises(ValueError, match="3 to 20 inches"):
        Layout(width=width)


@pytest.mark.parametrize("width", [None, 3.0])
def test_no_panel_is_left_out(width, grid):
    """Fourteen tasks at three sizes of twelve methods have all their panels, at any width."""
    plan = {f"m(rank={i})": i / 100 for i in range(12)}
    tasks = [f"t{i}" for i in range(14)]
    comparison = compare(grid(plan, tasks=tasks, sizes=(16, 32, 64), draws=2))
    panels = {
        name: [
            axes.get_title(loc="left")
            for axes in FIGURES[name].draw(comparison, Options(layout=Layout(width=width))).axes
            if axes.get_visible()
        ]
        for name in ("seeds", "curve", "forest")
    }
    assert set(panels["seeds"]) == {f"{task}, {size}" for task in tasks for size in (16, 32, 64)}
    assert len(panels["seeds"]) == 42
    assert set(tasks) < set(panels["curve"])
    assert set(panels["forest"]) == set(plan) - {"m(rank=0)"}
