"""What each test row adds to a score, held against scikit-learn, scipy and against leaving rows out."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from reports.statistics.influence import INFLUENCES, row_scores

RNG = np.random.default_rng(3)
N = 400
TWO = RNG.integers(0, 2, N).astype(float), RNG.integers(0, 2, N).astype(float)
TWO = np.where(RNG.random(N) < 0.7, TWO[1], TWO[0]), TWO[1]
FOUR = RNG.integers(0, 4, N).astype(float)
FOUR = np.where(RNG.random(N) < 0.5, FOUR, RNG.integers(0, 4, N)), FOUR
SCALE = np.round(RNG.normal(size=N), 1)
SCALE = np.round(SCALE + RNG.normal(size=N), 1), SCALE  # with many ties
SETS = RNG.random((N, 5)) < (0.1, 0.2, 0.3, 0.4, 0.5)
SETS = np.where(RNG.random((N, 5)) < 0.8, SETS, ~SETS).astype(float), SETS.astype(float)

ORACLES = {
    "accuracy": (FOUR, lambda g, r: sk.accuracy_score(r, g)),
    "f1": (TWO, lambda g, r: sk.f1_score(r, g)),
    "macro-f1": (FOUR, lambda g, r: sk.f1_score(r, g, average="macro")),
    "micro-f1": (SETS, lambda g, r: sk.f1_score(r, g, average="micro")),
    "matthews": (FOUR, lambda g, r: sk.matthews_corrcoef(r, g)),
    "pearson": (SCALE, lambda g, r: stats.pearsonr(g, r)[0]),
    "spearman": (SCALE, lambda g, r: stats.spearmanr(g, r)[0]),
    "mse": (SCALE, lambda g, r: -sk.mean_squared_error(r, g)),
    "rmse": (SCALE, lambda g, r: -(sk.mean_squared_error(r, g) ** 0.5)),
}


@pytest.mark.parametrize("name", INFLUENCES)
def test_values_are_those_of_other_libraries_and_influences_those_of_leaving_a_row_out(name):
    """The metric is that of scikit-learn or scipy.

    Leaving one row out moves it by its influence over the other rows.
    """
    (given, right), oracle = ORACLES[name]
    value, influence = INFLUENCES[name](given, right)
    assert value == pytest.approx(oracle(given, right), abs=1e-12)
    assert influence.mean() == pytest.approx(0, abs=1e-12)
    without = np.array(
        [oracle(np.delete(given, i, axis=0), np.delete(right, i, axis=0)) for i in range(N)]
    )
    jackknife = (N - 1) * (without.mean() - without)
    assert np.allclose(influence, jackknife, atol=12 * np.abs(influence).max() / N)
    assert influence.std() == pytest.approx(jackknife.std(), rel=0.02)


def test_macro_f1_of_sets_of_classes():
    """Like micro-F1, it equals that of scikit-learn, and influences are those of leaving a row out."""
    given, right = SETS
    value, influence = INFLUENCES["macro-f1"](given, right)
    assert value == pytest.approx(sk.f1_score(right, given, average="macro"), abs=1e-12)
    without = [
        sk.f1_score(np.delete(right, i, axis=0), np.delete(given, i, axis=0), average="macro")
        for i in range(N)
    ]
    jackknife = (N - 1) * (np.mean(without) - np.array(without))
    assert np.allclose(influence, jackknife, atol=12 * np.abs(influence).max() / N)
    nobody = np.zeros((4, 3))
    for name in ("macro-f1", "micro-f1"):
        assert INFLUENCES[name](nobody, nobody)[0] == 0


@pytest.mark.parametrize("name", INFLUENCES)
def test_the_spread_is_that_of_a_bootstrap_of_the_rows(name):
    """The standard error from influences is that of drawing the test rows anew, within the error of the drawing."""
    (given, right), oracle = ORACLES[name]
    _, influence = INFLUENCES[name](given, right)
    rng = np.random.default_rng(0)
    drawn = [oracle(given[rows], right[rows]) for rows in rng.integers(0, N, (600, N))]
    assert influence.std() / N**0.5 == pytest.approx(
        np.std(drawn), rel=0.12
    )  # 600 draws: 3 % standard error


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in INFLUENCES
        if name not in ("accuracy", "mse", "rmse", "macro-f1", "micro-f1", "f1")
    ],
)
def test_a_constant_answer_has_no_correlation_and_no_influence(name):
    """Where a correlation is not defined it counts as 0 whatever the rows."""
    value, influence = INFLUENCES[name](np.ones(5), np.array([0.0, 1.0, 0.0, 1.0, 1.0]))
    assert value == 0
    assert not influence.any()


def test_splits_and_metrics_count_alike():
    """With two metrics and two splits of different length, the mean over rows is the mean of the four scores."""
    given = np.array([1.0, 0, 1, 1, 0, 1, 1])
    right = {"m": np.array([1.0, 0, 0]), "mm": np.array([1.0, 1, 1, 0])}
    rows = row_scores(given, right, ("accuracy", "f1"))
    parts = [(given[:3], right["m"]), (given[3:], right["mm"])]
    expected = np.mean([[sk.accuracy_score(r, g), sk.f1_score(r, g)] for g, r in parts])
    assert rows.mean() == pytest.approx(expected, abs=1e-12)
    assert rows.shape == (7,)


@pytest.mark.parametrize(
    ("given", "right", "names"),
    [
        ([], {}, ("accuracy",)),
        ([1.0], {"": [1.0, 0.0]}, ("accuracy",)),
        ([1.0], {"": [1.0]}, ("bleu",)),
    ],
)
def test_what_is_not_known_is_not_guessed(given, right, names):
    """There are no row scores without labels, for another number of predictions, or for an unknown metric."""
    assert row_scores(np.array(given), {k: np.array(v) for k, v in right.items()}, names) is None
