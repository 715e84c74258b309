"""Tables of class probabilities and of classes, recomputed from the runs with scikit-learn."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics

from reports import compare, render
from reports.analysis.paired_runs import NothingToCompare
from reports.tables.classification import MAX_MATRIX, class_tables, temperature_table

FORMS = ("terminal", "markdown", "latex", "json")


def classified(grid, classes=3, rows=90, temperature=2.0, **plan):
    """Return runs whose logits are twice too great, with predictions, probabilities and a temperature."""
    names = tuple(f"class-{number}" for number in range(classes))
    runs = []
    for number, run in enumerate(grid(tasks=("rte",), sizes=(50,), **plan)):
        rng = np.random.default_rng(number)
        logits = rng.normal(0, 1.5, (rows, classes))
        labels = (rng.random((rows, 1)) > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1)
        runs.append(
            replace(
                run,
                classes=names,
                labels={"": labels.astype(float)},
                predictions=logits.argmax(axis=1).astype(float),
                probabilities={"": softmax(2 * logits, axis=1)},
                temperature=temperature,
                n_test=rows,
            )
        )
    return runs


def rows_of(table):
    """Return the numbers of a table by its labels."""
    return {
        tuple(cell.text for cell in row[: table.labels]): dict(
            zip(
                table.head[table.labels :],
                [cell.text for cell in row[table.labels :]],
                strict=True,
            )
        )
        for row in table.rows
    }


def test_temperature_scaling_undoes_overconfidence(grid):
    """Logits that are twice too great are scaled back: the log loss is that of the original logits."""
    runs = classified(grid, rows=2000)
    rows = rows_of(temperature_table(compare(runs)))
    of_simplex = [run for run in runs if run.method == "simplex"]
    for name, temperature in (("raw", 1.0), ("scaled", 2.0)):
        losses = [
            metrics.log_loss(
                run.labels[""], softmax(np.log(run.probabilities[""]) / temperature, axis=1)
            )
            for run in of_simplex
        ]
        assert rows["simplex", "rte", name]["NLL"] == f"{np.mean(losses):.3f}"
    raw, scaled = rows["simplex", "rte", "raw"], rows["simplex", "rte", "scaled"]
    assert (raw["T"], scaled["T"]) == ("—", "2.00 [2.00, 2.00]")
    assert float(scaled["ECE"]) < 0.02 < float(raw["ECE"])


def test_runs_without_a_temperature_are_named(grid):
    """Raw and scaled scores are of the same runs; the legend counts those left out and those at 1 or a bound."""
    runs = classified(grid, methods={"lora": 0.0}, draws=5)
    temperatures = [None, None, 1.0, 20.0, 3.0]
    mixed = [replace(run, temperature=t) for run, t in zip(runs, temperatures, strict=True)]
    table = temperature_table(compare(mixed))
    rows = rows_of(table)
    kept = rows_of(temperature_table(compare(mixed[2:])))
    for name in ("raw", "scaled"):
        found, expected = rows["lora", "rte", name], kept["lora", "rte", name]
        assert found.pop("runs") == "3/5"
        assert expected.pop("runs") == "3"
        assert found == expected
    assert "1 run without an error on the dev examples: T is 1" in table.legend
    assert "1 run with T at a bound" in table.legend
    assert "2 results of earlier versions left out" in table.legend


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_stored_is_reported(grid, form):
    """Results without temperatures or classes are refused in words, and are readable without the options."""
    old = [replace(run, probabilities={}, temperature=None) for run in classified(grid)]
    with pytest.raises(NothingToCompare, match="no run stores a temperature"):
        render(compare(old), format=form, temperature=True)
    numbers = [replace(run, classes=()) for run in old]
    with pytest.raises(NothingToCompare, match="no run of a task with classes"):
        render(compare(numbers), format=form, classes=True)
    assert render(compare(numbers), format=form)


def test_classes_have_the_scores_of_scikit_learn(grid):
    """Each number is the mean over draws of what scikit-learn reports; seeds of a draw are averaged first."""
    runs = classified(grid, methods={"lora": 0.0}, draws=3, seeds=2)[
        :-1
    ]  # the last draw has one seed
    (table,) = class_tables(compare(runs))
    found = rows_of(table)
    for label in range(3):
        by_draw = {}
        for run in runs:
            scores = metrics.precision_recall_fscore_support(
                run.labels[""], run.predictions, labels=range(3)
            )
            counts = metrics.confusion_matrix(run.labels[""], run.predictions)[label]
            values = [*counts, scores[3][label], *(100 * part[label] for part in scores[:3])]
            by_draw.setdefault(run.draw, []).append(values)
        expected = np.mean([np.mean(values, axis=0) for values in by_draw.values()], axis=0)
        shown = list(map(float, found["lora", f"class-{label}"].values()))
        assert shown == pytest.approx(expected, abs=0.051)
    assert table.title == "Classes of rte, size 50"
    assert [row[2 + number].strong for number, row in enumerate(table.rows)] == [True] * 3


def test_several_test_sets_count_together(grid):
    """The rows of both test sets are in one matrix."""
    (run,) = classified(grid, methods={"lora": 0.0}, draws=1)
    labels = run.labels[""]
    split = replace(run, labels={"": labels[:40], "mismatched": labels[40:]})
    assert class_tables(compare([split])) == class_tables(compare([run]))


def test_many_classes_have_no_matrix(grid):
    """The scores of each class remain; a page leaves such tasks out unless they are requested."""
    comparison = compare(classified(grid, classes=MAX_MATRIX + 1, methods={"lora": 0.0}))
    (table,) = class_tables(comparison)
    assert table.head == ("method", "class", "rows", "precision", "recall", "F1")
    assert len(table.rows) == MAX_MATRIX + 1
    assert "is left out" in table.legend
    page = render(comparison, format="html")
    assert "Not shown: rte with more than 20 classes; add --classes." in page
    assert "<th scope=row>class-20" not in page
    page = render(comparison, format="html", classes=True)
    assert "Not shown: rte" not in page
    assert "<th scope=row>class-20" in page


@pytest.mark.parametrize("full", [False, True])
def test_the_options_add_to_the_report(grid, full):
    """Text and JSON contain the tables on request only; a page always has the classes, folded."""
    comparison = compare(classified(grid))
    titles = ("Class probabilities, raw and scaled", "Classes of rte, size 50")
    for form in FORMS[:3]:
        without = render(comparison, format=form, full=full)
        added = render(comparison, format=form, full=full, temperature=True, classes=True)
        for title in titles:
            assert title not in without
            assert title in added
    without = json.loads(render(comparison, format="json"))
    added = json.loads(render(comparison, format="json", temperature=True, classes=True))
    assert added.keys() - without.keys() == {"temperature", "classes"}
    assert {key: added[key] for key in without} == without
    assert [one["temperature"] for one in added["temperature"]] == [2.0] * 3
    assert np.shape(added["classes"][0]["confusion"]) == (3, 3)
    page = render(comparison, format="html")
    assert "<details><summary><h2 id=classes>Classes</h2></summary>" in page
    assert page.count(titles[1]) == render(comparison, format="html", classes=True).count(titles[1])
