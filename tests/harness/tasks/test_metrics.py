"""Metrics against values computed by hand."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.errors import UsageError
from harness.tasks import metrics

TRUE = [1, 1, 1, 0, 0, 0, 0, 0]
PREDICTED = [1, 1, 0, 1, 0, 0, 0, 0]  # two right of class 1, one missed, one too many
CAT, ON_A_MAT = ["the cat sat on the mat"], "the cat sat on a mat"
MILL = ["name[The Mill], eatType[pub]"]


@pytest.mark.parametrize(
    ("name", "predictions", "labels", "expected"),
    [
        ("accuracy", PREDICTED, TRUE, 6 / 8),
        ("f1", PREDICTED, TRUE, 2 * 2 / (2 * 2 + 1 + 1)),
        (
            "macro-f1",
            PREDICTED,
            TRUE,
            (4 / 6 + 8 / 10) / 2,
        ),  # class 0: four right, one missed, one too many
        ("macro-f1", [0, 1, 2, 2], [0, 1, 2, 1], (1 + 2 / 3 + 2 / 3) / 3),
        # class 0: one right of one, one too many; class 1: one right of two; class 2: one too many
        ("macro-f1", [(0, 1), (0,), (2,)], [(0, 1), (), (1,)], (2 / 3 + 2 / 3 + 0) / 3),
        ("micro-f1", [(0, 1), (0,), (2,)], [(0, 1), (), (1,)], 2 * 2 / (4 + 3)),
        ("micro-f1", [(), ()], [(), ()], 0.0),
        ("matthews", PREDICTED, TRUE, (2 * 4 - 1 * 1) / math.sqrt(3 * 3 * 5 * 5)),
        ("pearson", [1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0], 4 / 5),
        ("spearman", [1.0, 2.0, 3.0, 100.0], [0.1, 0.3, 0.2, 0.4], 1 - 6 * 2 / (4 * 15)),
        ("mse", [1.0, 2.0], [0.0, 4.0], (1 + 4) / 2),
        ("rmse", [1.0, 5.0], [1.0, 2.0], math.sqrt(9 / 2)),
        ("bleu", CAT, [(ON_A_MAT,)], (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4)),
        ("bleu", CAT, [("a dog", CAT[0])], 1.0),
        ("chrf", ["ab"], [("ac",)], (1 / 2 + 0) / 2),  # one of two letters, none of one pair
        ("ter", CAT, [(ON_A_MAT,)], 1 / 6),
        ("rouge1", CAT, [(ON_A_MAT, "dogs")], 5 / 6),
        ("rouge2", CAT, [(ON_A_MAT,)], 3 / 5),
        ("rougeL", CAT, [("mat cat",)], 2 * (1 / 6 * 1 / 2) / (1 / 6 + 1 / 2)),
        ("nist", ["a a b"], [("a a", "b c")], ((1 + 1 + 2) / 3 + 1 / 2) / 100),
        # all 1-grams and 2-grams are common, and there are no longer ones
        ("cider", ["a b", "c d"], [("a b",), ("c d",)], 10 * (1 + 1 + 0 + 0) / 4 / 100),
        ("repetition", ["a b c d a b c d"], [("a",)], 1 / 5),
        ("length-ratio", ["a b c"], [("x y",)], 3 / 2),
        # these compare a text with its source
        ("slot-errors", ["The Mill, a pricey cafe."], MILL, 2 / 2),
        ("missing-slots", ["The Mill."], MILL, 1 / 2),
        ("added-slots", ["The Mill, a pricey pub."], MILL, 1 / 2),
        ("wrong-slots", ["The Mill, a pricey cafe."], MILL, 1 / 2),
    ],
)
def test_each_metric_has_the_value_computed_by_hand(name, predictions, labels, expected):
    """Every metric agrees with arithmetic in the test."""
    assert metrics.METRICS[name](predictions, labels) == pytest.approx(expected, abs=1e-12)


def test_every_metric_is_tested():
    """Every metric has a case in the test above."""
    cases = test_each_metric_has_the_value_computed_by_hand.pytestmark[0].args[1]
    assert {case[0] for case in cases} == set(metrics.METRICS)


WRITTEN = [
    "the cat sat on the mat", "it is", "we met anna in oslo on monday",
    "three red hats were sold by tom", "the film was not bad at all", "she sings", "nobody came to the old house",
]  # fmt: skip
REFERENCES = [
    ("the cat sat on a mat", "a cat sat on the mat"), ("it is what it is",),
    ("we met anna on monday in oslo", "anna met us in oslo on monday"), ("tom sold three red hats",),
    ("the film was quite good", "the film was not bad"), ("she sings well",), ("no one came to the old house",),
]  # fmt: skip


@pytest.mark.parametrize("name", ["bleu", "rouge1", "rougeL"])
@pytest.mark.parametrize("park", ["a dog ran in a park", "a dog ran in the park and the garden"])
def test_scores_of_texts_have_the_mean_and_the_spread_of_the_metric(name, park):
    """Their mean is the metric, and they predict how it changes if a text counts twice; texts too short, or not."""
    metric, written = metrics.METRICS[name], [park, *WRITTEN]
    references = [("a dog ran through the park",), *REFERENCES]
    rows = np.array(metric.of_rows(written, references))
    value = metric(written, references)
    assert rows.mean() == pytest.approx(value)
    for doubled in range(len(written)):
        copies = 50  # so that one more copy is a small change
        texts = written * copies + [written[doubled]]
        changed = metric(texts, references * copies + [references[doubled]])
        expected = (rows[doubled] - value) / len(texts)
        assert changed - value == pytest.approx(expected, rel=0.05, abs=1e-5)


@pytest.mark.parametrize("name", ["bleu", "chrf", "rouge1", "rouge2", "rougeL"])
def test_a_text_that_is_not_written_scores_0(name):
    """Empty texts have no word in common with a reference."""
    assert metrics.METRICS[name](["", ""], [("a cat",), ("b",)]) == 0.0


@pytest.mark.parametrize("name", ["matthews", "pearson", "spearman"])
@pytest.mark.parametrize(
    ("predictions", "labels"), [([1] * 4, [0, 1, 0, 1]), ([0, 1, 0, 1], [1] * 4)]
)
def test_constant_predictions_score_0(name, predictions, labels):
    """If a correlation is undefined because one side is constant, the score is 0, without a warning."""
    assert metrics.METRICS[name](predictions, labels) == 0.0


@pytest.mark.parametrize("constant", [0, 1])
def test_f1_of_constant_predictions_is_defined(constant):
    """Predicting only 0 has F1 0; predicting only 1 has the F1 of the base rate."""
    assert metrics.METRICS["f1"]([constant] * 4, [0, 0, 0, 1]) == pytest.approx(
        2 / 5 if constant else 0.0
    )


@pytest.mark.parametrize("name", metrics.METRICS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_predictions_that_are_not_finite_score_nan(name, bad):
    """Every metric of a diverged run is NaN."""
    assert math.isnan(metrics.METRICS[name]([0.0, bad], [0, 1]))


@pytest.mark.parametrize(("predictions", "labels"), [([], []), ([1], [1, 0])])
def test_empty_or_unequal_inputs_are_refused(predictions, labels):
    """A metric of no predictions, or of more predictions than labels, raises ValueError."""
    with pytest.raises(ValueError, match="accuracy requires"):
        metrics.METRICS["accuracy"](predictions, labels)


def test_the_score_is_the_mean_with_errors_negated():
    """Two metrics are averaged; one where less is better is negated."""
    assert metrics.score(("accuracy", "f1"), {"accuracy": 0.5, "f1": 1.0, "other": 9.0}) == 0.75
    assert metrics.score(("rmse",), {"rmse": 2.0}) == -2.0
    assert metrics.score(("evaluate:wer:lower",), {"evaluate:wer:lower": 0.25}) == -0.25


def test_an_unknown_metric_suggests_a_similar_name():
    """The message for a misspelt name contains the similar one."""
    with pytest.raises(UsageError, match="did you mean 'accuracy'"):
        metrics.get("acuracy")


@pytest.mark.parametrize(
    "name", ["evaluate:", "evaluate:./not-there", "evaluate:x[", "evaluate:x[k]:sideways"]
)
def test_a_bad_name_of_an_evaluate_metric_is_refused(name):
    """`evaluate:` requires a name, a script that exists and a key in closed brackets."""
    with pytest.raises(UsageError):
        metrics.get(name)


def test_checking_a_name_imports_nothing_heavy():
    """Names are checked without `evaluate`, scikit-learn or scipy."""
    code = (
        "import sys; from harness.tasks import metrics; metrics.get('evaluate:f1'); "
        "sys.exit(bool({'evaluate', 'sklearn', 'scipy', 'torch', 'datasets'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SCRIPT = """
