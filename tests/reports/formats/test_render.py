"""Reports in every format: layout, escaping, and statements that must never appear."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len

from reports import FORMATS, compare, render

NASTY = "=a|b_<c>&\x1b[31m\u202e"


@pytest.fixture
def incomplete_runs(grid):
    """Runs with every kind of missing score and mark, and with hostile names."""
    runs = []
    for r in grid(
        tasks=(
            "cola",
            "mrpc",
            "rte",
            "[x](http://e.com)",
            "my/very_long_name_of_a_file_of_examples.csv",
        )
    ):
        failed = (r.method, r.task, r.size) == ("prefix", "rte", 50)
        r = replace(r, status="failed", score=None) if failed else r
        r = replace(
            r,
            collapsed=r.task == "mrpc" and r.draw == 1,
            seen=r.task == "cola",
            holdout=r.task.startswith("my"),
        )
        if not (r.method == "simplex" and r.task == "cola" and r.draw == 3):
            runs.append(replace(r, method=NASTY if r.method == "simplex" else r.method))
    return runs


@pytest.mark.parametrize(
    "form",
    [pytest.param(form, marks=pytest.mark.slow if form == "html" else ()) for form in FORMATS],
)
def test_the_order_of_runs_does_not_matter(incomplete_runs, form):
    """The same runs in a different order give the same bytes."""
    first = render(compare(incomplete_runs), format=form, command="bench report")
    assert first == render(compare(incomplete_runs[::-1]), format=form, command="bench report")
    assert first.endswith("\n")
    assert not first.endswith("\n\n")


def test_unknown_format(incomplete_runs):
    """The error names the known formats."""
    with pytest.raises(ValueError, match="terminal, markdown, latex, html"):
        render(compare(incomplete_runs), format="word")


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex"])
def test_the_verdict_comes_first(grid, form):
    """The first line that is not a heading states what is settled."""
    text = render(compare(grid({"fine-tuning": 0.0, "simplex": 0.1}, draws=10)), format=form)
    first = next(line for line in text.splitlines() if line and not line.startswith(("#", "%")))
    assert "Settled on average over these tasks: simplex is better than" in first


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "json"])
@pytest.mark.parametrize("draws", [1, 2, 3, 10])
def test_equality_is_never_claimed(grid, form, draws):
    """No report claims equality; a report without a settled difference says that this is not evidence of equality."""
    text = render(compare(grid({"fine-tuning": 0.0, "simplex": 0.0}, draws=draws)), format=form)
    words = " ".join(text.split())
    assert "no difference" not in words.lower()
    assert "n.s." not in words
    assert "not evidence of equality" in words


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_terminal_fits(incomplete_runs, width):
    """No line is wider than the terminal, and no number is cut or wrapped."""
    comparison = compare(incomplete_runs)
    text = render(comparison, format="terminal", width=width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    for cell in comparison.cells:
        if cell.low == cell.low:
            assert (
                f"{cell.mean:.1f} ± {max(cell.high - cell.mean, cell.mean - cell.low):.1f}" in text
            )
    assert "failed 0/5" in text
    assert re.search(r"± \d+\.\d\s*[*↑↓‡]* +4/5", text)


def test_styles_only_with_color(incomplete_runs):
    """Escape sequences appear only with `color`, and those in names never appear."""
    comparison = compare(incomplete_runs)
    plain, styled = (render(comparison, format="terminal", color=color) for color in (False, True))
    assert "\x1b" not in plain
    assert "\x1b[1m" in styled
    assert "\x1b[31m" not in styled
    assert "\u202e" not in styled
    assert re.sub(r"\x1b\[[0-9;]*m", "", styled).split() == plain.split()


@pytest.mark.parametrize("variable", ["NO_COLOR", "FORCE_COLOR", "COLUMNS"])
def test_environment_does_not_matter(incomplete_runs, monkeypatch, variable):
    """Environment variables for terminals do not change the report."""
    before = render(compare(incomplete_runs), format="terminal", width=90, color=True)
    monkeypatch.setenv(variable, "40")
    assert render(compare(incomplete_runs), format="terminal", width=90, color=True) == before


def test_markdown_tables_are_rectangular(incomplete_runs):
    """Every row of a pipe table has as many cells as its heading, whatever the names contain."""
    text = render(compare(incomplete_runs), format="markdown")
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1
    assert not re.search(r"(?<!\\)\]\(|://", text)
    assert "<c>" not in text
    assert "**" in text


def test_latex_is_well_formed(incomplete_runs):
    """Braces and environments are balanced, rows match their tables, and every special character is escaped."""
    text = render(
        compare(incomplete_runs),
        format="latex",
        command="bench run --tasks 'a_b' # 100 %\\input{x}",
    )
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\[{}&%#$_\\]", "", body)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert "%" not in bare
    assert "#" not in bare
    assert body.count("\\begin{") == body.count("\\end{")
    assert "\\input" not in body
    for columns, rows in re.findall(
        r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", body, flags=re.DOTALL
    ):
        for line in rows.splitlines():
            if line.endswith("\\\\"):
                assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1
    unset = set(re.findall(r"[^\x00-\x7f]", body))
    assert not unset


def test_json_contains_every_test(incomplete_runs):
    """JSON has a schema number, sorted keys, no NaN, and all fields of every test."""
    text = render(compare(incomplete_runs), format="json", command="bench report")
    assert "NaN" not in text
    content = json.loads(text)
    assert content["schema"] == 3
    assert list(content) == sorted(content)
    assert content["verdict"]
    assert all(
        {"family", "effect", "these", "others", "notes"} <= set(test) for test in content["tests"]
    )
    claims = [claim for test in content["tests"] for claim in (test["these"], test["others"])]
    keys = {"population", "test", "n", "low", "high", "p_raw", "p_adj", "m", "mde", "settled"}
    assert all(keys <= set(claim) for claim in claims if claim)
    assert any(claim["p_raw"] is None for claim in claims if claim)


def test_csv_has_a_row_per_cell(incomplete_runs):
    """CSV has a row for each method, task and size; no field is a formula; negative numbers stay numbers."""
    comparison = compare(incomplete_runs)
    rows = list(csv.DictReader(io.StringIO(render(comparison, format="csv"))))
    assert len(rows) == 3 * 5 * 2
    assert len({(row["method"], row["task"], row["size"]) for row in rows}) == len(rows)
    assert any(row["method"].startswith("'=a|b") for row in rows)
    assert min(float(row["effect"]) for row in rows if row["effect"]) < 0
    assert not any(str(value).startswith(("=", "+", "@")) for row in rows for value in row.values())
    (row,) = [r for r in rows if (r["method"], r["task"], r["size"]) == ("prefix", "rte", "50")]
    assert (row["state"], row["failed"], row["mean"]) == ("failed", "5", "")


def test_one_method(grid):
    """A single method is shown without marks and tests."""
    text = render(compare(grid({"lora": 0.0})), format="terminal")
    assert text.startswith("There are only runs of lora")
    assert "*" not in text
    assert "p Holm" not in text


def test_nothing_finished(grid):
    """A plan without results can be rendered in every format."""
    comparison = compare([replace(r, status="missing", score=None) for r in grid()])
    for form in FORMATS:
        assert render(comparison, format=form)
    assert render(comparison).startswith("No result yet: none of the 180 planned runs")


def test_one_task_one_draw(plain):
    """The smallest comparison is rendered, and says that a single draw allows no conclusion."""
    comparison = compare([plain, replace(plain, method="simplex", digest="1", score=0.7)])
    for form in FORMATS:
        assert render(comparison, format=form)
    assert "a single draw does not show how much others would differ" in " ".join(
        render(comparison).split()
    )


def test_the_header_states_labels_populations_and_command(incomplete_runs):
    """The header gives the labels used per size, the populations and the command."""
    text = " ".join(
        render(
            compare(incomplete_runs), format="terminal", command="bench run --sizes 50", width=200
        ).split()
    )
    assert "size 50: 100 (50 train + 50 dev); size 200: 400 (200 train + 200 dev)" in text
    assert "these tasks: other draws and other test rows of these tasks, t test over" in text
    assert "other tasks: other tasks, exact sign flip over tasks" in text
    assert "bench run --sizes 50" in text
    assert "cola †" in text
    assert "average without †" in render(compare(incomplete_runs), format="markdown")


def test_tasks_with_two_metrics_show_both(grid):
    """The appendix shows both metrics of a task whose score is their mean; F1 says of which class it is."""
    two = [
        replace(run, scored_by=tuple(run.metrics)) if run.task == "mrpc" else run for run in grid()
    ]
    text = render(compare(two), format="markdown")
    assert "| mrpc accuracy | mrpc F1 of yes |" in text
    assert "mrpc: mean of accuracy and F1 of yes" in text
    assert "rte accuracy" not in render(compare(grid()), format="markdown")
