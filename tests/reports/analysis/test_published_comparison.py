"""Numbers that papers print, beside those of a ledger."""

import math
from dataclasses import replace
from statistics import fmean

import pytest

from harness.tasks import GROUPS, REGISTRY, metrics
from reports import compare, render
from reports.analysis.paired_runs import NothingToCompare
from reports.analysis.published_comparison import find_study, published_tables
from reports.published import STUDIES, human_score

# The averages that the paper prints in its Table 1; of the prefix of 50 tokens it prints 47.56 for
# numbers whose mean is 47.58.
AVERAGES = {
    (100, "Fine-tuning"): 60.02, (100, "BitFit"): 48.64, (100, "Adapter"): 58.24, (100, "Prefix (L=10)"): 47.99,
    (100, "LoRA"): 49.26, (100, "UniPELT AP"): 60.80, (100, "UniPELT APL"): 62.59, (500, "Fine-tuning"): 68.93,
    (500, "BitFit"): 60.30, (500, "Adapter"): 68.02, (500, "Prefix"): 67.32, (500, "LoRA"): 65.86,
    (500, "UniPELT AP"): 69.79,
    (500, "UniPELT APL"): 69.98, (1000, "Fine-tuning"): 71.93, (1000, "BitFit"): 66.51, (1000, "Adapter"): 70.95,
    (1000, "Prefix"): 71.81, (1000, "LoRA"): 72.28, (1000, "UniPELT AP"): 72.61, (1000, "UniPELT APL"): 73.31,
}  # fmt: skip


@pytest.mark.parametrize(("size", "called"), AVERAGES)
def test_the_numbers_of_unipelt_have_the_averages_that_it_prints(size, called):
    """Eight tasks a row, and their mean is the paper's own, within its rounding."""
    values = [
        one.value for one in STUDIES["unipelt"].numbers if (one.size, one.called) == (size, called)
    ]
    assert len(values) == 8
    assert fmean(values) == pytest.approx(AVERAGES[size, called], abs=0.011)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_whole(name):
    """No number stands twice, each has a place, and the source is named."""
    numbers = STUDIES[name].numbers
    places = {(one.size, one.called, one.task, one.metric) for one in numbers}
    assert len(places) == len(numbers) > 100
    assert "arXiv" in STUDIES[name].source


def test_what_people_reach_has_the_average_that_was_published():
    """With WNLI's 95.9, which is not a task here, 87.1 over nine tasks, each the mean of its metrics."""
    found = [
        human_score(
            name, [metric.rpartition("/")[0] or metric for metric in REGISTRY[name].metrics]
        )
        for name in GROUPS["glue"]
    ]
    assert len(found) == 8
    assert round(fmean([*found, 95.9]), 1) == 87.1
    assert human_score("mrpc", ["f1", "accuracy"]) == pytest.approx(83.55)
    assert math.isnan(human_score("mrpc", ["matthews"]))
    assert math.isnan(human_score("reviews", ["accuracy"]))
    assert math.isnan(human_score("sst2", []))


def test_own_numbers_stand_beside_the_printed_ones(grid):
    """Where size, task and method agree; in the paper's metric, in points, with what was done otherwise."""
    runs = grid(tasks=("rte", "mrpc"), sizes=(100, 200))
    comparison = compare(runs)
    (table,) = published_tables(comparison, find_study("unipelt"))
    assert table.head == ("method", "from", "mrpc F1 of yes", "rte accuracy")
    rows = [[entry.text for entry in row] for row in table.rows]
    cell = comparison.cell("prefix", "rte", 100)
    assert [
        "prefix",
        "here",
        f"{100 * comparison.cell('prefix', 'mrpc', 100).metrics['f1']:.2f}",
        f"{cell.mean:.2f}",
    ] in rows
    assert ["", "Prefix (L=10)", "81.22", "55.96"] in rows
    assert not any("simplex" in row[0] for row in rows)
    assert "there 1000" in table.legend
    text = render(comparison, format="markdown", against="unipelt")
    assert "Beside UniPELT" in text


@pytest.mark.parametrize(
    ("name", "said"), [("unipet", "there are unipelt, li-liang"), ("li-liang", "nothing in common")]
)
def test_what_has_nothing_in_common_is_refused(grid, name, said):
    """A study that is not there, or that has no task here, is refused with what it has."""
    with pytest.raises(NothingToCompare, match=said):
        render(compare([replace(run, task="rte") for run in grid(tasks=("rte",))]), against=name)


def test_fractions_of_a_paper_stand_in_points():
    """Li and Liang print TER and METEOR of WebNLG as fractions, and METEOR of E2E in percent; NIST is neither."""
    scores = {(s.called, s.task, s.metric): s for s in STUDIES["li-liang"].numbers}
    name = "fine-tuning, gpt2-medium"
    assert scores[name, "webnlg", "ter/seen"].points == pytest.approx(33)
    assert scores[name, "e2e", "meteor"].points == scores[name, "e2e", "meteor"].value == 46.1
    assert scores[name, "e2e", "nist"].points == 8.71
    assert scores[name, "e2e", "cider"].points == 2.43
    known = {metric.partition("/")[0] for *_, metric in scores}
    assert {"bleu", "nist", "rougeL", "cider", "ter"} <= known & set(metrics.METRICS)