import datasets
import evaluate


class Hits(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        hits = sum(p == r for p, r in zip(predictions, references))
        return {"hits": hits, "misses": len(references) - hits}
"""


def test_a_local_metric_of_evaluate_is_used(tmp_path: Path):
    """A local `evaluate.Metric` works offline; a key chooses a number, and the message for a missing key lists all."""
    pytest.importorskip("evaluate")
    folder = tmp_path / "hits"
    folder.mkdir()
    (folder / "hits.py").write_text(SCRIPT)
    name = f"evaluate:{folder}"
    assert metrics.compute([f"{name}[hits]"], metrics.Scored([1.0, 0.0, 1.0], [1, 1, 1])) == {
        f"{name}[hits]": 2.0
    }
    assert metrics.get(f"{name}[misses]:lower").better == "lower"
    with pytest.raises(UsageError, match=r": hits, misses"):
        metrics.get(name)([1], [1])


TEXT_SCRIPT = """
import datasets
import evaluate


class Overlap(evaluate.Metric):
    def _info(self):
        words = datasets.Value("string")
        features = datasets.Features({"predictions": words, "references": datasets.Sequence(words)})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        best = [float(max(p == one for one in all)) for p, all in zip(predictions, references)]
        return {"equal": best, "texts": predictions}
"""


def test_a_local_metric_of_evaluate_scores_texts(tmp_path: Path):
    """It gets all references of each text; of numbers for each text, the mean counts."""
    folder = tmp_path / "overlap"
    folder.mkdir()
    (folder / "overlap.py").write_text(TEXT_SCRIPT)
    name = f"evaluate:{folder}"
    scored = metrics.Scored(["a", "b", "c", "d"], [("x", "a"), ("b",), ("c", "y", "z"), ("e",)])
    assert metrics.compute([name], scored) == {name: 0.75}
    assert metrics.get(name).suits >= metrics.TEXTS


def test_an_edited_script_has_another_version(tmp_path):
    """The version of a local script is a hash of its text, so old results do not count for the new script."""
    script = tmp_path / "mine.py"
    script.write_text("a = 1\n")
    before = metrics.get(f"evaluate:{script}").version
    script.write_text("a = 2\n")
    assert metrics.get(f"evaluate:{script}").version != before


def test_a_stored_number_needs_no_script():
    """The direction of a metric follows from its name; only computing it needs the script."""
    assert metrics.better("evaluate:./gone.py") == "higher"
    assert metrics.better("evaluate:./gone.py[loss]:lower") == "lower"
    assert all(metrics.better(name) == metric.better for name, metric in metrics.METRICS.items())


def test_a_script_is_found_from_any_folder(tmp_path):
    """A relative path starts at the given folder and becomes absolute; other names stay as they are."""
    (tmp_path / "my metrics").mkdir()
    located_name = metrics.located("evaluate:./m.py[x]:lower", tmp_path / "my metrics")
    assert located_name == f"evaluate:{tmp_path}/my metrics/m.py[x]:lower"
    for name in ("accuracy", "evaluate:rouge[rouge1]", "evaluate:/a/m.py"):
        assert metrics.located(name, tmp_path) == name
