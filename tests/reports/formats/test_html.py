"""The HTML page is complete, safe, small and reproducible."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from reports import compare, render
from reports.formats.html import misanswered
from tests.support.predicted_runs import predicted_runs

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u2028\u202e\x1b[31m"
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """Parse a page into its elements with their attributes; `open` holds the elements that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def data_of(text):
    """Return the data that the page's script reads."""
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1]
    )


def page_of(runs, **more):
    return render(compare(runs), format="html", command="bench report", **more)


def test_one_style_and_one_script_are_allowed_and_nothing_is_fetched(grid):
    """The policy holds the hashes of style and script; no element has an address, a handler or a style."""
    text = page_of(predicted_runs(grid))
    page = Page(text)
    policy = next(
        a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    for name, content in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        addresses = [
            attributes[name]
            for name in ("src", "href", "xlink:href", "action")
            if name in attributes
        ]
        assert all(address.startswith(("#", "data:")) for address in addresses)
    assert "@import" not in style
    assert "url(" not in style.replace("url(#", "")


def test_tables_can_be_read_and_cells_open(grid):
    """Tables have captions, scopes and sort states; each cell of the scores refers to data in the page."""
    text = page_of(predicted_runs(grid))
    page = Page(text)
    assert len(page.all("caption")) == len(page.all("table")) > 6
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))
    assert all(head["aria-sort"] == "none" for head in page.all("th") if "aria-sort" in head)
    data = data_of(text)
    cells = [button["data-cell"] for button in page.all("button") if "data-cell" in button]
    assert set(cells) == set(data["cells"])
    assert len(cells) == 36
    cell = data["cells"]["simplex\nrte\n50"]
    assert len(cell["runs"]) == len(cell["curves"]) == 5
    assert 0 < len(cell["wrong"]["rows"]) <= 20
    assert cell["range"] == [0, 100]
    assert cell["mean_curve"] == [
        [step, pytest.approx(np.mean([curve[2][i][1] for curve in cell["curves"]]), abs=0.06)]
        for i, step in enumerate((10, 20))
    ]
    assert page.open == []


@pytest.mark.slow
def test_misanswered_examples_are_those_most_often_wrong(grid):
    """They are ordered by the number of wrong runs; each text is stored once; without texts they are still listed."""
    runs = predicted_runs(grid, tasks=("rte",), sizes=(50,))
    rows = [(f"first {i}", f"second {i}") for i in range(60)]
    data = data_of(page_of(runs, texts=lambda _: rows))
    prefix_runs = [run for run in runs if run.method == "prefix"]
    wrong = np.sum([run.predictions != run.labels[""] for run in prefix_runs], axis=0)
    errors = data["cells"]["prefix\nrte\n50"]["wrong"]
    assert [row[4] for row in errors["rows"]] == sorted(wrong[wrong > 0], reverse=True)[:20]
    assert (errors["runs"], errors["draw"], errors["hidden"]) == (
        5,
        None,
        (wrong > 0).sum() - len(errors["rows"]),
    )
    name, texts, label, answer, _ = errors["rows"][0]
    assert [data["texts"][index] for index in texts] == list(rows[int(name) - 1])
    assert {label, answer} == {"no", "yes"}
    assert len(data["texts"]) == len(set(data["texts"]))
    without = data_of(page_of(runs))["cells"]["prefix\nrte\n50"]["wrong"]["rows"]
    assert all(row[1] is None for row in without)


def test_examples_of_draws_with_their_own_test_sets_are_not_mixed(grid):
    """If each draw holds out its own test examples, those of one draw are shown, with its number."""
    runs = [
        replace(run, holdout=True)
        for run in predicted_runs(
            grid, methods={"prefix": 0.0}, tasks=("rte",), sizes=(50,), seeds=2
        )
    ]
    errors = data_of(page_of(runs))["cells"]["prefix\nrte\n50"]["wrong"]
    assert (errors["runs"], errors["draw"]) == (2, 0)


def test_examples_are_named_by_split_and_regression_shows_the_error(grid):
    """An example is numbered inside its split; in regression, the worst have the largest mean error."""
    right = {"": np.arange(30.0), "mismatched": np.arange(30.0)}
    runs = [
        replace(
            run,
            labels=right,
            classes=(),
            predictions=np.arange(60.0) % 30 + (np.arange(60) == 40) * 2.5,
        )
        for run in predicted_runs(grid, methods={"prefix": 0.0}, tasks=("rte",), sizes=(50,))
    ]
    errors = data_of(page_of(runs))["cells"]["prefix\nrte\n50"]["wrong"]
    assert errors["regression"]
    assert errors["rows"] == [["mismatched 11", None, "10", "12.5", 2.5]]


