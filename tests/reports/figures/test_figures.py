"""Figures can always be drawn, are reproducible, and show the numbers of the comparison."""

import itertools
import math
import re
from dataclasses import replace
from statistics import fmean
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest

from reports import compare
from reports.analysis.paired_runs import NothingToCompare, SelectionRule
from reports.analysis.selection_rules import mean_optimism, optimism_of_best
from reports.figures import FIGURES, FILE_FORMATS, Options, inline, landscape, save
from reports.figures.optimism import by_rule, spaced_counts
from reports.figures.option import group_variants, parse_name
from reports.figures.pareto import ParetoPoint, front
from reports.figures.profile import fractions
from reports.figures.style import DASHES, MARKERS, NEUTRAL, PALETTE, method_styles, style
from reports.statistics.ranks import cliques

HOSTILE = (
    "$x$",
    "<script>alert(1)</script>",
    "a\x1b[31m\ufffe",
    "_under & over",
    "a" * 300,
    "名前 \u202e(rank=4)",
    "",
)
SVG = "{http://www.w3.org/2000/svg}"


def xml(text):
    return ET.fromstring(text)  # noqa: S314  # this program wrote it


def drawn(name, runs, **options):
    return FIGURES[name].draw(compare(runs), Options(**options))


def hostile(grid):
    """Return the grid with names that could break a figure."""
    runs = grid(dict.fromkeys(HOSTILE, 0.0), tasks=HOSTILE[:3], draws=2)
    return [
        replace(
            run, rules={"$y$": SelectionRule("$y$", {"accuracy": 0.5})}, collapsed=run.draw == 1
        )
        for run in runs
    ]


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


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_drawn(name, plan, grid):
    """Whatever the runs and their names, the figure is small, self-contained XML with a tooltip for each point."""
    if plan not in COMPARISONS:
        COMPARISONS[plan] = compare(PLANS[plan](grid))
    canvas = FIGURES[name].draw(COMPARISONS[plan], Options())
    piece = inline(canvas)
    root = xml(piece)
    assert len(piece) < 60_000
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


@pytest.mark.parametrize("name", FIGURES)
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


def test_inline_figures_share_no_ids(grid):
    """Two figures fit on one page, and so does one figure twice if it gets a prefix."""
    pieces = [inline(drawn(name, grid())) for name in FIGURES] + [
        inline(drawn("curve", grid()), prefix="again")
    ]
    ids = [
        set(re.findall(r' id="([^"]+)"', piece)) | set(re.findall(r"\.([\w-]+)\{", piece))
        for piece in pieces
    ]
    assert all(ids[:-2])
    assert not [one for a, b in itertools.combinations(ids, 2) for one in a & b]


