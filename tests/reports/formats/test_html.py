"""The page: whole, harmless, small, and the same each time."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from reports import compare, render
from reports.formats.html import misanswered as answers

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u2028\u202e\x1b[31m"
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """Elements with their attributes and texts; what is left open."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.texts = [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def known(grid, **plan):
    """Runs whose answers are known row by row."""
    rng = np.random.default_rng(0)
    found = []
    for run in grid(**plan):
        right = (np.arange(60) % 2).astype(float)
        given = np.where(rng.random(60) < run.score, right, 1 - right)
        score = float((given == right).mean())
        curve = [(10, score / 2), (20, score)]
        found.append(
            replace(
                run,
                given=given,
                right={"": right},
                scored_by=("accuracy",),
                score=score,
                classes=("no", "yes"),
                curve=curve,
            )
        )
    return found


def data_of(text):
    """What the page's script reads."""
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1]
    )


def page_of(runs, **more):
    return render(compare(runs), format="html", command="bench report", **more)


def test_one_style_and_one_script_are_allowed_and_nothing_is_fetched(grid):
    """The policy names the hashes of what is in the page; no address, no handler, no style in an element."""
    text = page_of(known(grid))
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
    for _, attributes in page.found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        places = [
            attributes[name]
            for name in ("src", "href", "xlink:href", "action")
            if name in attributes
        ]
        assert all(place.startswith(("#", "data:")) for place in places)
    assert "@import" not in style
    assert "url(" not in style.replace("url(#", "")


def test_tables_can_be_read_and_cells_open(grid):
    """Captions, scopes, sort states; each cell of the scores names data that are there."""
    text = page_of(known(grid))
    page = Page(text)
    assert len(page.all("caption")) == len(page.all("table")) > 6
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))
    assert all(head["aria-sort"] == "none" for head in page.all("th") if "aria-sort" in head)
    data = data_of(text)
    cells = [button["data-cell"] for button in page.all("button") if "data-cell" in button]
    assert set(cells) == set(data["cells"])
    assert len(cells) == 36
    one = data["cells"]["simplex\nrte\n50"]
    assert len(one["runs"]) == len(one["curves"]) == 5
    assert 0 < len(one["wrong"]["rows"]) <= 20
    assert one["middle"] == [
        [step, pytest.approx(np.mean([curve[2][i][1] for curve in one["curves"]]), abs=0.06)]
        for i, step in enumerate((10, 20))
    ]
    assert page.open == []


def test_wrong_rows_are_those_most_often_wrong_with_their_texts(grid):
    """By the share of runs that are wrong; each text stands once; where texts are not at hand the row is shown without."""
    runs = known(grid, tasks=("rte",), sizes=(50,))
    rows = [(f"first {i}", f"second {i}") for i in range(60)]
    data = data_of(page_of(runs, texts=lambda _: rows))
    here = [run for run in runs if run.method == "prefix"]
    wrong = np.sum([run.given != run.right[""] for run in here], axis=0)
    found = data["cells"]["prefix\nrte\n50"]["wrong"]
    assert [row[4] for row in found["rows"]] == sorted(wrong[wrong > 0], reverse=True)[:20]
    assert (found["of"], found["draw"], found["more"]) == (
        5,
        None,
        (wrong > 0).sum() - len(found["rows"]),
    )
    name, texts, label, answer, _ = found["rows"][0]
    assert [data["texts"][place] for place in texts] == list(rows[int(name) - 1])
    assert {label, answer} == {"no", "yes"}
    assert len(data["texts"]) == len(set(data["texts"]))
    without = data_of(page_of(runs))["cells"]["prefix\nrte\n50"]["wrong"]["rows"]
    assert all(row[1] is None for row in without)


def test_rows_of_draws_that_have_their_own_are_not_mixed(grid):
    """Where test rows are held out anew for each draw, the rows of one draw are shown, and which one is said."""
    runs = [
        replace(run, holdout=True)
        for run in known(grid, methods={"prefix": 0.0}, tasks=("rte",), sizes=(50,), seeds=2)
    ]
    found = data_of(page_of(runs))["cells"]["prefix\nrte\n50"]["wrong"]
    assert (found["of"], found["draw"]) == (2, 0)


def test_rows_of_several_test_splits_say_which_and_numbers_show_the_error(grid):
    """A row is counted inside its split; where the label is a number, the worst are those furthest off."""
    right = {"": np.arange(30.0), "mismatched": np.arange(30.0)}
    runs = [
        replace(
            run, right=right, classes=(), given=np.arange(60.0) % 30 + (np.arange(60) == 40) * 2.5
        )
        for run in known(grid, methods={"prefix": 0.0}, tasks=("rte",), sizes=(50,))
    ]
    found = data_of(page_of(runs))["cells"]["prefix\nrte\n50"]["wrong"]
    assert found["error"]
    assert found["rows"] == [["mismatched 11", None, "10", "12.5", 2.5]]


def test_room_for_texts_goes_to_the_worst_row_of_every_cell_first(grid, monkeypatch):
    """A page that would become too large keeps some texts of each cell, and marks the rows whose texts it leaves out."""
    monkeypatch.setattr(answers, "BUDGET", 36 * 30)
    runs = known(grid, tasks=("cola", "rte", "sst2"))
    data = data_of(
        page_of(runs, texts=lambda run: [(f"{run.task} 日本語 {i:05d}",) for i in range(60)])
    )
    kept = [[row[1] for row in cell["wrong"]["rows"]] for cell in data["cells"].values()]
    assert all(texts[0] for texts in kept)
    assert any(texts[-1] == [] for texts in kept)
    assert sum(len(text.encode()) for text in data["texts"]) <= 36 * 30


def test_a_dev_score_of_nothing_is_a_score(grid):
    """0 is shown as 0.0; a run that never ended has no seconds."""
    first, *rest = known(grid, methods={"prefix": 0.0}, tasks=("rte",), sizes=(50,))
    runs = [
        replace(first, dev_score=0.0),
        *(replace(run, status="missing", score=None, dev_score=None) for run in rest[:1]),
        *rest[1:],
    ]
    shown = data_of(page_of(runs))["cells"]["prefix\nrte\n50"]["runs"]
    assert shown[0][4] == 0.0
    assert shown[1][3:6] == [None, None, None]


def test_more_methods_than_a_figure_holds_are_said_to_be_left_out(grid):
    """A page without figures says why, and how to get them."""
    text = page_of(
        known(
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
    """Names, labels, versions and texts that look like markup appear as text, and the data parse back."""
    runs = [
        replace(
            run,
            task=HOSTILE if run.task == "rte" else run.task,
            classes=(HOSTILE, "b"),
            versions=HOSTILE,
        )
        for run in known(grid, methods={"a": 0.0, HOSTILE: 0.02}, tasks=("rte", "sst2"))
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
    """One method, one task, one size, one draw."""
    assert page_of(known(grid, **plan)).endswith("</html>\n")


def test_the_same_runs_give_the_same_bytes(grid):
    """In whatever order they come."""
    runs = known(grid)
    assert page_of(runs) == page_of(list(reversed(runs)))


def test_five_thousand_results_make_a_page_below_three_megabytes(grid):
    """Five methods, eight tasks, five sizes, twenty-five draws, with answers and texts."""
    methods = {"fine-tuning": 0.0, "prefix": -0.01, "simplex": 0.02, "lora": 0.01, "adapter": 0.0}
    runs = known(
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