@pytest.mark.slow
def test_texts_go_to_the_worst_example_of_every_cell_first(grid, monkeypatch):
    """A page at its size limit keeps some texts of each cell and marks the examples whose texts it omits."""
    monkeypatch.setattr(misanswered, "MAX_TEXT_BYTES", 36 * 30)
    runs = predicted_runs(grid, tasks=("cola", "rte", "sst2"))
    data = data_of(
        page_of(runs, texts=lambda run: [(f"{run.task} 日本語 {i:05d}",) for i in range(60)])
    )
    kept = [[row[1] for row in cell["wrong"]["rows"]] for cell in data["cells"].values()]
    assert all(texts[0] for texts in kept)
    assert any(texts[-1] == [] for texts in kept)
    assert sum(len(text.encode()) for text in data["texts"]) <= 36 * 30


def test_a_dev_score_of_zero_is_a_score(grid):
    """A dev score of 0 is shown as 0.0; a run that did not finish has no seconds."""
    first, *rest = predicted_runs(grid, methods={"prefix": 0.0}, tasks=("rte",), sizes=(50,))
    runs = [
        replace(first, dev_score=0.0),
        *(replace(run, status="missing", score=None, dev_score=None) for run in rest[:1]),
        *rest[1:],
    ]
    shown = data_of(page_of(runs))["cells"]["prefix\nrte\n50"]["runs"]
    assert shown[0][4] == 0.0
    assert shown[1][3:6] == [None, None, None]


def test_a_page_without_figures_says_why(grid):
    """With more methods than a figure holds, the page says why figures are missing and how to draw them."""
    text = page_of(
        predicted_runs(
            grid,
            methods={f"lora(rank={i})": 0.0 for i in range(16)},
            tasks=("rte",),
            sizes=(50,),
            draws=2,
        )
    )
    assert "<figure" not in text
    assert "Figures of more than 15 methods are left out" in text


def test_hostile_text_stays_text(grid):
    """Names, labels, versions and texts that look like markup appear as text, and the data remain valid JSON."""
    runs = [
        replace(
            run,
            task=HOSTILE if run.task == "rte" else run.task,
            classes=(HOSTILE, "b"),
            versions=HOSTILE,
        )
        for run in predicted_runs(grid, methods={"a": 0.0, HOSTILE: 0.02}, tasks=("rte", "sst2"))
    ]
    text = page_of(runs, texts=lambda _: [(HOSTILE,)] * 60)
    page = Page(text)
    assert len(page.all("script")) == 2
    assert not page.all("img")
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\u2028" not in text
    data = data_of(text)
    buttons = {button["data-cell"] for button in page.all("button") if "data-cell" in button}
    assert buttons == set(data["cells"])


@pytest.mark.parametrize(
    "plan", [{"methods": {"prefix": 0.0}}, {"tasks": ("rte",)}, {"sizes": (50,), "draws": 1}]
)
def test_small_plans_have_a_page(grid, plan):
    """A page is written for one method, one task, or one size with one draw."""
    assert page_of(predicted_runs(grid, **plan)).endswith("</html>\n")


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes(grid):
    """The page does not depend on the order of the runs."""
    runs = predicted_runs(grid, tasks=("cola", "rte"), sizes=(50,))
    assert page_of(runs) == page_of(list(reversed(runs)))


@pytest.mark.slow
def test_five_thousand_results_make_a_page_below_three_megabytes(grid):
    """Five methods, eight tasks, five sizes and 25 draws, with answers and texts, stay below the limit."""
    methods = {"fine-tuning": 0.0, "prefix": -0.01, "simplex": 0.02, "lora": 0.01, "adapter": 0.0}
    runs = predicted_runs(
        grid,
        methods=methods,
        tasks=[f"task-{i}" for i in range(8)],
        sizes=(50, 100, 200, 500, 1000),
        draws=25,
    )
    assert len(runs) == 5000
    rows = [(f"{'some words of a text ' * 5}{i}",) for i in range(60)]
    text = page_of(runs, texts=lambda _: rows)
    assert len(text.encode()) < 3_000_000