def luminance(color):
    parts = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in mpl.colors.to_rgb(color)
    ]
    return float(np.dot(parts, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("color", [*PALETTE, NEUTRAL])
def test_colours_are_visible_on_light_and_dark_pages(color):
    """Each colour has a contrast of at least 3 to 1 on white and on the dark page (WCAG 1.4.11)."""
    for page in ("#ffffff", "#16181d"):
        light, dark = sorted((luminance(color), luminance(page)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3


def test_an_inline_figure_takes_the_text_colour_of_the_page(grid):
    """Text uses the colour of the page, the background is transparent, and the page sets the size."""
    piece = inline(drawn("curve", grid()))
    assert "currentColor" in piece
    assert set(re.findall(r"#[0-9a-f]{6}\b", piece)) <= {*PALETTE, NEUTRAL}
    assert " width=" not in piece.split(">")[0]
    assert "viewBox" in piece.split(">")[0]


def test_methods_differ_by_more_than_colour():
    """Sixty methods differ in marker, dashes or colour, and twenty methods differ in marker or dashes."""
    found = method_styles([str(i) for i in range(60)], "0")
    assert len({(look.color, look.marker, str(look.dash)) for look in found.values()}) == 60
    few = [found[str(i)] for i in range(20)]
    assert len({(look.marker, str(look.dash)) for look in few}) == 20
    assert (len(MARKERS), len(DASHES)) == (10, 4)


# The numbers


def line_of(canvas, gid):
    """Return the line with this gid."""
    return next(line for axes in canvas.axes for line in axes.lines if line.get_gid() == gid)


def values(canvas):
    """Yield the tooltip and the coordinates of every point."""
    for gid, texts in canvas.tooltips.items():
        line = line_of(canvas, gid)
        yield from zip(texts, line.get_xdata(), line.get_ydata(), strict=True)


def test_curve_shows_the_means(grid):
    """Every score is the mean of its cell at the logarithm of its size, with mean and interval as tooltip."""
    comparison = compare(grid())
    canvas = FIGURES["curve"].draw(comparison, Options())
    points = {text.split(":")[0]: (x, y, text) for text, x, y in values(canvas)}
    for method, task, size in itertools.product(
        comparison.methods, [*comparison.tasks, None], comparison.sizes
    ):
        cell = comparison.cell(method, task, size)
        x, y, text = points[f"{method}, {task or 'average'}, size {size}"]
        assert (x, y) == (math.log2(size), cell.mean)
        assert text.endswith(f"{cell.mean:.1f} [{cell.low:.1f}, {cell.high:.1f}]")
    for test in comparison.family("per size"):
        _, y, text = points[f"{test.method} - {test.baseline}, size {test.size}"]
        assert y == test.effect
        assert text.endswith(f"{test.effect:.1f} [{test.ci[0]:.1f}, {test.ci[1]:.1f}]")


def test_curve_names_methods_without_an_average(grid):
    """A method that lacks a task has no average, and the caption names it."""
    canvas = drawn("curve", [run for run in grid() if (run.method, run.task) != ("prefix", "rte")])
    assert "runs are missing: prefix" in canvas.caption
    assert not [text for text, *_ in values(canvas) if text.startswith("prefix, average")]


def test_forest_shows_the_contrast_of_each_task(grid):
    """A row is the mean paired difference over sizes and draws; the diamond is the overall effect."""
    runs = grid()
    comparison = compare(runs)
    points = {
        text.split(":")[0]: x
        for text, x, _ in values(FIGURES["forest"].draw(comparison, Options()))
    }
    scores = {(run.method, run.task, run.size, run.draw): 100 * run.score for run in runs}
    for method, task in itertools.product(("prefix", "simplex"), comparison.tasks):
        pairs = itertools.product((50, 200), range(5))
        expected = fmean(
            scores[method, task, s, d] - scores["fine-tuning", task, s, d] for s, d in pairs
        )
        assert points[f"{method}, {task}"] == pytest.approx(expected)
    for test in comparison.family("overall"):
        assert points[f"{test.method}, overall"] == test.effect


def test_forest_shows_the_prediction_for_one_more_task(grid):
    """The prediction interval and the heterogeneity match the appendix, and the caption explains both."""
    comparison = compare(grid(sizes=(50,)))
    canvas = FIGURES["forest"].draw(comparison, Options())
    for detail in comparison.secondary:
        found = detail.pooled
        ends = [
            x
            for text, x, _ in values(canvas)
            if text.startswith(f"{detail.method}, one more task: ")
        ]
        assert ends == [found.predicted_low, found.predicted_high]
        assert f"τ² {found.tau2:.2f}, I² {100 * found.i2:.0f} %" in [
            axes.get_title(loc="right") for axes in canvas.axes
        ]
    assert "95 % prediction interval of the difference on one more task (E3" in canvas.caption
    assert "one more task" not in drawn("forest", grid(tasks=("rte",))).caption


def test_diagram_ranks_and_joins(grid):
    """The best method has rank 1, bars join methods that do not differ significantly, and the caption names the test."""
    few = drawn("diagram", grid({"a": 0.0, "b": 0.2, "c": 0.1}, noise=0))
    assert {text: x for text, x, _ in values(few)} == {
        "b: mean rank 1.00": 1,
        "c: mean rank 2.00": 2,
        "a: mean rank 3.00": 3,
    }
    assert "N = 6 tasks, k = 3 methods" in few.caption
    assert "allow no adjusted p below 0.094" in few.caption
    assert "is best" in few.axes[0].get_xlabel()
    many = drawn("diagram", grid({"a": 0.0, "b": 0.0, "c": 0.1}, tasks=[f"t{i}" for i in range(9)]))
    bars = [line.get_xdata() for line in many.axes[0].lines if line.get_linewidth() > 2]
    ranks = {text[0]: x for text, x, _ in values(many)}
    assert [sorted(bar) for bar in bars] == [sorted((ranks["a"], ranks["b"]))]
    assert "Holm over 3 pairs" in many.caption


def test_many_equal_methods_share_one_bar():
    """Forty methods take no exponential time; one significant pair splits the group in two."""
    p = np.ones((40, 40))
    assert cliques(p) == [tuple(range(40))]
    p[0, 39] = p[39, 0] = 0.01
    assert cliques(p) == [tuple(range(39)), tuple(range(1, 40))]


@pytest.mark.parametrize("dpi", [200, 300])
def test_no_label_leaves_the_figure(dpi, grid):
    """Names on both sides of a diagram end inside the figure, at the resolution of a PNG and of the layout."""
    canvas = drawn(
        "diagram",
        grid({"fine-tuning(layers=none)": 0.0, "fine-tuning(lr=0.0005)": 0.1, "lora": 0.05}),
    )
    with style():
        canvas.set_dpi(dpi)
        canvas.draw_without_rendering()
        boxes = [text.get_window_extent() for text in canvas.axes[0].texts]
    assert min(box.x0 for box in boxes) / dpi > -0.02
    assert max(box.x1 for box in boxes) / dpi < canvas.get_figwidth() + 0.02


def test_front_holds_the_undominated_methods(grid):
    """A method that costs more without scoring better is off the front; at equal cost the better one stays."""
    cell = compare(grid()).cell("simplex", "rte", 50)
    points = [
        ParetoPoint(n, cost, replace(cell, mean=mean))
        for n, cost, mean in [("a", 1, 5), ("b", 2, 5), ("c", 2, 7), ("d", 3, 6)]
    ]
    assert [point.method for point in front(points)] == ["a", "c"]


@pytest.mark.parametrize("cost", ["trained", "seconds", "stored", "evaluation"])
def test_pareto_places_methods_at_their_costs(cost, grid):
    """Each method is at its mean cost and mean score; the caption names a method without a cost."""
    names = {
        "trained": "trained",
        "seconds": "seconds_training",
        "stored": "stored",
        "evaluation": "seconds_evaluation",
    }
    runs = [
        replace(run, **{names[cost]: {"prefix": 10, "simplex": 20}.get(run.method, 0)})
        for run in grid()
    ]
    comparison = compare(runs)
    canvas = FIGURES["pareto"].draw(comparison, Options(cost=cost))
    points = {text.split(":")[0]: (x, y) for text, x, y in values(canvas)}
    assert points == {
        name: (x, comparison.cell(name, None, None).mean)
        for name, x in (("prefix", 10), ("simplex", 20))
    }
    assert "the cost is incomplete: fine-tuning" in canvas.caption


def test_seeds_shows_every_run_and_its_state(grid):
    """There is a dot for each run at its score; collapsed and diverged runs have other markers."""
    runs = grid(tasks=("rte", "cola"), sizes=(50,))
    runs[0], runs[1] = replace(runs[0], collapsed=True), replace(runs[1], status="diverged")
    shown = {text: y for text, _, y in values(drawn("seeds", runs))}
    assert sorted(shown.values()) == pytest.approx(sorted(100 * run.score for run in runs))
    assert sum(text.endswith("(collapsed)") for text in shown) == 1
    assert sum(text.endswith("(diverged)") for text in shown) == 1


def test_thousands_of_runs_are_thinned_out(grid):
    """Figures of many runs stay small, and the caption says that runs are left out."""
    runs = grid(draws=40, seeds=3)
    for name in ("seeds", "optimism"):
        canvas = drawn(name, runs)
        assert len(inline(canvas)) < 60_000
        assert "thinned out" in canvas.caption or "is drawn as a dot" in canvas.caption


def test_optimism_is_dev_minus_test(grid):
    """Optimism is the mean of dev minus test over draws and tasks."""
    runs = [
        replace(run, dev_score=run.score + (0.02 if run.task == "rte" else 0.01 + 0.001 * run.draw))
        for run in grid()
    ]
    some = [run for run in runs if run.method == "simplex" and run.task in ("rte", "cola")]
    assert mean_optimism(some).mean == pytest.approx((2.0 + 1.2) / 2)
    assert (
        "simplex: dev - test" in "".join(text for text, *_ in values(drawn("optimism", runs)))
    ) is True


def test_optimism_of_the_best_of_n_runs(grid):
    """It is the mean over all choices of n runs, with equal weight of cells, up to the size of the smallest cell."""
    some = [
        run for run in grid() if run.method == "simplex" and run.task == "rte" and run.size == 50
    ][:3]
    cell = [
        replace(run, dev_score=dev, score=0.6)
        for run, dev in zip(some, (0.5, 0.7, 0.9), strict=True)
    ]
    other = [replace(run, task="cola", dev_score=0.6, score=0.6) for run in cell[:2]]
    two = 100 * (0.7 + 0.9 + 0.9) / 3 - 60
    assert optimism_of_best(cell, lambda most: range(1, most + 1)) == pytest.approx({1: 10, 2: two, 3: 30})
    assert optimism_of_best(cell + other, lambda most: range(1, most + 1)) == pytest.approx(
        {1: 5, 2: two / 2}
    )
    assert optimism_of_best(cell, lambda most: [most]) == pytest.approx({3: 30})
    assert optimism_of_best([], spaced_counts) == {}


def test_the_names_of_many_methods_do_not_overlap(grid):
    """The figure grows with the number of methods, and axis labels stay inside it."""
    runs = grid(
        {f"fine-tuning(rank={i}, lr=0.0005)": 0.0 for i in range(15)}, tasks=("rte",), draws=10
    )
    with style():
        canvas = drawn("optimism", runs)
        names = [text.get_window_extent() for text in canvas.axes[1].get_yticklabels()]
        below = [axes.xaxis.label.get_window_extent() for axes in canvas.axes]
    assert all(upper.y0 >= lower.y1 for upper, lower in itertools.pairwise(names))
    assert all(box.x0 >= 0 and box.x1 <= canvas.bbox.x1 for box in below)


def test_spaced_counts():
    """A small number gives all counts, a large number at most eight, including the largest."""
    assert spaced_counts(5) == [1, 2, 3, 4, 5]
    assert spaced_counts(120) == [1, 2, 4, 8, 15, 31, 61, 120]
    assert spaced_counts(1) == [1]
    assert spaced_counts(0) == []


def test_rules_match_the_table(grid):
    """Methods may have different rules, and tasks have equal weight whatever their number of runs."""
    assert by_rule(compare(grid()).rules) == {}
    runs = [run for run in grid(sizes=(50,)) if run.task != "rte" or run.draw < 2]
    runs = [
        replace(
            run,
            metrics={"accuracy": run.score},
            rules={
                name: SelectionRule(name, {"accuracy": score})
                for name, score in {
                    "last": run.score - 0.1 * (run.task == "rte"),
                    **({"centroid": 0.7} if run.method == "simplex" else {}),
                }.items()
            },
            sampled=(0.5, 0.6) if run.method == "simplex" else (),
        )
        for run in runs
    ]
    comparison = compare(runs)
    shown = {text: y for text, _, y in values(drawn("optimism", runs)) if ", rule " in text}
    assert {text.partition(":")[0] for text in shown} == {
        *(
            f"{method}, rule {rule}"
            for method in ("fine-tuning", "prefix")
            for rule in ("centroid", "last")
        ),
        *(f"simplex, rule {rule}" for rule in ("stochastic", "centroid", "last")),
    }
    scores = {f"{rule.method}, rule {rule.name}": rule.score for rule in comparison.rules}
    assert {text.partition(":")[0]: y for text, y in shown.items()} == pytest.approx(scores)
    assert scores["prefix, rule last"] == pytest.approx(scores["prefix, rule centroid"] - 10 / 6)


def test_profile_is_the_fraction_of_runs(grid):
    """The line is the fraction of runs at or above a score, failed runs reach none, and the band contains it."""
    runs = [run for run in grid() if run.method == "simplex"]
    runs[0] = replace(runs[0], status="failed", score=None)
    taus = np.array([0.0, 60.0, 70.0, 101.0])
    line, low, high = fractions(runs, taus)
    done = [100 * run.score for run in runs[1:]]
    assert line == pytest.approx([sum(score >= tau for score in done) / len(runs) for tau in taus])
    assert (low <= line + 1e-12).all()
    assert (line <= high + 1e-12).all()
    assert fractions(runs, taus)[1] == pytest.approx(low)


def test_variants_are_grouped_by_their_other_options():
    """Methods that differ in one option only form a line; a given default gets its place on it."""
    assert parse_name("prefix(length=20, depth=all)") == (
        "prefix",
        {"length": "20", "depth": "all"},
    )
    assert parse_name("lora") == ("lora", {})
    methods = ["prefix", "prefix(length=5)", "prefix(length=9, depth=3)", "lora"]
    lines = group_variants(methods, "length", None)
    assert {key: [variant.value for variant in line] for key, line in lines.items()} == {
        ("prefix", ""): [None, "5"],
        ("prefix", "depth=3"): ["9"],
    }
    assert [variant.value for variant in group_variants(methods, "length", "20")["prefix", ""]] == [
        "20",
        "5",
    ]


def test_option_places_numbers_and_words(grid):
    """Numbers stand at their values, an unknown default to their left, and words at equal distances."""
    comparison = compare(
        grid(
            {
                "lora": 0.0,
                "lora(rank=2)": 0.1,
                "lora(rank=64)": 0.2,
                "lora(on=qv)": 0.1,
                "lora(on=all)": 0.0,
            }
        )
    )
    points = {
        text.split(":")[0]: x
        for text, x, _ in values(FIGURES["option"].draw(comparison, Options(option="rank")))
    }
    assert (points["lora(rank=2)"], points["lora(rank=64)"]) == (2, 64)
    assert points["lora"] < 2
    points = {
        text.split(":")[0]: x
        for text, x, _ in values(FIGURES["option"].draw(comparison, Options(option="rank=8")))
    }
    assert points["lora"] == 8
    points = {
        text.split(":")[0]: x
        for text, x, _ in values(FIGURES["option"].draw(comparison, Options(option="on")))
    }
    assert points == {"lora": -1, "lora(on=all)": 0, "lora(on=qv)": 1}
    with pytest.raises(NothingToCompare, match=r"no option 'rnk'.*on, rank"):
        FIGURES["option"].draw(comparison, Options(option="rnk"))


def lattice(vertices, steps=4):
    """Return evenly spaced barycentric weights."""
    every = itertools.product(range(steps + 1), repeat=vertices)
    return np.array([point for point in every if sum(point) == steps]) / steps


@pytest.mark.parametrize("vertices", [2, 3, 4, 6])
def test_landscape_shows_every_point(vertices):
    """Each point of the triangle, or on an edge, is drawn with its value; names are shown literally."""
    weights = lattice(vertices)
    found = weights @ np.arange(vertices)
    names = [*HOSTILE[:3], "d", "e", "f"][:vertices]
    canvas = landscape(weights, found, names)
    xml(inline(canvas))
    edges = (weights > 0).sum(axis=1) <= 2
    assert (
        len({text for text, *_ in values(canvas)})
        == {2: 5, 3: 15, 4: edges.sum(), 6: 12 * 3 + 6}[vertices]
    )
    assert save(landscape(weights, found, names), "svg") == save(canvas, "svg")
    assert f"{len(weights)} points evaluated" in canvas.caption


def test_landscape_places_points_by_their_weights():
    """Vertices are at the corners, and the centre is in the middle."""
    canvas = landscape(
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3]], [1, 2, 3, 4], ["a", "b", "c"]
    )
    places = {text: (x, y) for text, x, y in values(canvas)}
    assert places["b 1.00: 2.0"] == (1, 0)
    assert places["c 1.00: 3.0"] == pytest.approx((0.5, math.sqrt(3) / 2))
    assert places["a 0.33, b 0.33, c 0.33: 4.0"] == pytest.approx((0.5, math.sqrt(3) / 6))


@pytest.mark.parametrize(
    ("weights", "found", "problem"),
    [
        ([[1, 0, 0]], [1, 2], "do not match"),
        ([[0.5, 0.2, 0.2]], [1], "sum to 1"),
        ([[1.5, -0.5, 0]], [1], "negative"),
    ],
)
def test_landscape_refuses_invalid_weights(weights, found, problem):
    """The error states what is wrong with shapes or weights."""
    with pytest.raises(ValueError, match=problem):
        landscape(weights, found, ["a", "b", "c"])


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_landscape_of_few_points(count):
    """Every point is shown; the contour map and its scale require three points that span an area."""
    canvas = landscape(np.eye(3)[:count], np.arange(count), ["a", "b", "c"])
    assert [text for text, *_ in values(canvas)] == ["a 1.00: 0.0", "b 1.00: 1.0", "c 1.00: 2.0"][
        :count
    ]
    assert len(list(xml(inline(canvas)).iter(f"{SVG}use"))) >= count
    assert any(axes.get_ylabel() == "points" for axes in canvas.axes) == (
        count == 3
    )  # the colour scale


def test_landscape_without_finite_values():
    """Points without a finite value are left out, and the figure says so."""
    canvas = landscape(np.eye(3), [math.nan] * 3, ["a", "b", "c"])
    assert not canvas.tooltips
    assert "No point has a finite value." in "".join(xml(inline(canvas)).itertext())
